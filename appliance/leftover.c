#include "appliance/leftover.h"

#include "appliance/base/json_table.h"
#include "appliance/base/log.h"
#include "appliance/base/mem.h"
#include "replica/let_go.h"

#include <stdio.h>

struct leftover {
	const struct leftover_ops *ops;
	void *owner;
	char part[JSON_NAME_MAX + 16];
	struct let_go *let_go;
	uv_timer_t limit;
	bool stands; /* as the owner said last */
	bool ending, closing;
	unsigned parts; /* not closed yet */
};

static void part_closed(void *owner)
{
	struct leftover *l = owner;
	void (*done)(void *) = l->ops->done;
	void *done_owner = l->owner;

	if (--l->parts > 0)
		return;
	mem_free(l);
	done(done_owner);
}

static void on_limit_closed(uv_handle_t *handle)
{
	part_closed(handle->data);
}

static void close_parts(struct leftover *l)
{
	if (l->closing)
		return;
	l->closing = true;
	l->parts = 2;
	let_go_close(l->let_go, part_closed);
	uv_close((uv_handle_t *)&l->limit, on_limit_closed);
}

static bool is_to_stand(void *owner)
{
	struct leftover *l = owner;

	if (!l->ending)
		l->stands = l->ops->stands(l->owner);
	return l->stands;
}

static void on_let_go(void *owner, const struct colo_release_end *end)
{
	struct leftover *l = owner;

	if (end->err != NULL && (end->err->code == RC_TIMEOUT || end->err->code == RC_REFUSED))
		log_error(l->part, "%s", end->err->text);
	close_parts(l);
}

int leftover_begin(struct leftover **out, uv_loop_t *loop, struct qmp *qmp, const char *name,
		   const struct leftover_ops *ops, void *owner, struct err *err)
{
	static const struct let_go_ops callbacks = { is_to_stand, on_let_go };
	struct leftover *l = mem_zalloc(1, sizeof(*l));
	int rc;

	if (l == NULL)
		return err_nomem(err, "letting an instance go");
	l->ops = ops;
	l->owner = owner;
	(void)snprintf(l->part, sizeof(l->part), "subject %s", name);
	rc = let_go_create(&l->let_go, loop, qmp, l->part, &callbacks, l, err);
	if (rc != RC_OK) {
		mem_free(l);
		return rc;
	}
	(void)uv_timer_init(loop, &l->limit); /* cannot fail */
	l->limit.data = l;
	log_warn(l->part, "in COLO state without an agent; releasing it");
	/* QEMU has been there for longer than it takes to get ready for that. */
	let_go_ready(l->let_go);
	let_go_begin(l->let_go);
	*out = l;
	return RC_OK;
}

void leftover_event(struct leftover *l, const char *name)
{
	(void)let_go_event(l->let_go, name);
}

static void on_limit(uv_timer_t *timer)
{
	close_parts(timer->data);
}

void leftover_end(struct leftover *l)
{
	l->ending = true;
	if (!l->closing)
		(void)uv_timer_start(&l->limit, on_limit, LEFTOVER_END_MS, 0);
}
