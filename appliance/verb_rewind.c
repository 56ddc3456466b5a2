#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/failover.h"
#include "appliance/past_client.h"
#include "appliance/rewound.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define TIMEOUT_MS 10000
#define WAIT_S 600 /* reading is seconds for each GiB; then QEMU's start */
#define LOOK_MS 50
#define TEXT_BYTES 512

static const char about[] =
	"Runs an earlier epoch of an instance at its standby, beside whatever goes on: memory, processors, devices and disks as they\n"
	"were then. It is isolated: its network cards lead nowhere. Nobody else notices, and the instance stays protected.\n\n"
	"--to says when: an epoch (4711), a time with its zone (2026-11-29T04:30:00Z: the last epoch until then) or back from\n"
	"now (-30s, -5m, -2h, -1d), or the text of a mark. 'understudy history' shows what there is.\n\n"
	"With --serve the standby goes live from there: a takeover, as 'understudy takeover' orders it, but from that epoch. It is\n"
	"read first, beside whatever goes on; if it cannot be, nothing has happened. What came after it is given up, also what\n"
	"clients were answered; that is said, and has to be confirmed. The journal keeps it, as long as it keeps anything.\n\n"
	"Waits until it runs, and says where its consoles and its QMP socket are; or why it does not. There is one at a time for\n"
	"each instance, until --end gives its memory back, which it waits for, or the standby ends.";

/* Where that leads, and how far the instance has come since. */
struct prospect {
	double epoch, last_epoch;
	char time[TEXT_BYTES], last_time[TEXT_BYTES];
};

struct order {
	const struct command *command;
	struct client_target target;
	const char *instance, *to;
	bool end, serve, yes, json;
	struct prospect prospect; /* of --serve */
};

static char *request_for(const struct order *order)
{
	char *printed = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	if (cJSON_AddStringToObject(root, "instance", order->instance) != NULL &&
	    (order->to == NULL || cJSON_AddStringToObject(root, "to", order->to) != NULL) &&
	    (!order->end || cJSON_AddTrueToObject(root, "end") != NULL) &&
	    (!order->serve || cJSON_AddTrueToObject(root, "serve") != NULL))
		printed = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return printed;
}

/* ---- what comes of it ---- */

static int report_running(const struct order *order, const cJSON *rewound)
{
	char time[TEXT_BYTES], dir[TEXT_BYTES], qmp[TEXT_BYTES];

	client_text(time, sizeof(time), client_string(rewound, "time"));
	client_text(dir, sizeof(dir), client_string(rewound, "directory"));
	client_text(qmp, sizeof(qmp), client_string(rewound, "qmp"));
	(void)printf("%s runs isolated from epoch %.0f (%s)\nconsoles: %s\nQMP: %s\n",
		     order->instance, client_number(rewound, "epoch"), time, dir, qmp);
	return EXIT_FINE;
}

static int print_json(const cJSON *object)
{
	char *json = cJSON_Print(object);

	if (json == NULL)
		return options_failed("out of memory");
	(void)printf("%s\n", json);
	mem_free(json);
	return EXIT_FINE;
}

/* On standard output or, of a failure, on standard error; the exit status. */
static int report(const struct order *order, const cJSON *rewound)
{
	const bool runs = strcmp(client_string(rewound, "state"), "running") == 0;
	char reason[TEXT_BYTES];
	int status = EXIT_FINE;

	if (order->json) {
		status = print_json(rewound);
	} else if (runs) {
		return report_running(order, rewound);
	} else {
		client_text(reason, sizeof(reason), client_string(rewound, "reason"));
		(void)fprintf(stderr, "understudy: %s was not rewound: %s\n", order->instance,
			      reason);
	}
	return runs ? status : EXIT_FAILED;
}

/* Of one that is to go live. False: not known yet. */
static bool judge_serving(const struct order *order, const cJSON *instance, const cJSON *rewound,
			  int *status)
{
	const char *state = client_string(instance, "state");
	const char *stage = client_string(rewound, "state");
	const bool there = rewound == NULL &&
			   strcmp(state, failover_state_name(FAILOVER_SERVING)) == 0 &&
			   client_number(instance, "resumed_epoch") == order->prospect.epoch;
	const bool failed = strcmp(stage, "failed") == 0;
	const bool owed = strcmp(stage, "ready") == 0 &&
			  strcmp(state, failover_state_name(FAILOVER_UNATTENDED)) == 0;
	char reason[TEXT_BYTES];

	if (!failed && !owed && rewound != NULL)
		return false;
	*status = there ? EXIT_FINE : EXIT_FAILED;
	if (order->json) {
		(void)print_json(instance);
	} else if (there) {
		(void)printf("%s serves here from epoch %.0f, %.1f ms after the decision\n",
			     order->instance, order->prospect.epoch,
			     client_number(instance, "activate_ms"));
	} else {
		client_text(reason, sizeof(reason),
			    client_string(failed ? rewound : instance, "reason"));
		(void)fprintf(stderr, "understudy: %s does not serve from there: %s\n",
			      order->instance, reason);
	}
	return true;
}

/* Of one that is to end. */
static bool judge_end(const struct order *order, const cJSON *rewound, int *status)
{
	if (strcmp(client_string(rewound, "state"), REWOUND_ENDING) == 0)
		return false;
	(void)printf("%s: the rewound copy is ended\n", order->instance);
	*status = EXIT_FINE; /* whatever is there now, it is another one */
	return true;
}

