/* Disks whose image is the standby's own: what becomes of their options, and what QEMU tells of them. */
#include "replica/disk_find.h"
#include "replica/disk_job.h"
#include "replica/reservation.h"
#include "tests/unit/cmdline_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEVICE "-device\nvirtio-blk-pci,drive=d0,id=vd0"

static struct reservation reservation;
static struct err err;

static int tear_down(void **state)
{
	(void)state;
	reservation_free(&reservation);
	return 0;
}

/* A reservation of these arguments, with the disk "system" that QEMU knows as `device`. */
static int reserve(const char *text, const char *device, char *const *own)
{
	int rc;

	reservation_free(&reservation);
	rc = reservation_add_disk(&reservation, "system", device, 64 * MIB, &err);
	return rc == RC_OK ? arguments_reserve(&reservation, text, own, &err) : rc;
}

static void becomes(const char *device, const char *from, const char *to)
{
	char whole[4096];

	if (reserve(from, device, NULL) != RC_OK)
		fail_msg("%s: %s", from, err.text);
	(void)snprintf(whole, sizeof(whole), PC "-nodefaults\n%s\n" NONE, to);
	assert_string_equal(arguments_joined(&reservation.spec.args), whole);
}

static void refused(const char *device, const char *from, const char *words)
{
	assert_int_equal(reserve(from, device, NULL), RC_UNSUPPORTED);
	if (strstr(err.text, words) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.text, words);
}

static void a_drive_becomes_the_standbys_raw_file_and_keeps_what_its_device_sees(void **state)
{
	(void)state;
	becomes("d0",
		"-drive\nfile=/srv/vm1.qcow2,format=qcow2,if=none,id=d0,cache=none,aio=native,"
		"discard=unmap,werror=stop,throttling.iops-total=100\n" DEVICE,
		"-drive\nformat=raw,file=system.disk,file.drop-cache=off,if=none,id=d0,discard=unmap,"
		"werror=stop,throttling.iops-total=100\n" DEVICE);
	becomes("vd0", "-drive\nfile.driver=rbd,file.pool=p,file.image=i,if=none,id=d0\n" DEVICE,
		"-drive\nformat=raw,file=system.disk,file.drop-cache=off,if=none,id=d0\n" DEVICE);
	becomes("d0", "-drive\nfile=x,id=d0,if=virtio,cache=directsync,index=2",
		"-drive\nformat=raw,file=system.disk,file.drop-cache=off,id=d0,if=virtio,index=2,"
		"cache=writethrough");
}

static void the_layers_below_a_blockdev_go(void **state)
{
	(void)state;
	becomes("d0",
		"-blockdev\n{\"driver\":\"file\",\"filename\":\"/a\",\"node-name\":\"s0\"}\n"
		"-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"b0\",\"file\":\"s1\"}\n"
		"-blockdev\ndriver=file,filename=/b,node-name=s1\n"
		"-blockdev\n{\"node-name\":\"d0\",\"read-only\":false,\"discard\":\"unmap\",\"driver\":"
		"\"qcow2\",\"file\":\"s0\",\"backing\":\"b0\"}\n" DEVICE,
		"-blockdev\ndriver=raw,file.filename=system.disk,file.driver=file,file.drop-cache=off,"
		"node-name=d0,read-only=off,discard=unmap\n" DEVICE);
}

static void other_disks_stay_as_they_are(void **state)
{
	(void)state;
	becomes("d0", "-drive\nfile=/a,if=none,id=d0\n-drive\nfile=/b,if=none,id=d1\n" DEVICE,
		"-drive\nformat=raw,file=system.disk,file.drop-cache=off,if=none,id=d0\n"
		"-drive\nfile=/b,if=none,id=d1\n" DEVICE);
}

static void what_cannot_be_told_is_refused_with_the_name(void **state)
{
	char drive[] = "-drive", other[] = "file=/b,if=none,id=d0";
	char right[] = "file=system.disk,format=raw,if=none,id=d0";
	char *own[] = { drive, other, NULL };

	(void)state;
	refused("d7", "-drive\nfile=/a,if=none,id=d0\n" DEVICE, "of the id d7");
	refused("d0", "-hda\n/a", "of the id d0");
	assert_int_equal(reserve("-drive\nfile=/a,id=d0", "d0", own), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "file=system.disk"));
	own[1] = right;
	assert_int_equal(reserve("-drive\nfile=/a,id=d0", "d0", own), RC_OK);
}

