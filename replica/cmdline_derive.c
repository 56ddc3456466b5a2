/*
 * Deriving: the command line is split into options, each option finds its rule (cmdline_rules.c),
 * the rules' `collect` halves run, then -machine is written, then each option's `apply` half, then
 * what every replica gets. The order of the options is kept.
 */
#include "replica/cmdline_derive.h"

#include "appliance/base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TEXT_LIMIT ((size_t)64 << 10) /* of machine properties */

/* Splitting ---------------------------------------------------------------------------------- */

const char *cmdline_token_name(const struct cmdline_token *token)
{
	const char *name = token->option;

	if (name == NULL)
		return "";
	name += name[0] == '-';
	return name + (name[0] == '-');
}

int cmdline_tokens(struct cmdline_token **out, size_t *count, char *const *args, size_t nargs,
		   size_t first, struct err *err)
{
	struct cmdline_token *tokens = mem_zalloc(nargs, sizeof(*tokens));
	size_t n = 0;
	bool value;

	*out = tokens;
	*count = 0;
	if (tokens == NULL)
		return err_nomem(err, "a command line");
	for (size_t i = first; i < nargs; i++) {
		struct cmdline_token *t = &tokens[n++];

		t->position = i;
		if (args[i][0] != '-') {
			t->value = args[i]; /* a disk image */
			continue;
		}
		t->option = args[i];
		t->rule = cmdline_find_rule(cmdline_token_name(t));
		value = t->rule != NULL ? t->rule->value : i + 1 < nargs && args[i + 1][0] != '-';
		if (value && i + 1 == nargs) {
			mem_free(tokens);
			*out = NULL;
			return err_set(err, RC_INVALID, "%.40s: its value is missing", args[i]);
		}
		if (value)
			t->value = args[++i];
	}
	*count = n;
	return RC_OK;
}

/* What the rules use ------------------------------------------------------------------------- */

int cmdline_name(const struct cmdline_token *token, struct err *err)
{
	return err_prefix(err, "%.40s (argument %zu): ",
			  token->option != NULL ? token->option : "disk image", token->position);
}

int cmdline_options(const struct cmdline_token *token, const char *implied,
		    struct optstring *options, struct err *err)
{
	if (optstring_parse(options, token->value, implied, err) != RC_OK)
		return cmdline_name(token, err);
	return RC_OK;
}

int cmdline_refuse(const struct cmdline_token *token, const struct optstring *options,
		   const char *why, struct err *err)
{
	const char *id = options != NULL ? optstring_get(options, "id") : NULL;

	return err_set(err, RC_UNSUPPORTED, "%.40s%s%.64s (argument %zu): %s",
		       token->option != NULL ? token->option : "disk image", id != NULL ? " " : "",
		       id != NULL ? id : "", token->position, why);
}

int cmdline_cannot_travel(const struct cmdline_token *token, const struct optstring *options,
			  const char *what, struct err *err)
{
	char why[256];

	(void)snprintf(why, sizeof(why),
		       "%s cannot travel to the standby; write the standby's arguments yourself "
		       "(standby_arguments)",
		       what);
	return cmdline_refuse(token, options, why, err);
}

int cmdline_emit(struct cmdline_derivation *d, const char *option, const char *value,
		 struct err *err)
{
	int rc = cmdline_add(&d->spec->args, option, err);

	if (rc == RC_OK && value != NULL)
		rc = cmdline_add(&d->spec->args, value, err);
	return rc;
}

int cmdline_emit_options(struct cmdline_derivation *d, const char *option,
			 const struct optstring *options, struct err *err)
{
	char *text;
	int rc = optstring_print(options, &text, err);

	if (rc == RC_OK)
		rc = cmdline_emit(d, option, text, err);
	mem_free(text);
	return rc;
}

int cmdline_keep(struct cmdline_derivation *d, const struct cmdline_token *token, struct err *err)
{
	if (token->option == NULL)
		return cmdline_add(&d->spec->args, token->value, err);
	return cmdline_emit(d, token->option, token->value, err);
}

int cmdline_note(struct cmdline_derivation *d, const char *text, struct err *err)
{
	struct cmdline *notes = &d->spec->notes;

	for (size_t i = 0; i < notes->count; i++) {
		if (strcmp(notes->args[i], text) == 0)
			return RC_OK;
	}
	return notes->count < CMDLINE_NOTES_MAX ? cmdline_add(notes, text, err) : RC_OK;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

bool cmdline_mentions(const char *text, const char *id)
{
	size_t len = strlen(id);

	if (len == 0)
		return false;
	for (const char *at = strstr(text, id); at != NULL; at = strstr(at + 1, id)) {
		if ((at == text || !is_word(at[-1])) && !is_word(at[len]))
			return true;
	}
	return false;
}

bool cmdline_is_used(const struct cmdline_derivation *d, const struct cmdline_token *except,
		     const char *id)
{
	for (size_t i = 0; i < d->ntokens; i++) {
		const struct cmdline_token *t = &d->tokens[i];

		if (t != except && t->value != NULL && !cmdline_is_dropped(t) &&
		    cmdline_mentions(t->value, id))
			return true;
	}
	return false;
}

int cmdline_no_descriptors(const struct cmdline_token *token, const struct optstring *options,
			   struct err *err)
{
	static const char *const keys[] = { "fd", "fds", "vhostfd", "vhostfds" };
	char what[64];

	for (size_t i = 0; i < options->count; i++) {
		const char *key = options->items[i].key, *value = options->items[i].value;

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
			if (strcmp(key, keys[k]) == 0) {
				(void)snprintf(what, sizeof(what), "%s=, a file descriptor,",
					       keys[k]);
				return cmdline_cannot_travel(token, options, what, err);
			}
		}
		if (value != NULL && strncmp(value, "/dev/fdset/", 11) == 0)
			return cmdline_cannot_travel(token, options,
						     "/dev/fdset, file descriptors,", err);
	}
	return RC_OK;
}

