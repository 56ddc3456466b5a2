/*
 * Segments merged for the kernel: what it would split them into again (done here by the book) is
 * what went in, and whatever is odd about one keeps it out.
 */
#include "net/tcp_merge.h"

#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SIZE 1448
#define TCP_HEADER 32U /* with timestamps */

struct frame {
	uint8_t bytes[2048];
	size_t len;
};

static size_t ip_header(bool v6)
{
	return v6 ? 40 : 20;
}

/* Both checksums, whatever was done to the rest. */
static void seal(struct frame *frame)
{
	uint8_t *ip = frame->bytes + 14;
	const bool v6 = ip[0] >> 4 == 6;
	uint8_t *tcp = ip + ip_header(v6);
	const size_t len = frame->len - 14 - ip_header(v6);
	uint32_t sum = v6 ? inet_checksum_pseudo(0, ip + 8, ip + 24, 16, 6, len) :
			    inet_checksum_pseudo(0, ip + 12, ip + 16, 4, 6, len);

	if (!v6) {
		bytes_put_be16(ip + 10, 0);
		bytes_put_be16(ip + 10, inet_checksum_end(inet_checksum_add(0, ip, 20)));
	}
	bytes_put_be16(tcp + 16, 0);
	bytes_put_be16(tcp + 16, inet_checksum_end(inet_checksum_add(sum, tcp, len)));
}

/* Segment `index` of a stream whose segments all have SIZE bytes. */
static struct frame segment(bool v6, unsigned index, size_t payload, bool push)
{
	struct frame frame = { .len = 14 + ip_header(v6) + TCP_HEADER + payload };
	uint8_t *ip = frame.bytes + 14, *tcp = ip + ip_header(v6);
	size_t i;

	memset(frame.bytes, 0x52, 12);
	bytes_put_be16(frame.bytes + 12, v6 ? 0x86dd : 0x0800);
	memset(ip, v6 ? 0x20 : 0x0a, ip_header(v6));
	if (v6) {
		bytes_put_be32(ip, 0x60012345);
		bytes_put_be16(ip + 4, (uint16_t)(TCP_HEADER + payload));
		ip[6] = 6;
		ip[7] = 64;
	} else {
		bytes_put_be16(ip, 0x4500);
		bytes_put_be16(ip + 2, (uint16_t)(20 + TCP_HEADER + payload));
		bytes_put_be16(ip + 4, (uint16_t)(0xfffe + index)); /* and wraps */
		bytes_put_be16(ip + 6, 0x4000);
		bytes_put_be16(ip + 8, 0x4006);
	}
	bytes_put_be32(tcp, 0x1b581234);
	bytes_put_be32(tcp + 4, 0xfffff000 + index * SIZE);
	bytes_put_be32(tcp + 8, 77);
	bytes_put_be16(tcp + 12, (uint16_t)(0x8010 | (push ? 8 : 0)));
	bytes_put_be16(tcp + 14, 501);
	bytes_put_be32(tcp + 20, 0x0101080a);
	bytes_put_be32(tcp + 24, 0xcafe);
	for (i = 0; i < payload; i++)
		tcp[TCP_HEADER + i] = (uint8_t)(index * 31 + i * 7);
	seal(&frame);
	return frame;
}

/* Segment `index` of what the kernel makes of a merged frame; RFC 9293 and 791, no more. */
static struct frame split(const struct tcp_merge *merge, const struct virtio_net_hdr *header,
			  unsigned index)
{
	const size_t headers = header->hdr_len, at = headers + (size_t)index * header->gso_size;
	const bool v6 = header->gso_type == VIRTIO_NET_HDR_GSO_TCPV6;
	struct frame frame = { 0 };
	uint8_t *ip = frame.bytes + 14, *tcp = frame.bytes + header->csum_start;
	size_t payload = merge->len - at;

	payload = payload < header->gso_size ? payload : header->gso_size;
	memcpy(frame.bytes, merge->bytes, headers);
	memcpy(frame.bytes + headers, merge->bytes + at, payload);
	frame.len = headers + payload;
	bytes_put_be16(ip + (v6 ? 4 : 2), (uint16_t)(frame.len - 14 - (v6 ? 40 : 0)));
	if (!v6)
		bytes_put_be16(ip + 4, (uint16_t)(bytes_get_be16(ip + 4) + index));
	bytes_put_be32(tcp + 4, bytes_get_be32(tcp + 4) + index * header->gso_size);
	if (at + payload < merge->len)
		tcp[13] &= (uint8_t)~8; /* PSH */
	seal(&frame);
	return frame;
}

