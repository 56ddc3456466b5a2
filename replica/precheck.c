#include "replica/precheck.h"

#include "appliance/base/mem.h"

#include <stdio.h>
#include <string.h>

#define MEMORY_MAX 9007199254740992.0 /* 2^53: JSON numbers are doubles, larger are not exact */

/* ---- the verdict --------------------------------------------------------------------------- */

static int judge_release(const struct precheck_facts *f, struct err *err)
{
	bool dead_end = f->major == 10 &&
			((f->minor == 0 && (f->micro <= 6 || f->micro >= 50)) || f->minor == 1);

	if (f->major < 7 || (f->major == 7 && f->minor < 2))
		return err_set(
			err, RC_UNSUPPORTED,
			"QEMU %u.%u.%u is older than 7.2, the oldest that can be protected: use a newer one",
			f->major, f->minor, f->micro);
	if (dead_end)
		return err_set(
			err, RC_UNSUPPORTED,
			"QEMU %u.%u.%u never enters COLO (a fault of 10.0.0 to 10.0.6 and 10.1): "
			"use 10.0.7 or later of 10.0, or a release before 10.0",
			f->major, f->minor, f->micro);
	return RC_OK;
}

static int judge_build(const struct precheck_facts *f, struct err *err)
{
	if (!f->has_colo)
		return err_set(
			err, RC_UNSUPPORTED,
			"this QEMU was built without COLO (no x-colo among its migration capabilities): "
			"use one configured with --enable-replication");
	if (!f->has_events || !f->has_ignore_shared)
		return err_set(err, RC_UNSUPPORTED,
			       "this QEMU lacks the migration capability %s: use a newer one",
			       f->has_events ? "x-ignore-shared" : "events");
	if (!f->kvm && strstr(f->package, PRECHECK_PACKAGE) == NULL)
		return err_set(
			err, RC_UNSUPPORTED,
			"this QEMU runs without KVM, and without the lock fix that COLO needs then it would "
			"hang at the first checkpoint: run it with KVM, or with understudy's own build of QEMU");
	return RC_OK;
}

static int judge_migration(const struct precheck_facts *f, struct err *err)
{
	static const char *const over[] = { "", "none", "completed", "failed", "cancelled" };
	size_t i;

	if (f->blocked[0] != '\0')
		return err_set(err, RC_UNSUPPORTED,
			       "QEMU cannot migrate this machine, so it cannot be protected: %s",
			       f->blocked);
	if (strcmp(f->migration, "colo") == 0)
		return err_set(
			err, RC_STATE,
			"the machine is in COLO already, protected by somebody else or left so by an agent that "
			"is gone: the QMP command x-colo-lost-heartbeat frees it (and resumes it if it is paused)");
	for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		if (strcmp(f->migration, over[i]) == 0)
			return RC_OK;
	}
	if (strcmp(f->migration, "cancelling") == 0)
		return err_set(
			err, RC_STATE,
			"a migration that somebody has cancelled is not over (cancelling): if that lasts, QEMU has "
			"to be restarted before the machine can be protected");
	return err_set(err, RC_STATE,
		       "a migration is under way (%s): wait for its end, or cancel it",
		       f->migration);
}

static int judge_machine(const struct precheck_facts *f, struct err *err)
{
	if (strcmp(f->status, "running") != 0)
		return err_set(
			err, RC_STATE,
			"the machine does not run (%s), and protecting it would start it: resume it first",
			f->status);
	if (f->machine[0] == '\0' || f->default_ram_id[0] == '\0')
		return err_set(
			err, RC_UNSUPPORTED,
			"QEMU does not tell the name of the machine's main memory (machine type \"%s\")",
			f->machine);
	if (f->memory_bytes == 0 || f->cpus == 0)
		return err_set(err, RC_UNSUPPORTED, "the machine has no memory or no processor");
	return RC_OK;
}

static int judge_devices(const struct precheck_facts *f, struct err *err)
{
	if (f->added[0] == '\0')
		return RC_OK;
	return err_set(
		err, RC_UNSUPPORTED,
		"device %s was plugged in after QEMU's start, and the replica would not have it: remove it, "
		"restart QEMU with it on its command line, or write the standby's arguments yourself "
		"(standby_arguments)",
		f->added);
}

int precheck_verdict(const struct precheck_facts *facts, struct err *err)
{
	static int (*const judges[])(const struct precheck_facts *, struct err *) = {
		judge_release, judge_build, judge_migration, judge_machine, judge_devices,
	};
	size_t i;
	int rc = RC_OK;

	for (i = 0; i < sizeof(judges) / sizeof(judges[0]) && rc == RC_OK; i++)
		rc = judges[i](facts, err);
	return rc;
}