static bool judge(const void *owner, const cJSON *instance, int *status)
{
	const struct order *order = owner;
	const cJSON *rewound = cJSON_GetObjectItemCaseSensitive(instance, "rewound");
	const char *state = client_string(rewound, "state");

	if (order->end)
		return judge_end(order, rewound, status);
	if (order->serve)
		return judge_serving(order, instance, rewound, status);
	if (strcmp(state, "reading") == 0 || strcmp(state, "starting") == 0)
		return false;
	*status = rewound != NULL && strcmp(state, REWOUND_ENDING) != 0 ?
			  report(order, rewound) :
			  options_failed("it is not there any more: somebody has ended it");
	return true;
}

static int follow(const struct order *order)
{
	const uint64_t end_ns = clock_now_ns() + WAIT_S * CLOCK_NS_PER_S;
	int status;

	while (!client_look(order->command, &order->target, order->instance, judge, order,
			    &status)) {
		if (clock_now_ns() >= end_ns)
			return options_failed(
				order->end ?
					"it is still being ended; 'understudy status' shows how it goes" :
					"it is still being read; 'understudy status' shows how it goes");
		uv_sleep(LOOK_MS);
	}
	return status;
}

/* ---- going live: what is lost by it ---- */

static int find(const struct order *order, struct prospect *prospect)
{
	struct past_query query = { .epochs = true, .limit = 1 };
	const cJSON *epoch;
	struct buf answer = { 0 };
	cJSON *root = NULL;
	int status;

	*prospect = (struct prospect){ 0 };
	if (!past_client_take(query.instance, order->instance) ||
	    !past_client_take(query.to, order->to))
		return options_wrong(order->command, "--to: too long");
	status = past_client_epochs(order->command, &order->target, &query, "not rewound", &answer,
				    &root);
	epoch = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(root, "epochs"), 0);
	if (status == EXIT_FINE && epoch == NULL)
		status = options_failed("there is no epoch until then");
	prospect->epoch = client_number(epoch, "epoch");
	prospect->last_epoch = client_number(root, "last_epoch");
	client_text(prospect->time, sizeof(prospect->time), client_string(epoch, "time"));
	client_text(prospect->last_time, sizeof(prospect->last_time),
		    client_string(root, "last_time"));
	cJSON_Delete(root);
	buf_free(&answer);
	return status;
}

static bool confirmed(const struct order *order)
{
	char answer[16];

	if (order->yes)
		return true;
	(void)fprintf(stderr, "Go on? [y/N] ");
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 ||
		strcmp(answer, "yes\n") == 0);
}

/* Also where nobody is asked. A time back from now is that epoch's from here on. */
static int confirm(struct order *order)
{
	struct prospect *prospect = &order->prospect;
	int status = find(order, prospect);

	if (status != EXIT_FINE)
		return status;
	(void)fprintf(
		stderr,
		"%s: the standby will run epoch %.0f (%s). What the instance did since, up to epoch %.0f (%s) and until it is "
		"stopped, is given up, also what clients were answered. If the primary site is cut off from here and it still "
		"runs there, with a network of its own, without \"hold\" and without a witness, stop it there first: two of it "
		"would serve.\n",
		order->instance, prospect->epoch, prospect->time, prospect->last_epoch,
		prospect->last_time);
	if (!confirmed(order))
		return options_failed("not confirmed, nothing was done");
	if (*order->to == '-' && *prospect->time != '\0')
		order->to = prospect->time;
	return EXIT_FINE;
}

/* ---- the order ---- */

static int give(const struct order *order)
{
	char *request = request_for(order);
	struct buf answer = { 0 };
	int status, http_status;

	if (request == NULL)
		return options_failed("out of memory");
	status = client_ask(order->command, &order->target, "/v1/rewind", request, TIMEOUT_MS,
			    &http_status, &answer);
	if (status == EXIT_FINE && http_status != 202)
		status = client_refused("not rewound", http_status, &answer);
	else if (status == EXIT_FINE)
		status = follow(order);
	buf_free(&answer);
	mem_free(request);
	return status;
}

static int confirm_and_give(struct order *order)
{
	struct config config;
	int status = client_find(order->command, &order->target, &config);

	if (status == EXIT_FINE && order->serve)
		status = confirm(order);
	if (status == EXIT_FINE)
		status = give(order);
	config_free(&config);
	return status;
}

int verb_rewind(int argc, char **argv)
{
	struct order order = { 0 };
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&order.target),
		CLIENT_HTTP_OPTION(&order.target),
		{ .name = "instance",
		  .value = "NAME",
		  .text = &order.instance,
		  .doc = "to rewind" },
		{ .name = "to",
		  .value = "WHEN",
		  .text = &order.to,
		  .doc = "an epoch, a time or a mark" },
		{ .name = "end", .flag = &order.end, .doc = "end the rewound copy" },
		{ .name = "serve",
		  .flag = &order.serve,
		  .doc = "go live from there, and give up what came after it" },
		{ .name = "yes",
		  .flag = &order.yes,
		  .doc = "with --serve: do not ask for confirmation" },
		{ .name = "json",
		  .flag = &order.json,
		  .doc = "print what the status tells of it then" },
	};
	const struct command command = {
		.synopsis =
			"rewind (--config FILE | --http ADDRESS) --instance NAME (--to WHEN [--serve [--yes]] | --end) [--json]",
		.about = about,
		.options = options,
		.count = sizeof(options) / sizeof(options[0]),
	};
	int status;

	order.command = &command;
	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (client_instance_wrong(&command, order.instance, &status))
		return status;
	if ((order.to == NULL) != order.end)
		return options_wrong(&command, "one of --to WHEN and --end is needed");
	if (order.end && order.serve)
		return options_wrong(&command, "--serve is for --to");
	if (order.serve && !order.yes && !isatty(STDIN_FILENO))
		return options_wrong(
			&command,
			"nobody is there to confirm it (standard input is no terminal); say --yes");
	if (client_target_wrong(&command, &order.target, &status))
		return status;
	return confirm_and_give(&order);
}
