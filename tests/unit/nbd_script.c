#include "tests/unit/nbd_script.h"

#include "tests/unit/nbd_fixture.h"

struct buf nbd_script;

void nbd_script_greet(void)
{
	(void)buf_append_be64(&nbd_script, NBD_MAGIC);
	(void)buf_append_be64(&nbd_script, NBD_OPTION_MAGIC);
	(void)buf_append_be16(&nbd_script, NBD_FIXED_NEWSTYLE);
}

void nbd_script_reply(enum nbd_option option, uint32_t kind, uint32_t len)
{
	(void)buf_append_be64(&nbd_script, NBD_REPLY_MAGIC);
	(void)buf_append_be32(&nbd_script, option);
	(void)buf_append_be32(&nbd_script, kind);
	(void)buf_append_be32(&nbd_script, len);
}

void nbd_script_export(uint16_t flags, uint64_t bytes)
{
	nbd_script_reply(NBD_OPTION_GO, NBD_REPLY_INFO, 12);
	(void)buf_append_be16(&nbd_script, NBD_INFO_EXPORT);
	(void)buf_append_be64(&nbd_script, bytes);
	(void)buf_append_be16(&nbd_script, flags);
	nbd_script_reply(NBD_OPTION_GO, NBD_REPLY_ACK, 0);
}

void nbd_script_open(bool structured)
{
	nbd_script_greet();
	nbd_script_reply(NBD_OPTION_STRUCTURED_REPLY,
			 structured ? NBD_REPLY_ACK : NBD_REPLY_ERROR | NBD_REPLY_UNSUPPORTED, 0);
	if (structured) {
		nbd_script_reply(NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_META_CONTEXT, 19);
		(void)buf_append_be32(&nbd_script, 7);
		(void)buf_append(&nbd_script, "base:allocation", 15);
		nbd_script_reply(NBD_OPTION_SET_META_CONTEXT, NBD_REPLY_ACK, 0);
	}
	nbd_script_export(NBD_SCRIPT_FLAGS, NBD_BYTES);
}

void nbd_script_chunk(uint16_t flags, uint16_t kind, uint64_t cookie, uint32_t len)
{
	(void)buf_append_be32(&nbd_script, NBD_CHUNK_MAGIC);
	(void)buf_append_be16(&nbd_script, flags);
	(void)buf_append_be16(&nbd_script, kind);
	(void)buf_append_be64(&nbd_script, cookie);
	(void)buf_append_be32(&nbd_script, len);
}

void nbd_script_simple(uint32_t error, uint64_t cookie)
{
	(void)buf_append_be32(&nbd_script, NBD_SIMPLE_MAGIC);
	(void)buf_append_be32(&nbd_script, error);
	(void)buf_append_be64(&nbd_script, cookie);
}
