#include "appliance/operator.h"

#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/client.h"
#include "appliance/failover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define TIMEOUT_MS \
	30000		/* the process answers once it has decided, and may be busy with an epoch */
#define WAIT_S 10	/* by default: a lease, QEMU's start and its activation end within */
#define WAIT_S_MAX 3600 /* a lease may last ten minutes */
#define LOOK_MS 20
#define UNKNOWN "clients may have had answers that it does not know"

/* One order to one process. */
struct order {
	const struct operator_command *what;
	const struct command *command;
	struct client_target target;
	const char *instance;
	uint32_t wait_s;
	bool json;
};

/* How it goes; `over`: the time to wait is. */
struct sight {
	const struct order *order;
	bool over;
};

static bool is_outdated(const cJSON *instance)
{
	return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(instance, "outdated"));
}

/* Of an epoch that is known not to be the newest, before anybody says yes. */
static bool warn(const void *owner, const cJSON *instance, int *status)
{
	const struct order *order = owner;
	char reason[2 * ERR_TEXT_MAX];

	*status = EXIT_FINE;
	if (instance == NULL || !is_outdated(instance))
		return true;
	client_text(reason, sizeof(reason), client_string(instance, "reason"));
	(void)fprintf(stderr, "%s is what the standby has of epoch %.0f, and " UNKNOWN ": %s\n",
		      order->instance, client_number(instance, "epoch"), reason);
	return true;
}

static bool confirmed(const struct operator_command *order, const char *instance)
{
	char answer[16];

	(void)fprintf(stderr, "%s: %s\nGo on? [y/N] ", instance, order->question);
	return fgets(answer, sizeof(answer), stdin) != NULL &&
	       (strcmp(answer, "y\n") == 0 || strcmp(answer, "Y\n") == 0 ||
		strcmp(answer, "yes\n") == 0);
}

static char *request_for(const char *instance)
{
	char *text = NULL;
	cJSON *root;

	json_text_use_mem();
	root = cJSON_CreateObject();
	if (cJSON_AddStringToObject(root, "instance", instance) != NULL)
		text = cJSON_PrintUnformatted(root);
	cJSON_Delete(root);
	return text;
}

/* ---- what comes of it ---- */

static bool has_state(const cJSON *instance, enum failover_state state)
{
	return strcmp(client_string(instance, "state"), failover_state_name(state)) == 0;
}

/* On standard output or, of a failure, on standard error; the exit status. */
static int report(const struct order *order, const cJSON *instance, bool over)
{
	const bool serves = has_state(instance, FAILOVER_SERVING);
	char state[32], reason[2 * ERR_TEXT_MAX];
	char *json;

	if (order->json) {
		json = cJSON_Print(instance);
		if (json == NULL)
			return options_failed("out of memory");
		(void)printf("%s\n", json);
		mem_free(json);
	} else if (serves) {
		(void)printf("%s serves here from epoch %.0f, %.1f ms after the decision%s\n",
			     order->instance, client_number(instance, "resumed_epoch"),
			     client_number(instance, "activate_ms"),
			     is_outdated(instance) ? "; " UNKNOWN : "");
	} else {
		client_text(state, sizeof(state), client_string(instance, "state"));
		client_text(reason, sizeof(reason), client_string(instance, "reason"));
		(void)fprintf(stderr, "understudy: %s is not serving%s, it is %s: %s\n",
			      order->instance, over ? " yet" : "", state, reason);
	}
	return serves ? EXIT_FINE : EXIT_FAILED;
}

static bool judge(const void *owner, const cJSON *instance, int *status)
{
	const struct sight *sight = owner;
	const bool known = sight->over || (!has_state(instance, FAILOVER_CLAIMING) &&
					   !has_state(instance, FAILOVER_TAKING_OVER));

	if (instance == NULL)
		*status = options_failed("the status does not tell of that instance");
	else if (known)
		*status = report(sight->order, instance, sight->over);
	return known;
}