/* ---- taking answers ------------------------------------------------------------------------ */

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

static const char *text_of(const cJSON *item)
{
	return cJSON_IsString(item) ? item->valuestring : NULL;
}

/* False when it is no string or has no room: a name that was cut would be another name. */
static bool take_text(char *to, size_t size, const cJSON *item)
{
	const char *text = text_of(item);

	if (text == NULL || strlen(text) >= size)
		return false;
	memcpy(to, text, strlen(text) + 1);
	return true;
}

static bool take_u32(uint32_t *to, const cJSON *item)
{
	if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 1e9))
		return false;
	*to = (uint32_t)item->valuedouble;
	return true;
}

static bool take_version(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *qemu = member(reply, "qemu");

	return take_u32(&facts->major, member(qemu, "major")) &&
	       take_u32(&facts->minor, member(qemu, "minor")) &&
	       take_u32(&facts->micro, member(qemu, "micro")) &&
	       take_text(facts->package, sizeof(facts->package), member(reply, "package"));
}

static bool take_kvm(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *enabled = member(reply, "enabled");

	facts->kvm = cJSON_IsTrue(enabled);
	return cJSON_IsBool(enabled);
}

static bool take_capabilities(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *item;
	const char *name;

	if (!cJSON_IsArray(reply))
		return false;
	cJSON_ArrayForEach(item, reply) {
		name = text_of(member(item, "capability"));
		if (name == NULL)
			return false;
		facts->has_colo |= strcmp(name, "x-colo") == 0;
		facts->has_ignore_shared |= strcmp(name, "x-ignore-shared") == 0;
		facts->has_events |= strcmp(name, "events") == 0;
	}
	return true;
}

static bool take_migration(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *status = member(reply, "status"), *reasons = member(reply, "blocked-reasons");
	const char *reason;

	if (!cJSON_IsObject(reply))
		return false;
	if (status != NULL && !take_text(facts->migration, sizeof(facts->migration), status))
		return false;
	if (cJSON_GetArraySize(reasons) == 0)
		return true;
	reason = text_of(cJSON_GetArrayItem(reasons, 0));
	(void)snprintf(facts->blocked, sizeof(facts->blocked), "%s",
		       reason != NULL ? reason : "it does not say why");
	return true;
}

static bool take_status(struct precheck_facts *facts, const cJSON *reply)
{
	return take_text(facts->status, sizeof(facts->status), member(reply, "status"));
}

/* The type's name in QEMU's object model is that of the machine with a suffix. */
static bool take_machine(struct precheck_facts *facts, const cJSON *reply)
{
	static const char suffix[] = "-machine";
	size_t len;

	if (!take_text(facts->machine, sizeof(facts->machine), reply))
		return false;
	len = strlen(facts->machine);
	if (len > strlen(suffix) && strcmp(facts->machine + len - strlen(suffix), suffix) == 0)
		facts->machine[len - strlen(suffix)] = '\0';
	return len > 0;
}

/* A machine without a "default-ram-id" leaves it empty, which the verdict refuses. */
static bool take_ram_id(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *item, *id;
	const char *name;

	if (!cJSON_IsArray(reply))
		return false;
	cJSON_ArrayForEach(item, reply) {
		name = text_of(member(item, "name"));
		if (name == NULL)
			return false;
		id = member(item, "default-ram-id");
		if (strcmp(name, facts->machine) == 0 && id != NULL)
			return take_text(facts->default_ram_id, sizeof(facts->default_ram_id), id);
	}
	return true;
}

static bool take_memory(struct precheck_facts *facts, const cJSON *reply)
{
	const cJSON *base = member(reply, "base-memory");

	if (!cJSON_IsNumber(base) || !(base->valuedouble >= 0 && base->valuedouble <= MEMORY_MAX))
		return false;
	facts->memory_bytes = (uint64_t)base->valuedouble;
	return true;
}

static bool take_cpus(struct precheck_facts *facts, const cJSON *reply)
{
	facts->cpus = (uint32_t)cJSON_GetArraySize(reply);
	return cJSON_IsArray(reply);
}

/* The items of a "qom-list", `lack` tells those that the command line did not bring. */
static bool take_devices(struct precheck_facts *facts, const cJSON *reply,
			 bool (*lack)(const struct cold_devices *cold, const char *name))
{
	static const char child[] = "child<";
	const cJSON *item;
	const char *name, *type;

	if (!cJSON_IsArray(reply))
		return false;
	cJSON_ArrayForEach(item, reply) {
		name = text_of(member(item, "name"));
		type = text_of(member(item, "type"));
		if (name == NULL || type == NULL)
			return false;
		if (strncmp(type, child, strlen(child)) != 0 || facts->added[0] != '\0' ||
		    !lack(&facts->cold, name))
			continue;
		type += strlen(child);
		(void)snprintf(facts->added, sizeof(facts->added), "%.100s (%.*s)", name,
			       (int)strcspn(type, ">"), type);
	}
	return true;
}

