#include "appliance/status.h"

#include "appliance/base/bytes.h"
#include "appliance/base/clock.h"
#include "appliance/base/json_text.h"
#include "appliance/base/mem.h"
#include "appliance/machine_problems.h"
#include "appliance/past_api.h"
#include "appliance/request_body.h"
#include "appliance/version.h"

#include <assert.h>
#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void status_pause(struct status_pauses *pauses, uint64_t pause_ns)
{
	pauses->ns[pauses->count++ % STATUS_PAUSES] = pause_ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return left < right ? -1 : left > right;
}

double status_percentile(const struct status_pauses *pauses, double share)
{
	uint64_t sorted[STATUS_PAUSES];
	size_t count = pauses->count < STATUS_PAUSES ? (size_t)pauses->count : STATUS_PAUSES;

	if (count == 0)
		return -1;
	memcpy(sorted, pauses->ns, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), compare);
	return clock_ms(sorted[(size_t)((double)(count - 1) * share + 0.5)]);
}

void status_clear(struct status_instance *instance, const char *name)
{
	*instance = (struct status_instance){
		.name = name,
		.state = "",
		.reason = "",
		.besides = "",
		.peer = "",
		.hypervisor = "",
		.term = -1,
		.epoch = -1,
		.epochs = -1,
		.lag_ms = -1,
		.lag_bytes = -1,
		.interval_ms = -1,
		.pause_last_ms = -1,
		.pause_median_ms = -1,
		.pause_p99_ms = -1,
		.wire_ratio = -1,
		.wire_bytes = -1,
		.disk_wire_bytes = -1,
		.pages = -1,
		.unchanged_pages = -1,
		.copy_done_bytes = -1,
		.copy_total_bytes = -1,
		.copy_mib_s = -1,
		.frames_from_clients = -1,
		.frames_to_clients = -1,
		.frames_held = -1,
		.frames_dropped = -1,
		.frames_replayed = -1,
		.frames_refused = -1,
		.suspicion = -1,
		.lease_ms = -1,
		.detect_ms = -1,
		.activate_ms = -1,
		.resumed_epoch = -1,
		.journal = "",
		.journal_problem = "",
		.journal_epoch = -1,
		.journal_bytes = -1,
		.journal_backlog = -1,
		.journal_read = -1,
		.journal_total = -1,
	};
}

/*
 * A number with at most three decimals, an integer as one: cJSON would write a large one with an
 * exponent. Nothing for what is not known.
 */
static void number(cJSON *object, const char *name, double value)
{
	char digits[sizeof("18446744073709551615")];

	if (!(value >= 0 && value < 0x1p64))
		return;
	if (floor(value) < value) {
		cJSON_AddNumberToObject(object, name, floor(value * 1000 + 0.5) / 1000);
	} else {
		(void)snprintf(digits, sizeof(digits), "%.0f", value);
		cJSON_AddRawToObject(object, name, digits);
	}
}

static void text(cJSON *object, const char *name, const char *value)
{
	if (value != NULL && *value != '\0')
		cJSON_AddStringToObject(object, name, value);
}

static void link_json(cJSON *json, const struct link *link, uint64_t now_ns)
{
	cJSON *object = cJSON_AddObjectToObject(json, "link");
	struct link_totals totals = link_totals(link);
	uint64_t heard_ns = link_heard_ns(link);

	cJSON_AddBoolToObject(object, "up", link_is_up(link));
	number(object, "silent_ms",
	       heard_ns > 0 && now_ns > heard_ns ? clock_ms(now_ns - heard_ns) : -1);
	number(object, "round_trip_ms",
	       link_round_trip_ns(link) > 0 ? clock_ms(link_round_trip_ns(link)) : -1);
	cJSON_AddBoolToObject(object, "udp", link_hears_datagrams(link));
	number(object, "udp_refused", (double)link_datagrams_refused(link));
	number(object, "bytes_sent", (double)totals.bytes_sent);
	number(object, "bytes_received", (double)totals.bytes_received);
	number(object, "connections", (double)totals.connections);
}

