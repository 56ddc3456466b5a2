#include "net/inet_checksum.h"

#include "appliance/base/bytes.h"

uint32_t inet_checksum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *at = data;
	uint64_t wide = sum;

	for (; len >= 4; at += 4, len -= 4)
		wide += bytes_get_be32(at);
	if (len >= 2) {
		wide += bytes_get_be16(at);
		at += 2;
		len -= 2;
	}
	if (len == 1)
		wide += (uint64_t)*at << 8;
	wide = (wide & 0xffffffff) + (wide >> 32);
	return (uint32_t)((wide & 0xffff) + (wide >> 16)); /* two halves of at most 17 bits */
}

uint32_t inet_checksum_pseudo(uint32_t sum, const void *source, const void *destination,
			      size_t size, uint8_t protocol, size_t len)
{
	sum = inet_checksum_add(sum, source, size);
	sum = inet_checksum_add(sum, destination, size);
	return sum + protocol + (uint32_t)(len & 0xffff);
}

uint16_t inet_checksum_end(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}
