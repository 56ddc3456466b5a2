/* The test guest's network cards and sockets. Whatever fails ends the guest (give_up()). */
#ifndef TESTS_GUEST_NETWORK_H
#define TESTS_GUEST_NETWORK_H

#define NETWORK_TEXT_MAX 48

/* Gives a card its IPv4 address ("10.0.0.1/24") and sets it up; it takes a link-local IPv6 one itself. */
void network_address(const char *card, const char *address);
/* The card of VLAN `id` on eth0, with an address: "ID:ADDRESS/BITS". */
void network_vlan(const char *text);

/* Non-blocking sockets on all addresses of both families, broadcast included. */
int network_listen(int port, int backlog);
int network_datagrams(int port);
/*
 * Sends the next number, from 1 on, as text to a port of an IPv4 address. Two machines that go on from the same
 * moment send the same numbers; so who gets each of them once and in order hears only one machine.
 */
void network_beacon(int fd, const char *ip, int port);
/* Sends every datagram that is waiting, up to some, back to where it came from. */
void network_echo(int fd);

#endif
