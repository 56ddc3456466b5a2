/*
 * A list of chunks in order: added at the end, taken from the front. Of one thread, or under its
 * owner's lock.
 */
#ifndef REPLICA_CHUNK_LIST_H
#define REPLICA_CHUNK_LIST_H

#include "replica/chunk.h"

struct chunk_list {
	struct chunk *first, *last;
	size_t count;
};

static inline void chunk_list_add(struct chunk_list *list, struct chunk *chunk)
{
	chunk->next = NULL;
	if (list->first == NULL)
		list->first = chunk;
	else
		list->last->next = chunk;
	list->last = chunk;
	list->count++;
}

/* NULL when there is none. */
static inline struct chunk *chunk_list_take(struct chunk_list *list)
{
	struct chunk *chunk = list->first;

	if (chunk != NULL) {
		list->first = chunk->next;
		list->count--;
		chunk->next = NULL;
	}
	return chunk;
}

/* Everything in `from` goes behind what is in `to`. */
static inline void chunk_list_move(struct chunk_list *to, struct chunk_list *from)
{
	if (from->first == NULL)
		return;
	if (to->first == NULL)
		to->first = from->first;
	else
		to->last->next = from->first;
	to->last = from->last;
	to->count += from->count;
	*from = (struct chunk_list){ 0 };
}

/* Everything goes back to where it is from. */
static inline void chunk_list_return(struct chunk_list *list)
{
	struct chunk *chunk;

	while ((chunk = chunk_list_take(list)) != NULL)
		chunk_put(chunk);
}

#endif
