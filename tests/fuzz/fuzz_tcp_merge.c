/*
 * Frames as an instance may send them, merged where they can be. Input: records of a length (u16,
 * little-endian) and a frame, whose checksums are put right first, or nothing would ever be merged.
 */
#include "net/tcp_merge.h"

#include "appliance/base/bytes.h"
#include "net/inet_checksum.h"

#include <assert.h>
#include <string.h>

static void seal(uint8_t *frame, size_t len)
{
	const bool v6 = len > 14 && frame[14] >> 4 == 6;
	const size_t ip = 14, tcp = ip + (v6 ? 40 : 20);
	uint32_t sum;

	if (len < tcp + 20)
		return;
	if (!v6) {
		bytes_put_be16(frame + ip + 10, 0);
		bytes_put_be16(frame + ip + 10,
			       inet_checksum_end(inet_checksum_add(0, frame + ip, 20)));
	}
	sum = v6 ? inet_checksum_pseudo(0, frame + ip + 8, frame + ip + 24, 16, 6, len - tcp) :
		   inet_checksum_pseudo(0, frame + ip + 12, frame + ip + 16, 4, 6, len - tcp);
	bytes_put_be16(frame + tcp + 16, 0);
	bytes_put_be16(frame + tcp + 16,
		       inet_checksum_end(inet_checksum_add(sum, frame + tcp, len - tcp)));
}

/* What the kernel checks before it takes it (tun_get_user, virtio_net_hdr_to_skb). */
static void finish(struct tcp_merge *merge, size_t expected)
{
	struct virtio_net_hdr header;

	tcp_merge_finish(merge, &header);
	assert(merge->len == expected && merge->len <= TCP_MERGE_BYTES);
	if (merge->count == 1) {
		assert(header.gso_type == VIRTIO_NET_HDR_GSO_NONE && header.flags == 0);
		return;
	}
	assert(header.gso_size > 0 && header.csum_start + 18U <= header.hdr_len);
	assert(header.hdr_len < merge->len);
	assert((merge->len - header.hdr_len + header.gso_size - 1) / header.gso_size ==
	       merge->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tcp_merge merge;
	struct cursor input = cursor_of(data, size);
	uint8_t frame[2048];
	size_t expected = 0;

	merge.count = 0;
	while (input.left > 2) {
		size_t len = cursor_le16(&input) % sizeof(frame);

		len = len < input.left ? len : input.left;
		if (len > 0)
			memcpy(frame, cursor_bytes(&input, len), len);
		seal(frame, len);
		if (tcp_merge_add(&merge, frame, len)) {
			expected += len - merge.headers;
			continue;
		}
		if (merge.count > 0)
			finish(&merge, expected);
		expected = tcp_merge_begin(&merge, frame, len) ? len : 0;
	}
	if (merge.count > 0)
		finish(&merge, expected);
	return 0;
}
