/*
 * Every key of a configuration file, for both roles: the table behind config.c, its schema and its
 * list. A key that is not here does not exist.
 */
#ifndef APPLIANCE_CONFIG_KEYS_H
#define APPLIANCE_CONFIG_KEYS_H

#include "appliance/base/json_table.h"

/* Fills a struct config. Roles are bits: 1 << enum config_role. */
extern const struct json_table config_keys;
/* config_network.c: of instances[].nics and vrrp; config_disks.c: of disks */
extern const struct json_table config_nic_table, config_vrrp_table;
extern const struct json_table config_disk_table;
struct config_disk;
/* What is wrong with a standby's disk, behind its path; NULL: nothing. */
const char *config_disk_problem(const struct config_disk *disk);
/* Two targets, as text, are one, in whatever order their keys are. */
bool config_disk_same_target(const char *one, const char *other);
/* config_machine.c: of machine */
extern const struct json_table config_machine_table;

#endif
