/*
 * Inside of cmdline.h: one derivation under way, and the rewriting rules that the table in
 * cmdline_rules.c points to.
 *
 * Each rule has up to two halves. `collect` runs over the whole command line before anything is
 * written: it gathers what one option says about others (machine properties, memory). `apply` then
 * writes what becomes of the option; without it the option stays as written.
 */
#ifndef REPLICA_CMDLINE_DERIVE_H
#define REPLICA_CMDLINE_DERIVE_H

#include "appliance/base/buf.h"
#include "replica/cmdline.h"
#include "replica/optstring.h"

#include <stdbool.h>

struct cmdline_rule;

/* One option of the command line. All strings belong to the source. */
struct cmdline_token {
	const struct cmdline_rule *rule; /* NULL: none, kept as written */
	const char *option;		 /* as written, "-qmp"; a bare image file: NULL */
	const char *value;		 /* NULL: takes none */
	size_t position;		 /* in the source, for messages */
	const struct cmdline_disk *disk; /* it is this one's; NULL: of none */
	bool below;			 /* a layer below such a one */
};

struct cmdline_derivation {
	struct cmdline_spec *spec;
	struct cmdline_token *tokens;
	size_t ntokens;
	const char *machine, *default_ram_id;
	uint64_t memory_bytes;
	bool literal; /* the operator's own list: only machine and memory are rewritten */

	struct buf machine_properties; /* ",usb=off,..." */
	char *memory_backend;	       /* what -machine names, or NULL */
	bool has_memdev;	       /* NUMA nodes bring the memory */
	bool has_display, has_serial;
	unsigned serials, parallels, debugcons;
	struct cmdline names; /* files in the replica's directory that are taken */
};

struct cmdline_rule {
	const char *name; /* without dashes */
	int (*collect)(struct cmdline_derivation *d, const struct cmdline_token *token,
		       struct err *err);
	int (*apply)(struct cmdline_derivation *d, const struct cmdline_token *token,
		     struct err *err);
	const char *note; /* for the operator's log, when the option was there */
	bool value;	  /* takes one */
	bool always;	  /* also in the operator's own list */
	bool ours; /* only the standby may set it: refused from an operator and from a peer */
	/* What a standby takes (cmdline_check.c). */
	bool any_path;		  /* nothing in the value is looked at */
	bool json;		  /* QEMU takes it in that form, too */
	const char *implied;	  /* the key of a first item without one; only `check` needs it */
	const char *const *paths; /* keys whose value may hold a slash, up to NULL */
	int (*check)(const struct cmdline_token *token, const struct optstring_item *item,
		     struct err *err);
	/* What must not be missing, when each of the items has passed. */
	int (*check_whole)(const struct cmdline_token *token, const struct optstring *options,
			   struct err *err);
};

/* cmdline_rules.c */

const struct cmdline_rule *cmdline_find_rule(const char *name);
/* Nothing of the option reaches a derived command line. */
bool cmdline_is_dropped(const struct cmdline_token *token);

/* cmdline_derive.c */

/* Splits a vector, from argument `first` on, into options; the array is mem_free()d. */
int cmdline_tokens(struct cmdline_token **tokens, size_t *count, char *const *args, size_t nargs,
		   size_t first, struct err *err);
const char *cmdline_token_name(const struct cmdline_token *token); /* without dashes, "" for none */
/* Puts "-netdev (argument 17): " in front of an error. */
int cmdline_name(const struct cmdline_token *token, struct err *err);
/* The token's value as options. */
int cmdline_options(const struct cmdline_token *token, const char *implied,
		    struct optstring *options, struct err *err);
/*
 * "-netdev net0 (argument 17): WHY"; `options` (may be NULL) gives the id. Values are not told:
 * they may be secrets.
 */
int cmdline_refuse(const struct cmdline_token *token, const struct optstring *options,
		   const char *why, struct err *err);