static void disks_travel_with_the_reservation(void **state)
{
	static const char slash[] = "\"disks\":[{\"name\":\"system\"";
	struct reservation back = { 0 };
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	char *at;

	(void)state;
	assert_int_equal(reserve("-drive\nfile=/a,if=none,id=d0\n" DEVICE, "d0", NULL), RC_OK);
	(void)snprintf(reservation.machine, sizeof(reservation.machine), "pc-i440fx-10.0");
	assert_int_equal(reservation_to_json(&reservation, &json, &err), RC_OK);
	assert_int_equal(reservation_from_json(&back, json.data, json.len, &err), RC_OK);
	assert_int_equal(back.spec.ndisks, 1);
	assert_string_equal(back.spec.disks[0].name, "system");
	assert_string_equal(back.spec.disks[0].file, "system.disk");
	assert_int_equal(back.spec.disks[0].bytes, 64 * MIB);
	reservation_free(&back);
	at = memmem(json.data, json.len, slash, sizeof(slash) - 1);
	assert_non_null(at);
	at[strlen("\"disks\":[{\"name\":\"")] = '/';
	assert_int_equal(reservation_from_json(&back, json.data, json.len, &err), RC_INVALID);
	assert_non_null(strstr(err.text, "disks[0].name"));
	reservation_free(&back);
	buf_free(&json);
}

static void a_disk_is_found_by_drive_node_or_device(void **state)
{
	static const char text[] =
		"[{\"device\":\"d0\",\"qdev\":\"/machine/peripheral/vd0/virtio-backend\",\"inserted\":"
		"{\"node-name\":\"#block1\",\"ro\":false,\"image\":{\"virtual-size\":4096}}},"
		"{\"device\":\"\",\"qdev\":\"vd1\",\"inserted\":"
		"{\"node-name\":\"n1\",\"ro\":true,\"image\":{\"virtual-size\":4096}}},"
		"{\"device\":\"cd\"}]";
	cJSON *blocks = cJSON_Parse(text);
	struct disk_found found;
	char names[64];

	(void)state;
	assert_int_equal(disk_find(blocks, "d0", &found, &err), RC_OK);
	assert_string_equal(found.node, "#block1");
	assert_int_equal(found.bytes, 4096);
	assert_int_equal(disk_find(blocks, "vd0", &found, &err), RC_OK);
	assert_int_equal(disk_find(blocks, "#block1", &found, &err), RC_OK);
	assert_int_equal(disk_find(blocks, "vd", &found, &err), RC_UNSUPPORTED);
	assert_int_equal(disk_find(blocks, "vd1", &found, &err), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "read-only"));
	assert_int_equal(disk_find(blocks, "cd", &found, &err), RC_UNSUPPORTED);
	assert_non_null(strstr(err.text, "no medium"));
	disk_others(blocks, NULL, 0, names, sizeof(names));
	assert_string_equal(names, "d0");
	assert_int_equal(disk_find(blocks, "d0", &found, &err), RC_OK);
	disk_others(blocks, &found, 1, names, sizeof(names));
	assert_string_equal(names, "");
	cJSON_Delete(blocks);
}

static void only_our_own_jobs_are_read(void **state)
{
	static const char text[] =
		"[{\"device\":\"us-mirror-3\",\"offset\":77,\"ready\":true},{\"device\":\"us-mirror-\"},"
		"{\"device\":\"us-mirror-99\"},{\"device\":\"us-mirror-1x\"},{\"device\":\"backup\"},{}]";
	cJSON *jobs = cJSON_Parse(text);
	struct disk_job_state job;
	int i;

	(void)state;
	assert_true(disk_job_read(cJSON_GetArrayItem(jobs, 0), &job));
	assert_int_equal(job.disk, 3);
	assert_int_equal(job.done, 77);
	assert_true(job.ready);
	assert_false(job.paused);
	for (i = 1; i < 6; i++)
		assert_false(disk_job_read(cJSON_GetArrayItem(jobs, i), &job));
	cJSON_Delete(jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
		TEST(a_drive_becomes_the_standbys_raw_file_and_keeps_what_its_device_sees),
		TEST(the_layers_below_a_blockdev_go),
		TEST(other_disks_stay_as_they_are),
		TEST(what_cannot_be_told_is_refused_with_the_name),
		TEST(disks_travel_with_the_reservation),
		TEST(a_disk_is_found_by_drive_node_or_device),
		TEST(only_our_own_jobs_are_read),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
