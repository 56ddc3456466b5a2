#include "appliance/subject_derive.h"

#include "appliance/base/log.h"
#include "appliance/guest_bridge.h"
#include "appliance/witness_place.h"
#include "replica/cmdline.h"
#include "replica/reservation.h"

static int add_nics(struct reservation *reservation, const struct config_instance *config,
		    struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < config->nnics; i++) {
		const struct config_nic *nic = &config->nics[i];

		if (nic->netdev != NULL)
			rc = reservation_add_tap(reservation, nic->name, nic->netdev,
						 nic->tap != NULL, err);
		else
			rc = reservation_add_nic(reservation, nic->name, nic->socket,
						 nic->qemu_socket, nic->tap != NULL, err);
		if (rc == RC_OK)
			reservation->nics[i].at_once = !nic->output_commit;
	}
	return rc;
}

static int add_disks(struct reservation *reservation, const struct subject_derivation *s,
		     struct err *err)
{
	const struct config_instance *config = s->config;
	int rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < config->ndisks; i++)
		rc = reservation_add_disk(reservation, config->disks[i].name,
					  config->disks[i].device, s->disks[i].bytes, err);
	return rc;
}

static int check_bridges(const struct reservation *reservation,
			 const struct config_instance *config, struct err *err)
{
	int rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < config->nnics; i++) {
		if (config->nics[i].netdev == NULL)
			continue;
		rc = guest_bridge_check(
			&config->nics[i],
			cmdline_find_card(&reservation->spec, config->nics[i].netdev), err);
		if (rc != RC_OK)
			(void)err_prefix(err, "nics[%zu]: ", i);
	}
	return rc;
}

int subject_derive(const struct subject_derivation *s, struct buf *json, struct err *err)
{
	struct reservation reservation = { 0 };
	struct cmdline cmdline = { 0 };
	size_t i;
	int rc;

	rc = cmdline_of_pid(&cmdline, s->qemu, err);
	if (rc == RC_OK)
		rc = add_nics(&reservation, s->config, err);
	if (rc == RC_OK)
		rc = add_disks(&reservation, s, err);
	if (rc == RC_OK)
		rc = reservation_derive(&reservation, &cmdline, s->facts, s->config->arguments,
					err);
	if (rc == RC_OK)
		rc = check_bridges(&reservation, s->config, err);
	reservation.holds = s->config->without_standby == CONFIG_ALONE_HOLD;
	reservation.heartbeat_ms = s->site->heartbeat_ms;
	reservation.detect_ms = s->site->detect_ms;
	witness_place(reservation.witness, s->site);
	reservation.witness_identity = s->etcd != NULL ? etcd_identity(s->etcd) : 0;
	for (i = 0; rc == RC_OK && i < reservation.spec.notes.count; i++)
		log_info("subject", "%s: the replica's arguments: %s", s->config->name,
			 reservation.spec.notes.args[i]);
	if (rc == RC_OK)
		rc = reservation_to_json(&reservation, json, err);
	if (rc == RC_OK && !buf_append_u8(json, 0))
		rc = err_nomem(err, "the reservation");
	reservation_free(&reservation);
	cmdline_free(&cmdline);
	return rc;
}