static int follow(const struct order *order)
{
	const uint64_t end_ns = clock_now_ns() + order->wait_s * CLOCK_NS_PER_S;
	struct sight sight = { .order = order };
	int status;

	for (;;) {
		sight.over = clock_now_ns() >= end_ns;
		if (client_look(order->command, &order->target, order->instance, judge, &sight,
				&status))
			return status;
		uv_sleep(LOOK_MS);
	}
}

/* ---- the order ---- */

static int give(const struct order *order)
{
	char *request = request_for(order->instance);
	struct buf answer = { 0 };
	int status, http_status;

	if (request == NULL)
		return options_failed("out of memory");
	status = client_ask(order->command, &order->target, order->what->path, request, TIMEOUT_MS,
			    &http_status, &answer);
	if (status == EXIT_FINE && (http_status < 200 || http_status > 299))
		status = client_refused(order->what->refused, http_status, &answer);
	else if (status == EXIT_FINE && order->wait_s > 0)
		status = follow(order);
	else if (status == EXIT_FINE && order->json)
		(void)printf("%.*s", (int)answer.len, (const char *)answer.data);
	else if (status == EXIT_FINE)
		(void)printf("%s: %s; 'understudy status' shows how it goes\n", order->instance,
			     order->what->done);
	buf_free(&answer);
	mem_free(request);
	return status;
}

/* False: it is no such number, which has been said. */
static bool read_wait(const struct command *command, const char *text, uint32_t *seconds,
		      int *status)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || value > WAIT_S_MAX) {
		*status = options_wrong(command, "--wait %s: seconds, 0 to %d", text, WAIT_S_MAX);
		return false;
	}
	*seconds = (uint32_t)value;
	return true;
}

static int confirm_and_give(struct order *order, bool yes)
{
	struct config config;
	int status;

	if (!yes && !isatty(STDIN_FILENO))
		return options_wrong(
			order->command,
			"nobody is there to confirm it (standard input is no terminal); say --yes");
	status = client_find(order->command, &order->target, &config);
	if (status == EXIT_FINE && !yes && order->what->followed)
		(void)client_look(order->command, &order->target, order->instance, warn, order,
				  &status);
	if (status == EXIT_FINE && !yes && !confirmed(order->what, order->instance))
		status = options_failed("not confirmed, nothing was done");
	if (status == EXIT_FINE)
		status = give(order);
	config_free(&config);
	return status;
}

int operator_run(const struct operator_command *what, int argc, char **argv)
{
	struct order order = { .what = what, .wait_s = what->followed ? WAIT_S : 0 };
	const char *wait = NULL;
	bool yes = false;
	const struct option options[] = {
		CLIENT_CONFIG_OPTION(&order.target),
		CLIENT_HTTP_OPTION(&order.target),
		{ .name = "instance", .value = "NAME", .text = &order.instance, .doc = what->what },
		{ .name = "yes", .flag = &yes, .doc = "do not ask for confirmation" },
		{ .name = "json",
		  .flag = &order.json,
		  .doc = what->followed ? "print the instance's status as it is then" :
					  "print the answer as JSON" },
		{ .name = "wait",
		  .value = "SECONDS",
		  .text = &wait,
		  .doc = "for the outcome, 10 by default; 0: only give the order" },
	};
	const size_t count = sizeof(options) / sizeof(options[0]);
	const struct command command = { .synopsis = what->synopsis,
					 .about = what->about,
					 .options = options,
					 .count = what->followed ? count : count - 1 };
	int status;

	order.command = &command;
	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (client_instance_wrong(&command, order.instance, &status))
		return status;
	if (wait != NULL && !read_wait(&command, wait, &order.wait_s, &status))
		return status;
	if (client_target_wrong(&command, &order.target, &status))
		return status;
	return confirm_and_give(&order, yes);
}