/* As cmdline_refuse() with the remedy: the operator's own list. */
int cmdline_cannot_travel(const struct cmdline_token *token, const struct optstring *options,
			  const char *what, struct err *err);
int cmdline_keep(struct cmdline_derivation *d, const struct cmdline_token *token, struct err *err);
int cmdline_emit(struct cmdline_derivation *d, const char *option, const char *value,
		 struct err *err);
int cmdline_emit_options(struct cmdline_derivation *d, const char *option,
			 const struct optstring *options, struct err *err);
int cmdline_note(struct cmdline_derivation *d, const char *text, struct err *err);
/* The text names `id` as a whole word. */
bool cmdline_mentions(const char *text, const char *id);
/* An option other than `except` that is not dropped names `id`. */
bool cmdline_is_used(const struct cmdline_derivation *d, const struct cmdline_token *except,
		     const char *id);
/* Refuses file descriptors of the primary's process among the values. */
int cmdline_no_descriptors(const struct cmdline_token *token, const struct optstring *options,
			   struct err *err);

/* cmdline_check.c: what a standby takes */

/* The option makes QEMU itself speak through the chardev that it names, not the guest. */
bool cmdline_is_daemons(const struct cmdline_token *user, const struct optstring *options);
int cmdline_check_machine(const struct cmdline_token *token, const struct optstring_item *item,
			  struct err *err);
int cmdline_check_object(const struct cmdline_token *token, const struct optstring_item *item,
			 struct err *err);
int cmdline_check_net(const struct cmdline_token *token, const struct optstring_item *item,
		      struct err *err);
int cmdline_check_scripts(const struct cmdline_token *token, const struct optstring *options,
			  struct err *err);
int cmdline_check_display(const struct cmdline_token *token, const struct optstring_item *item,
			  struct err *err);
int cmdline_check_port(const struct cmdline_token *token, const struct optstring_item *item,
		       struct err *err);

/* cmdline_memory.c: machine type and memory */

int cmdline_collect_machine(struct cmdline_derivation *d, const struct cmdline_token *token,
			    struct err *err);
int cmdline_collect_object(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err);
int cmdline_collect_numa(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err);
/* Writes the one -machine option and adds the default memory when nothing else brings memory. */
int cmdline_emit_machine(struct cmdline_derivation *d, struct err *err);
bool cmdline_is_memory(const struct optstring *object);
bool cmdline_is_memory_kind(const char *kind);
/* The -object options of a standby's memory backends. */
int cmdline_add_backends(struct cmdline *out, const struct cmdline_spec *spec, struct err *err);

/* cmdline_backends.c: what an option connects to outside of QEMU */

int cmdline_apply_serial(struct cmdline_derivation *d, const struct cmdline_token *token,
			 struct err *err);
int cmdline_apply_parallel(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err);
int cmdline_apply_debugcon(struct cmdline_derivation *d, const struct cmdline_token *token,
			   struct err *err);
int cmdline_apply_chardev(struct cmdline_derivation *d, const struct cmdline_token *token,
			  struct err *err);
int cmdline_apply_net(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err);
int cmdline_apply_audio(struct cmdline_derivation *d, const struct cmdline_token *token,
			struct err *err);

/* cmdline_cards.c */

/* No other file of the replica's gets the names of the cards' sockets. */
int cmdline_reserve_cards(struct cmdline_derivation *d, struct err *err);
int cmdline_emit_card(struct cmdline_derivation *d, const struct cmdline_card *card,
		      struct err *err);

/* cmdline_disks.c */

/* Finds the options of the disks and what lies below them; of the operator's own list, that it has them. */
int cmdline_find_disks(struct cmdline_derivation *d, struct err *err);
int cmdline_emit_disk(struct cmdline_derivation *d, const struct cmdline_token *token,
		      struct err *err);

/* cmdline_targets.c */

/* In arguments that have been checked. */
int cmdline_put_targets(struct cmdline *cmdline, const struct cmdline_spec *spec, struct err *err);

#endif