/* Deriving ----------------------------------------------------------------------------------- */

static int collect_all(struct cmdline_derivation *d, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; i < d->ntokens && rc == RC_OK; i++) {
		const struct cmdline_token *t = &d->tokens[i];

		if (t->rule != NULL && t->rule->collect != NULL && (t->rule->always || !d->literal))
			rc = t->rule->collect(d, t, err);
	}
	return rc;
}

static int apply_one(struct cmdline_derivation *d, const struct cmdline_token *t, struct err *err)
{
	const struct cmdline_rule *rule = t->rule;
	int rc;

	if (d->literal && rule != NULL && rule->ours)
		return cmdline_refuse(t, NULL, "is the standby's own to set", err);
	if (t->below)
		return RC_OK;
	if (t->disk != NULL)
		return cmdline_emit_disk(d, t, err);
	if (rule == NULL || (d->literal && !rule->always) || rule->apply == NULL)
		rc = cmdline_keep(d, t, err);
	else
		rc = rule->apply(d, t, err);
	if (rc == RC_OK && !d->literal && rule != NULL && rule->note != NULL)
		rc = cmdline_note(d, rule->note, err);
	return rc;
}

static int derive(struct cmdline_derivation *d, char *const *args, size_t nargs, size_t first,
		  struct err *err)
{
	int rc = cmdline_tokens(&d->tokens, &d->ntokens, args, nargs, first, err);

	if (rc == RC_OK)
		rc = cmdline_reserve_cards(d, err);
	if (rc == RC_OK)
		rc = cmdline_find_disks(d, err);
	if (rc == RC_OK)
		rc = collect_all(d, err);
	if (rc == RC_OK)
		rc = cmdline_emit_machine(d, err);
	for (size_t i = 0; i < d->ntokens && rc == RC_OK; i++)
		rc = apply_one(d, &d->tokens[i], err);
	if (rc == RC_OK && (!d->literal || !d->has_display))
		rc = cmdline_emit(d, "-display", "none", err);
	/*
	 * The port that QEMU would add by itself, with its output where the operator will look for
	 * it.
	 */
	if (rc == RC_OK && !d->literal && !d->has_serial)
		rc = cmdline_emit(d, "-serial", "file:console-0.log", err);
	if (rc == RC_OK && cmdline_check(d->spec, err) != RC_OK)
		rc = err_prefix(err, "a standby would not take it: ");
	mem_free(d->tokens);
	mem_free(d->memory_backend);
	buf_free(&d->machine_properties);
	cmdline_free(&d->names);
	return rc;
}

int cmdline_derive(struct cmdline_spec *spec, const struct cmdline *source, const char *machine,
		   const char *default_ram_id, uint64_t memory_bytes, struct err *err)
{
	struct cmdline_derivation d = {
		.spec = spec,
		.machine = machine,
		.default_ram_id = default_ram_id,
		.memory_bytes = memory_bytes,
		.machine_properties = { .limit = TEXT_LIMIT },
	};

	return derive(&d, source->args, source->count, 1, err);
}

int cmdline_override(struct cmdline_spec *spec, char *const *args, const char *machine,
		     const char *default_ram_id, uint64_t memory_bytes, struct err *err)
{
	struct cmdline_derivation d = {
		.spec = spec,
		.machine = machine,
		.default_ram_id = default_ram_id,
		.memory_bytes = memory_bytes,
		.literal = true,
		.machine_properties = { .limit = TEXT_LIMIT },
	};
	size_t nargs = 0;

	while (args[nargs] != NULL)
		nargs++;
	if (derive(&d, args, nargs, 0, err) != RC_OK)
		return err_prefix(err, "standby_arguments: ");
	return RC_OK;
}

void cmdline_spec_free(struct cmdline_spec *spec)
{
	cmdline_free(&spec->args);
	cmdline_free(&spec->notes);
	for (size_t i = 0; i < spec->ndisks; i++) {
		mem_free(spec->disks[i].target);
		spec->disks[i].target = NULL;
	}
	spec->nbackends = spec->ncards = spec->ndisks = 0;
}
