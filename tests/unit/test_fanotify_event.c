/* fanotify's reports: what is whole is read, what is cut short anywhere is refused. */
#include "fs-watch/fanotify_event.h"

#include "appliance/base/buf.h"

#include <linux/fanotify.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t fsid[8] = "filesys";

static void add_record(struct buf *buf, uint8_t type, const char *handle, const char *name)
{
	const size_t handle_len = strlen(handle), name_len = name != NULL ? strlen(name) + 1 : 0;
	const struct fanotify_event_info_header head = {
		.info_type = type, .len = (uint16_t)(4 + 8 + 8 + handle_len + name_len)
	};
	const uint32_t len = (uint32_t)handle_len;
	const int32_t handle_type = 1;

	assert_true(buf_append(buf, &head, sizeof(head)) && buf_append(buf, fsid, sizeof(fsid)) &&
		    buf_append(buf, &len, sizeof(len)) &&
		    buf_append(buf, &handle_type, sizeof(handle_type)) &&
		    buf_append(buf, handle, handle_len) &&
		    (name == NULL || buf_append(buf, name, name_len)));
}

static void begin(struct buf *buf, uint64_t mask)
{
	const struct fanotify_event_metadata meta = { .vers = FANOTIFY_METADATA_VERSION,
						      .metadata_len = sizeof(meta),
						      .mask = mask,
						      .fd = -1,
						      .pid = 42 };

	buf->limit = 1 << 16;
	assert_true(buf_append(buf, &meta, sizeof(meta)));
}

static void end(struct buf *buf)
{
	const uint32_t len = (uint32_t)buf->len;

	memcpy(buf->data, &len, sizeof(len));
}

static void a_rename_has_both_places_and_who_was_renamed(void **state)
{
	struct buf buf = { 0 };
	struct fanotify_event event;
	struct err err;
	size_t used, len;

	(void)state;
	begin(&buf, FAN_RENAME);
	add_record(&buf, FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, "dir1", "old");
	add_record(&buf, FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, "dir22", "new");
	add_record(&buf, FAN_EVENT_INFO_TYPE_FID, "target", NULL);
	end(&buf);
	assert_int_equal(fanotify_event_parse(&event, &used, buf.data, buf.len, &err), RC_OK);
	assert_int_equal(used, buf.len);
	assert_int_equal(event.pid, 42);
	assert_true(event.at.there && event.from.there && event.has_target);
	assert_string_equal(event.from.name, "old");
	assert_string_equal(event.at.name, "new");
	assert_memory_equal(fanotify_key_handle(&event.at.dir, &len), "dir22", 5);
	assert_int_equal(len, 5);
	assert_int_equal(fanotify_key_type(&event.target), 1);
	/* Cut short anywhere. */
	for (size_t n = 0; n < buf.len; n++)
		assert_int_not_equal(fanotify_event_parse(&event, &used, buf.data, n, &err), RC_OK);
	for (uint32_t n = sizeof(struct fanotify_event_metadata) + 1; n < buf.len; n++) {
		memcpy(buf.data, &n, sizeof(n));
		if (fanotify_event_parse(&event, &used, buf.data, n, &err) == RC_OK)
			assert_false(event.at.there && event.from.there && event.has_target);
	}
	buf_free(&buf);
}

static void the_directory_itself_has_no_name(void **state)
{
	struct buf buf = { 0 };
	struct fanotify_event event;
	struct err err;
	size_t used;

	(void)state;
	begin(&buf, FAN_ATTRIB | FAN_ONDIR);
	add_record(&buf, FAN_EVENT_INFO_TYPE_DFID_NAME, "dir", ".");
	add_record(&buf, 200, "of a newer kernel", NULL);
	end(&buf);
	assert_int_equal(fanotify_event_parse(&event, &used, buf.data, buf.len, &err), RC_OK);
	assert_string_equal(event.at.name, "");
	assert_false(event.has_target || event.from.there);
	buf.data[4]++; /* the version */
	assert_int_equal(fanotify_event_parse(&event, &used, buf.data, buf.len, &err),
			 RC_UNSUPPORTED);
	buf_free(&buf);
}

static void a_handle_that_is_too_long_is_none(void **state)
{
	static const uint8_t bytes[TREE_KEY_MAX];
	struct tree_key key;

	(void)state;
	assert_true(fanotify_key(&key, fsid, 1, bytes, 128));
	assert_false(fanotify_key(&key, fsid, 1, bytes, TREE_KEY_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rename_has_both_places_and_who_was_renamed),
		cmocka_unit_test(the_directory_itself_has_no_name),
		cmocka_unit_test(a_handle_that_is_too_long_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