static void group_json(cJSON *list, const struct vrrp *vrrp, const struct config_vrrp *config)
{
	static const char *const states[] = {
		[VRRP_STOPPED] = "stopped", [VRRP_BACKUP] = "backup", [VRRP_ACTIVE] = "active"
	};
	static_assert(sizeof(states) / sizeof(states[0]) == VRRP_STATES, "a name for every state");
	cJSON *object = cJSON_CreateObject(), *addresses;
	uint8_t own[4];
	char other[sizeof("255.255.255.255")];
	size_t i;

	cJSON_AddItemToArray(list, object);
	text(object, "device", config->device);
	number(object, "group", config->group);
	text(object, "state", states[vrrp->state]);
	addresses = cJSON_AddArrayToObject(object, "addresses");
	for (i = 0; config->addresses[i] != NULL; i++)
		cJSON_AddItemToArray(addresses, cJSON_CreateString(config->addresses[i]));
	if (!vrrp->other_is_there || vrrp->other == 0)
		return;
	bytes_put_be32(own, vrrp->other);
	(void)snprintf(other, sizeof(other), "%u.%u.%u.%u", own[0], own[1], own[2], own[3]);
	text(object, "active_router", other);
	number(object, "active_priority", vrrp->other_priority);
}

static void vrrp_json(cJSON *json, const struct virtual_addresses *addresses)
{
	const struct config_vrrp *config;
	const struct vrrp *vrrp = virtual_addresses_state(addresses, 0, &config);
	cJSON *list = vrrp != NULL ? cJSON_AddArrayToObject(json, "vrrp") : NULL;
	size_t i;

	for (i = 0; (vrrp = virtual_addresses_state(addresses, i, &config)) != NULL; i++)
		group_json(list, vrrp, config);
}

static void nics_json(cJSON *json, const struct config_nic *nics, size_t count)
{
	cJSON *list = count > 0 ? cJSON_AddArrayToObject(json, "nics") : NULL, *object;
	size_t i;

	for (i = 0; i < count; i++) {
		object = cJSON_CreateObject();
		cJSON_AddItemToArray(list, object);
		text(object, "name", nics[i].name);
		cJSON_AddBoolToObject(object, "output_commit", nics[i].output_commit);
	}
}

static void disks_json(cJSON *json, const struct disk_capture *disks, size_t count)
{
	cJSON *list = disks != NULL ? cJSON_AddArrayToObject(json, "disks") : NULL, *object;
	struct disk_capture_state state;
	size_t i;

	for (i = 0; disks != NULL && i < count; i++) {
		disk_capture_query(disks, i, &state);
		object = cJSON_CreateObject();
		cJSON_AddItemToArray(list, object);
		text(object, "name", state.name);
		text(object, "state", state.mirrored ? "mirrored" : "copying");
		number(object, "bytes", (double)state.bytes);
		number(object, "done_bytes", (double)state.done);
	}
}

static void copies_json(cJSON *json, const struct journal_health *health)
{
	static const char *const states[] = { [JOURNAL_COPY_FAILED] = "failed",
					      [JOURNAL_COPY_REPAIRING] = "repairing",
					      [JOURNAL_COPY_GOOD] = "good" };
	cJSON *list, *object;
	unsigned i;

	if (health == NULL || health->count == 0)
		return;
	object = cJSON_AddObjectToObject(json, "scrub");
	number(object, "rounds", (double)health->rounds);
	number(object, "read_bytes", (double)health->done);
	number(object, "repaired", (double)health->mended);
	text(object, "rotten", health->rot);
	if (health->count < 2)
		return;
	number(json, "quorum", health->quorum);
	number(json, "repaired", (double)health->repaired);
	list = cJSON_AddArrayToObject(json, "copies");
	for (i = 0; i < health->count; i++) {
		object = cJSON_CreateObject();
		cJSON_AddItemToArray(list, object);
		text(object, "directory", health->copy[i].path);
		text(object, "state", states[health->copy[i].state]);
		text(object, "reason", health->copy[i].why);
	}
}

