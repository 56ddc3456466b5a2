#include "net/vrrp_format.h"

#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"

#include <assert.h>

#define VERSION_AND_TYPE 0x31
#define HEADER ((size_t)8)
#define IPV4_HEADER ((size_t)20)

static uint16_t checksum(const uint8_t *vrrp, size_t len, uint32_t source, bool pseudo_header)
{
	uint8_t from[4], to[4];
	uint32_t sum = 0;

	bytes_put_be32(from, source);
	bytes_put_be32(to, VRRP_DESTINATION);
	if (pseudo_header)
		sum = inet_checksum_pseudo(sum, from, to, 4, VRRP_PROTOCOL, len);
	return inet_checksum_end(inet_checksum_add(sum, vrrp, len));
}

size_t vrrp_format_put(uint8_t out[VRRP_PACKET_MAX], const struct vrrp_advert *advert,
		       uint32_t source)
{
	size_t len = HEADER + advert->count * (size_t)4;
	unsigned i;

	assert(advert->count >= 1 && advert->count <= VRRP_ADDRESSES_MAX);
	assert(advert->group != 0);
	assert(advert->interval >= 1 && advert->interval <= VRRP_INTERVAL_MAX);
	out[0] = VERSION_AND_TYPE;
	out[1] = advert->group;
	out[2] = advert->priority;
	out[3] = advert->count;
	bytes_put_be16(out + 4, advert->interval);
	bytes_put_be16(out + 6, 0);
	for (i = 0; i < advert->count; i++)
		bytes_put_be32(out + HEADER + i * (size_t)4, advert->address[i]);
	bytes_put_be16(out + 6, checksum(out, len, source, advert->pseudo_header));
	return len;
}

static int get_advert(struct vrrp_advert *advert, const uint8_t *vrrp, size_t len, uint32_t source,
		      struct err *err)
{
	struct cursor c = cursor_of(vrrp, len);
	unsigned type = cursor_u8(&c), i;

	*advert = (struct vrrp_advert){ .group = cursor_u8(&c) };
	advert->priority = cursor_u8(&c);
	advert->count = cursor_u8(&c);
	advert->interval = cursor_be16(&c) & VRRP_INTERVAL_MAX;
	(void)cursor_be16(&c);
	if (c.short_read || c.left < advert->count * (size_t)4)
		return err_set(err, RC_INVALID, "VRRP packet: cut off, %zu bytes", len);
	if (type != VERSION_AND_TYPE)
		return err_set(err, RC_UNSUPPORTED, "VRRP packet: version %u, type %u", type >> 4,
			       type & 0xf);
	if (advert->count > VRRP_ADDRESSES_MAX)
		return err_set(err, RC_LIMIT, "VRRP packet: %u addresses", advert->count);
	if (advert->count == 0 || advert->group == 0 || advert->interval == 0)
		return err_set(err, RC_INVALID, "VRRP packet: no %s",
			       advert->count == 0 ? "address" :
			       advert->group == 0 ? "group" :
						    "interval");
	advert->pseudo_header = checksum(vrrp, len, source, true) == 0;
	if (!advert->pseudo_header && checksum(vrrp, len, source, false) != 0)
		return err_set(err, RC_INVALID, "VRRP packet: wrong checksum");
	for (i = 0; i < advert->count; i++)
		advert->address[i] = cursor_be32(&c);
	return RC_OK;
}

int vrrp_format_get(struct vrrp_advert *advert, uint32_t *source, const uint8_t *packet, size_t len,
		    struct err *err)
{
	size_t header, total;

	if (len < IPV4_HEADER || packet[0] >> 4 != 4)
		return err_set(err, RC_INVALID, "VRRP packet: not IPv4");
	header = (packet[0] & (size_t)0xf) * 4;
	total = bytes_get_be16(packet + 2);
	if (header < IPV4_HEADER || total < header || total > len)
		return err_set(err, RC_INVALID, "VRRP packet: %zu bytes, cut off", len);
	if (packet[9] != VRRP_PROTOCOL || packet[8] != VRRP_TTL)
		return err_set(err, RC_INVALID, "VRRP packet: protocol %u, TTL %u", packet[9],
			       packet[8]);
	if (bytes_get_be32(packet + 16) != VRRP_DESTINATION)
		return err_set(err, RC_INVALID, "VRRP packet: not to 224.0.0.18");
	*source = bytes_get_be32(packet + 12);
	return get_advert(advert, packet + header, total - header, *source, err);
}

static bool has_all(const struct vrrp_advert *of, const struct vrrp_advert *in)
{
	unsigned i, j;

	for (i = 0; i < of->count; i++) {
		for (j = 0; j < in->count && in->address[j] != of->address[i]; j++)
			;
		if (j == in->count)
			return false;
	}
	return true;
}

bool vrrp_format_same_addresses(const struct vrrp_advert *a, const struct vrrp_advert *b)
{
	return has_all(a, b) && has_all(b, a);
}