static void expect_same(const struct frame *a, const struct frame *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->bytes, b->bytes, a->len);
}

static struct tcp_merge merge;

static void merged_and_split(bool v6, unsigned count, size_t last)
{
	struct virtio_net_hdr header;
	struct frame frame, again;
	unsigned i;

	frame = segment(v6, 0, SIZE, false);
	assert_true(tcp_merge_begin(&merge, frame.bytes, frame.len));
	for (i = 1; i < count; i++) {
		frame = segment(v6, i, i == count - 1 ? last : SIZE, i == count - 1);
		assert_true(tcp_merge_add(&merge, frame.bytes, frame.len));
	}
	assert_false(tcp_merge_add(&merge, frame.bytes, frame.len));
	tcp_merge_finish(&merge, &header);
	assert_int_equal(header.gso_type, v6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(header.csum_offset, 16);
	for (i = 0; i < count; i++) {
		frame = segment(v6, i, i == count - 1 ? last : SIZE, i == count - 1);
		again = split(&merge, &header, i);
		expect_same(&frame, &again);
	}
}

static void what_is_split_again_is_what_was_merged(void **state)
{
	unsigned count;

	(void)state;
	for (count = 2; count <= 45; count++) {
		merged_and_split(false, count, SIZE);
		merged_and_split(false, count, 1);
		merged_and_split(true, count, SIZE - 1);
	}
}

/* The kernel's own arithmetic of the one checksum that it completes. */
static void the_checksum_left_to_the_kernel_is_that_of_the_pseudo_header(void **state)
{
	struct virtio_net_hdr header;
	struct frame frame;
	uint32_t sum;
	unsigned i;

	(void)state;
	frame = segment(false, 0, SIZE, false);
	assert_true(tcp_merge_begin(&merge, frame.bytes, frame.len));
	for (i = 1; i < 3; i++) {
		frame = segment(false, i, SIZE, false);
		assert_true(tcp_merge_add(&merge, frame.bytes, frame.len));
	}
	tcp_merge_finish(&merge, &header);
	sum = inet_checksum_pseudo(0, merge.bytes + 26, merge.bytes + 30, 4, 6, merge.len - 34);
	assert_int_equal(inet_checksum_end(sum),
			 (uint16_t)~bytes_get_be16(merge.bytes + header.csum_start + 16));
	assert_int_equal(inet_checksum_end(inet_checksum_add(0, merge.bytes + 14, 20)), 0);
}

static void one_alone_is_sent_as_it_came(void **state)
{
	struct frame frame = segment(false, 5, 100, true);
	struct virtio_net_hdr header;
	size_t i;

	(void)state;
	assert_true(tcp_merge_begin(&merge, frame.bytes, frame.len));
	tcp_merge_finish(&merge, &header);
	assert_int_equal(merge.len, frame.len);
	assert_memory_equal(merge.bytes, frame.bytes, frame.len);
	for (i = 0; i < sizeof(header); i++)
		assert_int_equal(((const uint8_t *)&header)[i], 0);
}

static void after_the_shortest_of_a_split_nothing_follows(void **state)
{
	struct frame first = segment(false, 0, SIZE, false), second = segment(false, 1, 700, false),
		     third = segment(false, 2, 700, false),
		     longer = segment(false, 1, SIZE + 1, false);

	(void)state;
	bytes_put_be32(third.bytes + 38, 0xfffff000 + SIZE + 700);
	seal(&third);
	assert_true(tcp_merge_begin(&merge, first.bytes, first.len));
	assert_false(tcp_merge_add(&merge, longer.bytes, longer.len));
	assert_true(tcp_merge_add(&merge, second.bytes, second.len));
	assert_false(tcp_merge_add(&merge, third.bytes, third.len));
	assert_int_equal(merge.count, 2);
}

static void it_ends_with_what_an_ip_packet_and_the_kernel_can_carry(void **state)
{
	struct frame frame = segment(false, 0, SIZE, false);
	unsigned i;

	(void)state;
	assert_true(tcp_merge_begin(&merge, frame.bytes, frame.len));
	for (i = 1;; i++) {
		frame = segment(false, i, SIZE, false);
		if (!tcp_merge_add(&merge, frame.bytes, frame.len))
			break;
	}
	assert_int_equal(merge.count, 45);
	assert_true(merge.len - 14 <= 65535);

	frame = segment(false, 0, 8, false);
	assert_true(tcp_merge_begin(&merge, frame.bytes, frame.len));
	for (i = 1; i < TCP_MERGE_FRAMES + 1; i++) {
		frame = segment(false, i, 8, false);
		bytes_put_be32(frame.bytes + 38, 0xfffff000 + i * 8);
		seal(&frame);
		assert_int_equal(tcp_merge_add(&merge, frame.bytes, frame.len),
				 i < TCP_MERGE_FRAMES);
	}
}

/* Every bit of every header says something; the payload's is found by the checksum. */
static void not_one_bit_may_be_odd(bool v6, bool sealed)
{
	const size_t headers = 14 + ip_header(v6) + TCP_HEADER;
	const size_t checksum = 14 + ip_header(v6) + 16;
	struct frame first = segment(v6, 0, SIZE, false), second;
	size_t bit, byte;

	for (bit = 0; bit < (sealed ? headers : headers + 40) * 8; bit++) {
		byte = bit / 8;
		second = segment(v6, 1, SIZE, false);
		second.bytes[byte] ^= (uint8_t)(1U << bit % 8);
		if (sealed && (byte == checksum || byte == checksum + 1 ||
			       (!v6 && (byte == 24 || byte == 25))))
			continue; /* is put right again */
		if (sealed && byte != 14 && byte != checksum - 4)
			seal(&second);
		assert_true(tcp_merge_begin(&merge, first.bytes, first.len));
		if (byte == checksum - 3 && bit % 8 == 3)
			continue; /* PSH: it may have that */
		if (tcp_merge_add(&merge, second.bytes, second.len) &&
		    (sealed || byte >= 12)) /* addresses of a station are in no checksum */
			fail_msg("bit %zu of byte %zu", bit % 8, byte);
	}
}

static void whatever_is_odd_about_a_header_keeps_it_out(void **state)
{
	(void)state;
	not_one_bit_may_be_odd(false, false);
	not_one_bit_may_be_odd(false, true);
	not_one_bit_may_be_odd(true, false);
	not_one_bit_may_be_odd(true, true);
}

static void a_first_one_that_is_odd_begins_nothing(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} odd[] = {
		{ 14, 0x46 }, /* options of IP */
		{ 20, 0x20 }, /* a fragment */
		{ 23, 17 },   /* UDP */
		{ 12, 0x81 }, /* a VLAN's */
		{ 47, 0x11 }, /* FIN */
		{ 47, 0x12 }, /* SYN */
		{ 47, 0x14 }, /* RST */
		{ 47, 0x30 }, /* URG */
		{ 47, 0x90 }, /* CWR */
		{ 47, 0x50 }, /* ECE */
		{ 46, 0x81 }, /* a reserved bit */
		{ 46, 0x40 }, /* a header shorter than one */
	};
	struct frame frame;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		frame = segment(false, 0, SIZE, false);
		frame.bytes[odd[i].at] = odd[i].value;
		if (odd[i].at != 12 && odd[i].at != 14)
			seal(&frame);
		assert_false(tcp_merge_begin(&merge, frame.bytes, frame.len));
		assert_int_equal(merge.count, 0);
		assert_false(tcp_merge_add(&merge, frame.bytes, frame.len));
	}
	frame = segment(false, 0, 0, false); /* no data */
	assert_false(tcp_merge_begin(&merge, frame.bytes, frame.len));
	frame = segment(false, 0, SIZE, false);
	for (i = 0; i < frame.len; i++)
		assert_false(tcp_merge_begin(&merge, frame.bytes, i));
	frame.len++; /* padded */
	assert_false(tcp_merge_begin(&merge, frame.bytes, frame.len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_split_again_is_what_was_merged),
		cmocka_unit_test(the_checksum_left_to_the_kernel_is_that_of_the_pseudo_header),
		cmocka_unit_test(one_alone_is_sent_as_it_came),
		cmocka_unit_test(after_the_shortest_of_a_split_nothing_follows),
		cmocka_unit_test(it_ends_with_what_an_ip_packet_and_the_kernel_can_carry),
		cmocka_unit_test(whatever_is_odd_about_a_header_keeps_it_out),
		cmocka_unit_test(a_first_one_that_is_odd_begins_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