static void journal_json(cJSON *json, const struct status_instance *instance)
{
	cJSON *object;

	if (*instance->journal == '\0')
		return;
	object = cJSON_AddObjectToObject(json, "journal");
	text(object, "state", instance->journal);
	text(object, "reason", instance->journal_problem);
	cJSON_AddBoolToObject(object, "durable", instance->journal_durable);
	number(object, "epoch", instance->journal_epoch);
	number(object, "bytes", instance->journal_bytes);
	number(object, "backlog_bytes", instance->journal_backlog);
	number(object, "read_bytes", instance->journal_read);
	number(object, "total_bytes", instance->journal_total);
	copies_json(object, instance->journal_health);
}

static void rewound_json(cJSON *json, const struct rewound_status *rewound)
{
	char time[HISTORY_TIME_MAX] = "";
	cJSON *object;

	if (rewound->state == NULL)
		return;
	object = cJSON_AddObjectToObject(json, "rewound");
	text(object, "state", rewound->state);
	cJSON_AddBoolToObject(object, "serve", rewound->serve);
	text(object, "reason", rewound->reason);
	number(object, "epoch", rewound->epoch != 0 ? (double)rewound->epoch : -1);
	if (rewound->ms != 0)
		history_print_time(time, rewound->ms);
	text(object, "time", time);
	number(object, "read_bytes", (double)rewound->done);
	number(object, "total_bytes", (double)rewound->total);
	text(object, "directory", rewound->dir);
	text(object, "qmp", rewound->qmp);
}

static void add_reason(cJSON *object, const struct status_instance *instance)
{
	const bool both = *instance->reason != '\0' && *instance->besides != '\0';
	char whole[2 * ERR_TEXT_MAX];

	(void)snprintf(whole, sizeof(whole), "%s%s%s", instance->reason, both ? "; " : "",
		       instance->besides);
	text(object, "reason", whole);
}

static cJSON *instance_json(const struct status_instance *instance)
{
	cJSON *json = cJSON_CreateObject(), *object;

	text(json, "name", instance->name);
	text(json, "state", instance->state);
	add_reason(json, instance);
	cJSON_AddBoolToObject(json, "healthy", instance->healthy);
	cJSON_AddBoolToObject(json, "protected", instance->protected_now);
	if (instance->outdated)
		cJSON_AddTrueToObject(json, "outdated");
	number(json, "term", instance->term);
	number(json, "epoch", instance->epoch);
	number(json, "epochs", instance->epochs);
	number(json, "lag_ms", instance->lag_ms);
	number(json, "lag_bytes", instance->lag_bytes);
	number(json, "interval_ms", instance->interval_ms);
	if (instance->pause_last_ms >= 0) {
		object = cJSON_AddObjectToObject(json, "pause_ms");
		number(object, "last", instance->pause_last_ms);
		number(object, "median", instance->pause_median_ms);
		number(object, "p99", instance->pause_p99_ms);
	}
	number(json, "wire_ratio", instance->wire_ratio);
	number(json, "wire_bytes", instance->wire_bytes);
	number(json, "disk_wire_bytes", instance->disk_wire_bytes);
	number(json, "pages", instance->pages);
	number(json, "unchanged_pages", instance->unchanged_pages);
	if (instance->copy_total_bytes > 0) {
		object = cJSON_AddObjectToObject(json, "initial_sync");
		number(object, "done_bytes", instance->copy_done_bytes);
		number(object, "total_bytes", instance->copy_total_bytes);
		number(object, "mib_s", instance->copy_mib_s);
	}
	if (instance->frames_dropped >= 0) {
		object = cJSON_AddObjectToObject(json, "frames");
		number(object, "from_clients", instance->frames_from_clients);
		number(object, "to_clients", instance->frames_to_clients);
		number(object, "held", instance->frames_held);
		number(object, "dropped", instance->frames_dropped);
		number(object, "replayed", instance->frames_replayed);
		number(object, "refused", instance->frames_refused);
	}
	journal_json(json, instance);
	rewound_json(json, &instance->rewound);
	nics_json(json, instance->nics, instance->nnics);
	disks_json(json, instance->disks, instance->ndisks);
	text(json, "hypervisor", instance->hypervisor);
	number(json, "suspicion", instance->suspicion);
	text(json, "lease", instance->lease);
	number(json, "lease_ms", instance->lease_ms);
	number(json, "detect_ms", instance->detect_ms);
	number(json, "activate_ms", instance->activate_ms);
	number(json, "resumed_epoch", instance->resumed_epoch);
	text(json, "peer", instance->peer);
	vrrp_json(json, instance->addresses);
	if (instance->link != NULL)
		link_json(json, instance->link, clock_now_ns());
	return json;
}