static bool take_named(struct precheck_facts *facts, const cJSON *reply)
{
	return take_devices(facts, reply, cold_devices_lack);
}

static bool take_unnamed(struct precheck_facts *facts, const cJSON *reply)
{
	return take_devices(facts, reply, cold_devices_lack_unnamed);
}

/* ---- asking, one question after the other -------------------------------------------------- */

static const struct question {
	const char *command;
	const char *path, *property; /* of qom-list, qom-get */
	bool (*take)(struct precheck_facts *facts, const cJSON *reply);
	bool may_be_refused; /* then the fact stays as it is: false, empty */
} questions[] = {
	{ .command = "query-version", .take = take_version },
	/* Not in every build; without the command there is no KVM either. */
	{ .command = "query-kvm", .take = take_kvm, .may_be_refused = true },
	{ .command = "query-migrate-capabilities", .take = take_capabilities },
	{ .command = "query-migrate", .take = take_migration },
	{ .command = "query-status", .take = take_status },
	{ .command = "qom-get", .path = "/machine", .property = "type", .take = take_machine },
	{ .command = "query-machines", .take = take_ram_id },
	{ .command = "query-memory-size-summary", .take = take_memory },
	{ .command = "query-cpus-fast", .take = take_cpus },
	{ .command = "qom-list", .path = "/machine/peripheral", .take = take_named },
	{ .command = "qom-list", .path = "/machine/peripheral-anon", .take = take_unnamed },
};
#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))

bool precheck_take(struct precheck_facts *facts, size_t index, const cJSON *reply)
{
	return index < QUESTIONS && questions[index].take(facts, reply);
}

struct precheck {
	struct qmp *qmp;
	void (*done)(void *owner, const struct precheck_facts *facts, const struct err *err);
	void *owner;
	size_t asked; /* index of the question that is open */
	struct precheck_facts facts;
};

static void on_answer(void *owner, const cJSON *reply, const struct err *err);

static int ask(struct precheck *precheck, struct err *err)
{
	const struct question *question = &questions[precheck->asked];
	cJSON *arguments = NULL;

	if (question->path != NULL) {
		arguments = cJSON_CreateObject();
		if (cJSON_AddStringToObject(arguments, "path", question->path) == NULL ||
		    (question->property != NULL &&
		     cJSON_AddStringToObject(arguments, "property", question->property) == NULL)) {
			cJSON_Delete(arguments);
			return err_nomem(err, question->command);
		}
	}
	return qmp_execute(precheck->qmp, question->command, arguments, on_answer, precheck, err);
}

static void discard(struct precheck *precheck)
{
	cold_devices_free(&precheck->facts.cold);
	mem_free(precheck);
}

static void finish(struct precheck *precheck, const struct err *err)
{
	precheck->done(precheck->owner, &precheck->facts, err);
	discard(precheck);
}

static void on_answer(void *owner, const cJSON *reply, const struct err *error)
{
	struct precheck *precheck = owner;
	const struct question *question = &questions[precheck->asked];
	struct err err = { .code = RC_OK };

	if (error != NULL && !(error->code == RC_REFUSED && question->may_be_refused)) {
		err = *error;
		(void)err_prefix(&err, "%s: ", question->command);
	} else if (error == NULL && !precheck_take(&precheck->facts, precheck->asked, reply)) {
		(void)err_set(&err, RC_INVALID, "%s: QEMU's answer is not what it should be",
			      question->command);
	} else if (++precheck->asked < QUESTIONS) {
		if (ask(precheck, &err) == RC_OK)
			return;
	} else {
		(void)precheck_verdict(&precheck->facts, &err);
	}
	finish(precheck, &err);
}

int precheck_run(struct qmp *qmp, const struct cmdline *source,
		 void (*done)(void *owner, const struct precheck_facts *facts,
			      const struct err *err),
		 void *owner, struct err *err)
{
	struct precheck *precheck = mem_zalloc(1, sizeof(*precheck));
	int rc = RC_OK;

	if (precheck == NULL)
		return err_nomem(err, "precheck");
	precheck->qmp = qmp;
	precheck->done = done;
	precheck->owner = owner;
	if (source != NULL)
		rc = cold_devices_read(&precheck->facts.cold, source, err);
	if (rc == RC_OK)
		rc = ask(precheck, err);
	if (rc != RC_OK)
		discard(precheck);
	return rc;
}
