/*
 * A process's command line (byte 0 chooses how it is read and for which machine). Whatever it
 * holds: no crash, no leak, and a reason with every refusal; what is derived is something that a
 * standby takes and starts, and survives its way over the wire unchanged. With a network card it
 * runs no program.
 */
#include "appliance/base/mem.h"
#include "replica/cmdline.h"
#include "replica/reservation.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_backends(const struct cmdline_spec *spec)
{
	char *path;

	CHECK(spec->nbackends <= CMDLINE_BACKENDS_MAX);
	for (size_t i = 0; i < spec->nbackends; i++) {
		CHECK(cmdline_is_backend_name(spec->backends[i].name));
		CHECK(spec->backends[i].bytes > 0 && spec->backends[i].bytes <= LAYOUT_BYTES_MAX);
		CHECK(spec->backends[i].bytes % LAYOUT_PAGE == 0);
		path = cmdline_backend_path(&spec->backends[i]);
		CHECK(path != NULL);
		mem_free(path);
	}
}

/* Neither a tap's script nor QEMU's helper for bridges. */
static void check_runs_nothing(const struct cmdline *out)
{
	for (size_t i = 1; i + 1 < out->count; i++) {
		const char *option = out->args[i] + strspn(out->args[i], "-");
		const char *value = out->args[i + 1];

		if (out->args[i][0] != '-' ||
		    (strcmp(option, "netdev") != 0 && strcmp(option, "nic") != 0 &&
		     strcmp(option, "net") != 0))
			continue;
		CHECK(strncmp(value, "bridge", 6) != 0);
		if (strcmp(value, "tap") == 0 || strncmp(value, "tap,", 4) == 0)
			CHECK(strstr(value, ",script=no") != NULL &&
			      strstr(value, ",downscript=no") != NULL);
	}
}

static void check_standby(const struct cmdline_spec *spec)
{
	struct cmdline out;
	struct err err = { 0 };

	if (cmdline_standby(&out, spec, "qemu", "tcg", "/fw", "/run/q", &err) != RC_OK) {
		CHECK(err.code == RC_LIMIT); /* no room for our own */
		return;
	}
	CHECK(strcmp(out.args[0], "qemu") == 0);
	CHECK(strcmp(out.args[out.count - 1], "defer") == 0);
	check_runs_nothing(&out);
	cmdline_free(&out);
}

/* Over the wire and back. */
static void check_travel(const struct reservation *made)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	struct reservation got;
	struct err err = { 0 };

	if (reservation_to_json(made, &json, &err) != RC_OK) {
		CHECK(err.code == RC_LIMIT);
		buf_free(&json);
		return;
	}
	if (reservation_from_json(&got, json.data, json.len, &err) == RC_OK) {
		CHECK(got.spec.args.count == made->spec.args.count);
		for (size_t i = 0; i < got.spec.args.count; i++)
			CHECK(strcmp(got.spec.args.args[i], made->spec.args.args[i]) == 0);
		CHECK(got.spec.nbackends == made->spec.nbackends);
	} else {
		/*
		 * Twice the same id, more memory than there is, none: QEMU itself would not have
		 * run so.
		 */
		CHECK(strstr(err.text, "backends") != NULL);
	}
	reservation_free(&got);
	buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct precheck_facts facts = { .machine = "pc-i440fx-10.0",
					.default_ram_id = "pc.ram",
					.memory_bytes = (uint64_t)1 << 28,
					.cpus = 1 };
	struct reservation reservation = { 0 };
	struct cmdline cmdline;
	struct err err = { 0 };

	if (size == 0)
		return 0;
	if ((data[0] & 2) != 0)
		strcpy(facts.machine, "pc-q35-3.1");
	if (cmdline_parse(&cmdline, data + 1, size - 1, &err) != RC_OK) {
		CHECK(err.text[0] != '\0');
		return 0;
	}
	if ((data[0] & 4) != 0)
		CHECK(reservation_add_tap(&reservation, "net0", "n0", false, &err) == RC_OK);
	if (reservation_derive(&reservation, &cmdline, &facts,
			       (data[0] & 1) != 0 ? cmdline.args : NULL, &err) == RC_OK) {
		CHECK(cmdline_check(&reservation.spec, &err) == RC_OK);
		check_backends(&reservation.spec);
		check_standby(&reservation.spec);
		check_travel(&reservation);
	} else {
		CHECK(err.text[0] != '\0');
	}
	reservation_free(&reservation);
	cmdline_free(&cmdline);
	return 0;
}