static void respond(struct http_response *response, cJSON *json)
{
	char *printed = json != NULL ? cJSON_Print(json) : NULL;

	if (printed == NULL || !buf_append(&response->body, printed, strlen(printed)) ||
	    !buf_append_u8(&response->body, '\n')) {
		buf_reset(&response->body);
		response->status = 503;
	}
	cJSON_free(printed);
	cJSON_Delete(json);
}

static void witness_json(cJSON *json, const char *problem)
{
	cJSON *object;

	if (problem == NULL)
		return;
	object = cJSON_AddObjectToObject(json, "witness");
	cJSON_AddBoolToObject(object, "answers", *problem == '\0');
	text(object, "reason", problem);
}

static void handle_status(const struct status_source *source, struct http_response *response)
{
	struct status_instance instance;
	cJSON *json = cJSON_CreateObject(), *list;
	size_t i;

	text(json, "role", source->config->role == CONFIG_PRIMARY ? "primary" : "standby");
	text(json, "site", source->config->site);
	text(json, "version", UNDERSTUDY_VERSION);
	number(json, "uptime_s", clock_ms(clock_now_ns() - source->started_ns) / 1000);
	witness_json(json, source->witness(source->owner));
	text(json, "certificate", source->certificate(source->owner));
	list = cJSON_AddArrayToObject(json, "instances");
	for (i = 0; i < source->count(source->owner); i++) {
		source->fill(source->owner, i, &instance);
		cJSON_AddItemToArray(list, instance_json(&instance));
	}
	respond(response, json);
}

static void add_problem(cJSON *problems, const struct status_instance *instance)
{
	cJSON *problem = cJSON_CreateObject();

	text(problem, "instance", instance->name);
	text(problem, "state", instance->state);
	add_reason(problem, instance);
	cJSON_AddItemToArray(problems, problem);
}

/* Of no instance. */
static void add_other(cJSON *problems, const char *state, const char *reason)
{
	add_problem(problems,
		    &(struct status_instance){ .state = state, .reason = reason, .besides = "" });
}

/* What cannot be read is a problem, too. */
static void add_machine(cJSON *problems, const char *path)
{
	char text[LOG_LINE_MAX];
	struct buf lines;
	struct err err;
	size_t at = 0;

	if (path == NULL)
		return;
	if (machine_problems_read(&lines, path, &err) != RC_OK)
		add_other(problems, "machine", err.text);
	while (machine_problems_next(&lines, &at, text))
		add_other(problems, "machine", text);
	buf_free(&lines);
}

static void handle_health(const struct status_source *source, struct http_response *response)
{
	const char *witness = source->witness(source->owner);
	const char *certificate = source->certificate(source->owner);
	struct status_instance instance;
	cJSON *json = cJSON_CreateObject(), *problems = cJSON_CreateArray();
	size_t i;

	if (witness != NULL && *witness != '\0')
		add_other(problems, "no witness", witness);
	if (*certificate != '\0')
		add_other(problems, "certificate", certificate);
	add_machine(problems, source->config->machine_problems);
	for (i = 0; i < source->count(source->owner); i++) {
		source->fill(source->owner, i, &instance);
		if (!instance.healthy)
			add_problem(problems, &instance);
	}
	if (source->ending)
		add_other(problems, NULL, "this process is ending");
	response->status = cJSON_GetArraySize(problems) > 0 ? 503 : 200;
	text(json, "status", response->status == 200 ? "ok" : "attention");
	cJSON_AddItemToObject(json, "problems", problems);
	respond(response, json);
}

