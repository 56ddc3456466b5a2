#include "net/ethernet.h"

#include "appliance/base/bytes.h"

bool ethernet_is_tag(uint16_t type)
{
	return type == ETHERNET_VLAN || type == ETHERNET_SERVICE_VLAN ||
	       type == ETHERNET_OLD_SERVICE_VLAN;
}

bool ethernet_read(struct ethernet_frame *frame, const uint8_t *data, size_t len)
{
	struct cursor c = cursor_of(data, len);

	*frame = (struct ethernet_frame){ 0 };
	frame->destination = cursor_bytes(&c, ETHERNET_MAC);
	frame->source = cursor_bytes(&c, ETHERNET_MAC);
	frame->type = cursor_be16(&c);
	while (ethernet_is_tag(frame->type) && frame->tags.count < ETHERNET_TAGS_MAX) {
		struct ethernet_tag *tag = &frame->tags.tag[frame->tags.count++];

		tag->type = frame->type;
		tag->control = cursor_be16(&c);
		frame->type = cursor_be16(&c);
	}
	frame->payload = c.at;
	frame->len = c.left;
	return !c.short_read;
}

bool ethernet_is_station(const uint8_t mac[ETHERNET_MAC])
{
	static const uint8_t none[ETHERNET_MAC];

	return (mac[0] & 1) == 0 && memcmp(mac, none, ETHERNET_MAC) != 0;
}

bool ethernet_same_vlan(const struct ethernet_tags *a, const struct ethernet_tags *b)
{
	unsigned i;

	if (a->count != b->count)
		return false;
	for (i = 0; i < a->count; i++)
		if (a->tag[i].type != b->tag[i].type ||
		    ((a->tag[i].control ^ b->tag[i].control) & 0xfff) != 0)
			return false;
	return true;
}

size_t ethernet_write_header(uint8_t *out, const uint8_t destination[ETHERNET_MAC],
			     const uint8_t source[ETHERNET_MAC], const struct ethernet_tags *tags,
			     uint16_t type)
{
	uint8_t *at = out;
	unsigned i;

	memcpy(at, destination, ETHERNET_MAC);
	memcpy(at + ETHERNET_MAC, source, ETHERNET_MAC);
	at += 2 * ETHERNET_MAC;
	for (i = 0; i < tags->count; i++, at += ETHERNET_TAG) {
		bytes_put_be16(at, tags->tag[i].type);
		bytes_put_be16(at + 2, tags->tag[i].control);
	}
	bytes_put_be16(at, type);
	return (size_t)(at + 2 - out);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ethernet_parse_mac(uint8_t mac[ETHERNET_MAC], const char *text)
{
	for (size_t i = 0; i < ETHERNET_MAC; i++, text += 3) {
		const int high = digit(text[0]), low = high < 0 ? -1 : digit(text[1]);

		if (low < 0 || text[2] != (i + 1 < ETHERNET_MAC ? ':' : '\0'))
			return false;
		mac[i] = (uint8_t)(high * 16 + low);
	}
	return true;
}
