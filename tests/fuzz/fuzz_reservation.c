/*
 * A reservation's JSON from a hostile primary, and the same bytes as an answer of a hostile
 * standby: no crash, no leak, a reason with every refusal; what is taken is within all limits, and
 * is the same after being written and read again.
 */
#include "replica/reservation.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check_taken(const struct reservation *r)
{
	struct cmdline out;
	struct err err = { 0 };
	uint64_t total = 0;

	CHECK(r->cpus >= 1 && r->cpus <= RESERVATION_CPUS_MAX);
	CHECK(r->spec.nbackends >= 1 && r->spec.nbackends <= CMDLINE_BACKENDS_MAX);
	for (size_t i = 0; i < r->spec.nbackends; i++) {
		CHECK(cmdline_is_backend_name(r->spec.backends[i].name));
		total += r->spec.backends[i].bytes;
	}
	CHECK(total <= LAYOUT_BYTES_MAX);
	if (cmdline_standby(&out, &r->spec, "qemu", r->spec.accel, NULL, "/q", &err) == RC_OK)
		cmdline_free(&out);
	else
		CHECK(err.code == RC_LIMIT);
}

static void check_again(const struct reservation *r)
{
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	struct reservation again;
	struct err err = { 0 };

	if (reservation_to_json(r, &json, &err) == RC_OK) {
		CHECK(reservation_from_json(&again, json.data, json.len, &err) == RC_OK);
		CHECK(again.spec.args.count == r->spec.args.count);
		CHECK(again.spec.args.bytes == r->spec.args.bytes);
		CHECK(again.memory_bytes == r->memory_bytes && again.cpus == r->cpus);
		CHECK(strcmp(again.machine, r->machine) == 0);
		reservation_free(&again);
	} else {
		CHECK(err.code == RC_LIMIT); /* escaped, it can be longer */
	}
	buf_free(&json);
}

static void check_answer(const uint8_t *data, size_t size)
{
	struct reservation_answer answer = { 0 }, again = { 0 };
	struct buf json = { .limit = RESERVATION_JSON_MAX };
	struct err err = { 0 };
	const char *image;

	if (reservation_read_answer(&answer, data, size, &err) != RC_OK) {
		CHECK(err.text[0] != '\0');
		return;
	}
	CHECK(memchr(answer.error, '\0', sizeof(answer.error)) != NULL);
	CHECK(answer.has_image || !answer.committed);
	image = answer.committed ? "committed" : answer.has_image ? "stale" : "empty";
	CHECK(reservation_answer(&json, answer.ok ? NULL : answer.error, image, &err) == RC_OK);
	CHECK(reservation_read_answer(&again, json.data, json.len, &err) == RC_OK);
	CHECK(again.ok == answer.ok && again.committed == answer.committed &&
	      again.has_image == answer.has_image);
	CHECK(answer.ok || strcmp(again.error, answer.error) == 0);
	buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reservation reservation;
	struct err err = { 0 };

	if (reservation_from_json(&reservation, data, size, &err) == RC_OK) {
		check_taken(&reservation);
		check_again(&reservation);
	} else {
		CHECK(err.code != RC_OK && err.text[0] != '\0');
	}
	reservation_free(&reservation);
	check_answer(data, size);
	return 0;
}
