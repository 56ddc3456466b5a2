/*
 * What happens in a layer before anybody has said whose it is, or that its container runs, is told in order once that is said; nothing of
 * those that never run is; and what is kept is bounded.
 */
#include "fs-watch/layers.h"

#include "appliance/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char log_text[4096];
static char one[] = "one", two[] = "two";

static void note(void *owner, void *container, const struct watch_event *event)
{
	const size_t len = strlen(log_text);

	(void)owner;
	(void)snprintf(log_text + len, sizeof(log_text) - len, "%s%s:%s%s%s", len > 0 ? " " : "",
		       (const char *)container, event->from != NULL ? event->from : "",
		       event->from != NULL ? ">" : "", event->path);
}

static struct layers *open_layers(size_t kept_max)
{
	struct layers *layers = layers_open(kept_max, note, NULL);

	assert_non_null(layers);
	log_text[0] = '\0';
	return layers;
}

static struct layer *get(struct layers *layers, const char *name)
{
	struct layer *layer = layers_get(layers, name, strlen(name));

	assert_non_null(layer);
	return layer;
}

static void happens(struct layers *layers, struct layer *layer, const char *path, uint64_t time_ns)
{
	const struct watch_event event = { .kind = WATCH_WRITE, .path = path, .time_ns = time_ns };

	layer_event(layers, layer, &event);
}

static void test_the_first_instruction_is_told(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	struct layer *layer = get(layers, "l1");
	const struct watch_event rename = { .kind = WATCH_RENAME, .path = "b", .from = "a" };

	(void)unused;
	happens(layers, layer, "a", 1);
	layer_event(layers, layer, &rename);
	assert_string_equal(log_text, "");
	layer_name(layer, one);
	assert_string_equal(log_text, "");
	assert_int_equal(layer_start(layers, layer), 0);
	assert_string_equal(log_text, "one:a one:a>b");
	assert_int_equal(layers_kept(layers), 0);
	happens(layers, layer, "c", 3);
	assert_string_equal(log_text, "one:a one:a>b one:c");
	assert_int_equal(layer_start(layers, layer), 0); /* said twice */
	layers_close(layers);
}

static void test_between_the_end_and_the_next_start(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	struct layer *layer = get(layers, "l1");

	(void)unused;
	layer_name(layer, one);
	assert_int_equal(layer_start(layers, layer), 0);
	layer_stop(layer);
	happens(layers, layer, "copied-in", 1);
	happens(layers, layer, "a", 2);
	assert_string_equal(log_text, "");
	assert_int_equal(layer_start(layers, layer), 0);
	assert_string_equal(log_text, "one:copied-in one:a");
	layers_close(layers);
}

/* The engine says that it has started when it has ended, and started again. */
static void test_a_word_that_is_late(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	struct layer *layer = get(layers, "l1");

	(void)unused;
	layer_name(layer, one);
	happens(layers, layer, "a", 1);
	happens(layers, layer, "b", 2);
	assert_int_equal(layer_start(layers, layer), 0);
	assert_string_equal(log_text, "one:a one:b");
	layer_stop(layer);
	assert_false(layer_runs(layer));
	assert_int_equal(layer_start(layers, layer), 0);
	assert_string_equal(log_text, "one:a one:b");
	layers_forget(layers, layer);
	assert_int_equal(layers_count(layers), 0);
	layers_close(layers);
}

static void test_each_has_its_own(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	struct layer *first = get(layers, "l1"), *second = get(layers, "l12");

	(void)unused;
	assert_ptr_equal(layers_find(layers, "l1", 2), first);
	assert_ptr_equal(layers_find(layers, "l12", 3), second);
	assert_null(layers_find(layers, "l", 1));
	layer_name(first, one);
	layer_name(second, two);
	happens(layers, first, "a", 1);
	happens(layers, second, "b", 2);
	assert_int_equal(layer_start(layers, second), 0);
	assert_int_equal(layer_start(layers, first), 0);
	assert_string_equal(log_text, "two:b one:a");
	layers_close(layers);
}

