/*
 * Everything of one kind is listed with its key, and each is compared with those before it: some
 * hundreds at most. Two cards may share a bridge; everything else in a list is of one owner.
 */
#include "appliance/config_twice.h"

#include "appliance/config_keys.h"
#include "net/address.h"

#include <stdio.h>
#include <string.h>

#define KEY_MAX 64
#define PER_NIC 2 /* devices, sockets */
#define NAMED_MAX                                                                         \
	(CONFIG_INSTANCES_MAX *                                                           \
		 (CONFIG_NICS_MAX * PER_NIC + CONFIG_DISKS_MAX + CONFIG_COPIES_MAX + 1) + \
	 1)

struct named {
	const char *value;
	size_t instance, nic; /* SIZE_MAX: of none */
	const char *key;
	bool disk; /* not a card but a disk of that number */
};

struct list {
	struct named named[NAMED_MAX];
	size_t count;
	const char *what;				  /* "the same socket as" */
	bool (*same)(const char *one, const char *other); /* NULL: as text */
	void (*found)(void *owner, const char *text);
	void *owner;
};

static void print_key(char out[KEY_MAX], const struct named *named)
{
	if (named->instance == SIZE_MAX)
		(void)snprintf(out, KEY_MAX, "%s", named->key);
	else if (named->nic == SIZE_MAX)
		(void)snprintf(out, KEY_MAX, "instances[%zu].%s", named->instance, named->key);
	else
		(void)snprintf(out, KEY_MAX, "instances[%zu].%s[%zu].%s", named->instance,
			       named->disk ? "disks" : "nics", named->nic, named->key);
}

static void say(const struct list *list, const struct named *named, const struct named *before)
{
	char key[KEY_MAX], other[KEY_MAX], text[ERR_TEXT_MAX];

	print_key(key, named);
	print_key(other, before);
	(void)snprintf(text, sizeof(text), "%s: %.160s: %s %s", key, named->value, list->what,
		       other);
	list->found(list->owner, text);
}

static void add_named(struct list *list, const struct named *named)
{
	if (named->value == NULL)
		return;
	for (size_t i = 0; i < list->count; i++) {
		if (list->same != NULL ? list->same(list->named[i].value, named->value) :
					 strcmp(list->named[i].value, named->value) == 0) {
			say(list, named, &list->named[i]);
			return;
		}
	}
	list->named[list->count++] = *named;
}

static void add(struct list *list, const char *value, size_t instance, size_t nic, const char *key)
{
	add_named(list,
		  &(struct named){ .value = value, .instance = instance, .nic = nic, .key = key });
}

static void add_disk(struct list *list, const char *value, size_t instance, size_t disk,
		     const char *key)
{
	add_named(list, &(struct named){ value, instance, disk, key, .disk = true });
}

static void add_nics(struct list *sockets, struct list *devices,
		     const struct config_instance *instance, size_t index)
{
	for (size_t i = 0; i < instance->nnics; i++) {
		const struct config_nic *nic = &instance->nics[i];

		add(sockets, nic->socket, index, i, "socket");
		add(sockets, nic->qemu_socket, index, i, "qemu_socket");
		add(devices, nic->guest_tap, index, i, "guest_tap");
		add(devices, nic->tap, index, i, "tap");
	}
}

static void compare_listeners(const struct config *config,
			      void (*found)(void *owner, const char *text), void *owner)
{
	struct address http, link;
	struct err err;

	if (config->http == NULL || config->listen == NULL ||
	    address_parse(&http, config->http, false, &err) != RC_OK ||
	    address_parse(&link, config->listen, false, &err) != RC_OK || http.port != link.port)
		return;
	if (strcmp(http.host, link.host) == 0 || address_is_any(&http) || address_is_any(&link))
		found(owner, "http.listen: the same port as link.listen; give it another one");
}

void config_twice(const struct config *config, void (*found)(void *owner, const char *text),
		  void *owner)
{
	struct list names = { .what = "also the name of", .found = found, .owner = owner };
	struct list sockets = { .what = "the same socket as", .found = found, .owner = owner };
	struct list devices = { .what = "the same device as", .found = found, .owner = owner };
	struct list journals = { .what = "the same directory as", .found = found, .owner = owner };
	struct list images = { .what = "the same image as", .found = found, .owner = owner };
	struct list targets = {
		.what = images.what, .same = config_disk_same_target, .found = found, .owner = owner
	};
	struct list cards, backends;

	if (config->http != NULL && strncmp(config->http, "unix:", 5) == 0)
		add(&sockets, config->http + 5, SIZE_MAX, SIZE_MAX, "http.listen");
	for (size_t i = 0; i < config->ninstances; i++) {
		const struct config_instance *instance = &config->instances[i];

		add(&names, instance->name, i, SIZE_MAX, "name");
		add(&sockets, instance->qmp, i, SIZE_MAX, "qmp");
		add(&journals, instance->journal_dir, i, SIZE_MAX, "journal.dir");
		for (size_t j = 0;
		     instance->journal_copies != NULL && instance->journal_copies[j] != NULL; j++)
			add(&journals, instance->journal_copies[j], i, SIZE_MAX, "journal.copies");
		add_nics(&sockets, &devices, instance, i);
		cards = (struct list){ .what = names.what, .found = found, .owner = owner };
		backends = (struct list){ .what = "the same back end as",
					  .found = found,
					  .owner = owner };
		for (size_t j = 0; j < instance->nnics; j++) {
			add(&cards, instance->nics[j].name, i, j, "name");
			add(&backends, instance->nics[j].netdev, i, j, "netdev");
		}
		backends =
			(struct list){ .what = "the same disk as", .found = found, .owner = owner };
		cards.count = 0;
		for (size_t j = 0; j < instance->ndisks; j++) {
			add_disk(&cards, instance->disks[j].name, i, j, "name");
			add_disk(&backends, instance->disks[j].device, i, j, "device");
			add_disk(&sockets, instance->disks[j].socket, i, j, "socket");
			add_disk(&images, instance->disks[j].path, i, j, "path");
			add_disk(&targets, instance->disks[j].target, i, j, "target");
		}
	}
	compare_listeners(config, found, owner);
}