/* The operator's commands: {"instance": "NAME"}; 202 once it is under way. */
struct order {
	char *instance;
};

static const struct json_field order_fields[] = {
	{ .key = "instance",
	  .doc = "what is ordered is about",
	  .type = JSON_NAME,
	  .required = true,
	  .offset = offsetof(struct order, instance) },
};
static const struct json_table order_table = JSON_TABLE(order_fields);

static int obey(const struct status_source *source,
		int (*command)(void *owner, const char *instance, struct err *err),
		const struct http_request *request, struct err *err)
{
	struct order order = { NULL };
	int rc;

	if (command == NULL)
		return err_set(err, RC_UNSUPPORTED,
			       "this is a primary; a takeover is asked of the standby");
	rc = request_body_read(&order, &order_table, "{\"instance\": \"NAME\"}", request, err);
	if (rc == RC_OK)
		rc = command(source->owner, order.instance, err);
	mem_free(order.instance);
	return rc;
}

static int status_of(int rc)
{
	return rc == RC_INVALID ? 400 : rc == RC_NOMEM ? 503 : 409;
}

static void handle_past(const struct status_source *source,
			int (*answer)(const struct status_source *source,
				      const struct http_request *request, cJSON *json,
				      struct err *err),
			const struct http_request *request, struct http_response *response)
{
	struct err err = { 0 };
	cJSON *json = cJSON_CreateObject();
	int rc = answer(source, request, json, &err);

	if (rc != RC_OK) {
		cJSON_Delete(json);
		json = cJSON_CreateObject();
		response->status = status_of(rc);
		text(json, "error", err.text);
	} else if (answer != past_api_history) {
		response->status = 202;
		cJSON_AddBoolToObject(json, "ok", true);
	}
	respond(response, json);
}

static void handle_command(const struct status_source *source,
			   int (*command)(void *owner, const char *instance, struct err *err),
			   const struct http_request *request, struct http_response *response)
{
	struct err err = { 0 };
	int rc = obey(source, command, request, &err);
	cJSON *json = cJSON_CreateObject();

	response->status = rc == RC_OK ? 202 : status_of(rc);
	if (rc != RC_OK)
		text(json, "error", err.text);
	else
		cJSON_AddBoolToObject(json, "ok", true);
	respond(response, json);
}

void status_handle(void *owner, const struct http_request *request, struct http_response *response)
{
	static const struct {
		const char *path, *method;
	} routes[] = { { "/healthz", "GET" },	   { "/v1/status", "GET" },
		       { "/v1/takeover", "POST" }, { "/v1/release", "POST" },
		       { "/v1/history", "GET" },   { "/v1/mark", "POST" },
		       { "/v1/rewind", "POST" } };
	const struct status_source *source = owner;
	size_t i;

	for (i = 0;
	     i < sizeof(routes) / sizeof(routes[0]) && strcmp(request->path, routes[i].path) != 0;
	     i++)
		;
	if (i == sizeof(routes) / sizeof(routes[0])) {
		response->status = 404;
		(void)buf_printf(
			&response->body,
			"{\"error\": \"there are /healthz, /v1/status, /v1/takeover, /v1/release, "
			"/v1/history, /v1/mark and /v1/rewind\"}\n");
	} else if (strcmp(request->method, routes[i].method) != 0) {
		response->status = 405;
		(void)buf_printf(&response->body, "{\"error\": \"%s takes %s\"}\n", routes[i].path,
				 routes[i].method);
	} else if (i == 0) {
		handle_health(source, response);
	} else if (i == 1) {
		handle_status(source, response);
	} else if (i >= 4) {
		handle_past(source,
			    i == 4 ? past_api_history :
			    i == 5 ? past_api_mark :
				     past_api_rewind,
			    request, response);
	} else {
		handle_command(source, i == 2 ? source->takeover : source->release, request,
			       response);
	}
}