static void test_nobody_wants_it(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	struct layer *layer = get(layers, "l1");

	(void)unused;
	happens(layers, layer, "a", 1);
	layer_name(layer, one);
	layer_ignore(layers, layer);
	assert_int_equal(layers_kept(layers), 0);
	happens(layers, layer, "b", 1);
	assert_int_equal(layers_kept(layers), 0);
	assert_int_equal(layer_start(layers, layer), 0);
	happens(layers, layer, "c", 1);
	assert_string_equal(log_text, "");
	layers_close(layers);
}

/* The one that has waited longest loses what it has, and knows since when. */
static void test_the_bound(void **unused)
{
	const size_t max = 4096;
	struct layers *layers = open_layers(max);
	struct layer *old = get(layers, "old"), *other = get(layers, "other");
	uint64_t at = 100;

	(void)unused;
	layer_name(old, one);
	layer_name(other, two);
	happens(layers, old, "a", at);
	while (++at < 1000) {
		happens(layers, other, "b", at);
		assert_true(layers_kept(layers) <= max);
	}
	assert_int_equal(layer_start(layers, old), 100);
	assert_string_equal(log_text, "");
	assert_true(layer_start(layers, other) > 100);
	assert_true(strlen(log_text) > 0);
	/* Once told, it is over. */
	layer_stop(old);
	assert_int_equal(layer_start(layers, old), 0);
	layers_close(layers);
}

static void test_an_event_that_is_larger_than_all(void **unused)
{
	struct layers *layers = open_layers(256);
	struct layer *layer = get(layers, "l1");
	char path[1024];

	(void)unused;
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	layer_name(layer, one);
	happens(layers, layer, "a", 5);
	happens(layers, layer, path, 6);
	assert_int_equal(layer_start(layers, layer), 5);
	assert_string_equal(log_text, "");
	layers_close(layers);
}

static void forget_it(void *owner, struct layer *layer)
{
	layers_forget(owner, layer);
}

static void test_a_thousand(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	char name[32];

	(void)unused;
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "layer-%u", i);
		happens(layers, get(layers, name), "a", i + 1);
	}
	assert_int_equal(layers_count(layers), 1000);
	for (unsigned i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "layer-%u", i);
		assert_string_equal(layer_id(layers_find(layers, name, strlen(name))), name);
	}
	layers_each(layers, forget_it, layers);
	assert_int_equal(layers_count(layers), 0);
	assert_int_equal(layers_kept(layers), 0);
	layers_close(layers);
}

static void test_a_name_that_is_too_long(void **unused)
{
	struct layers *layers = open_layers(1 << 20);
	char name[LAYERS_NAME_MAX + 2];

	(void)unused;
	memset(name, 'x', sizeof(name));
	assert_null(layers_get(layers, name, LAYERS_NAME_MAX + 1));
	assert_non_null(layers_get(layers, name, LAYERS_NAME_MAX));
	layers_close(layers);
}

/* Whichever allocation fails, nothing is told wrongly: an event is lost, and that is known. */
static void test_without_memory(void **unused)
{
	struct layers *layers;
	struct layer *layer;
	bool failed = true;

	(void)unused;
	for (unsigned long nth = 1; failed; nth++) {
		fault_arm(FAULT_ALLOC, nth);
		log_text[0] = '\0';
		layers = layers_open(1 << 20, note, NULL);
		layer = layers != NULL ? layers_get(layers, "l1", 2) : NULL;
		if (layer != NULL) {
			layer_name(layer, one);
			happens(layers, layer, "a", 7);
			if (layer_start(layers, layer) == 0)
				assert_string_equal(log_text, "one:a");
			else
				assert_string_equal(log_text, "");
		}
		layers_close(layers);
		failed = fault_fired(FAULT_ALLOC);
	}
	fault_arm(FAULT_ALLOC, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first_instruction_is_told),
		cmocka_unit_test(test_between_the_end_and_the_next_start),
		cmocka_unit_test(test_a_word_that_is_late),
		cmocka_unit_test(test_each_has_its_own),
		cmocka_unit_test(test_nobody_wants_it),
		cmocka_unit_test(test_the_bound),
		cmocka_unit_test(test_an_event_that_is_larger_than_all),
		cmocka_unit_test(test_a_thousand),
		cmocka_unit_test(test_a_name_that_is_too_long),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
