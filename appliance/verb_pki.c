#include "appliance/options.h"
#include "appliance/pki.h"
#include "appliance/verb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char about[] =
	"Makes in DIR what is missing of: an authority (ca.crt, ca.key) and a certificate with its key for each\n"
	"site (primary.crt, primary.key, standby.crt, standby.key). Never overwrites a file: to renew a site's\n"
	"certificate, move its two files away and run this again with ca.key in place.";

/* 1 to PKI_DAYS_MAX, or 0. */
static uint32_t days_of(const char *text)
{
	char *end;
	unsigned long days = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && *end == '\0' && days <= PKI_DAYS_MAX ?
		       (uint32_t)days :
		       0;
}

static void print_made(const struct pki_made made[PKI_MEMBERS])
{
	const char *name;
	char files[32];

	for (enum pki_member i = PKI_CA; i < PKI_MEMBERS; i++) {
		name = pki_member_name(i);
		(void)snprintf(files, sizeof(files), "%s.crt %s.key", name, name);
		(void)printf("  %s  %-24s until %s  %s\n", made[i].made ? "made" : "kept", files,
			     made[i].until, made[i].subject);
	}
}

/* What was asked for and is not so, because what was there is kept. */
static void print_without_effect(const struct pki_made made[PKI_MEMBERS], const char *days,
				 const char *const sites[2], size_t nsites)
{
	char subject[PKI_SUBJECT_MAX];
	bool any = false;

	for (enum pki_member i = PKI_CA; i < PKI_MEMBERS; i++)
		any = any || made[i].made;
	if (days != NULL && !any)
		(void)fprintf(stderr,
			      "understudy pki: --days changes nothing: all certificates were there "
			      "already\n");
	for (size_t i = 0; i < nsites; i++) {
		const enum pki_member member = (enum pki_member)(PKI_PRIMARY + i);
		const char *name = pki_member_name(member);

		(void)snprintf(subject, sizeof(subject), "CN=%s, ", sites[i]);
		if (strncmp(made[member].subject, subject, strlen(subject)) != 0)
			(void)fprintf(
				stderr,
				"understudy pki: --name %s changes nothing: %s.crt was there "
				"already; move %s.crt and %s.key away and new ones are made\n",
				sites[i], name, name, name);
	}
}

static void print_next(const char *dir)
{
	(void)printf("\nTo the primary site:  %s/{ca.crt,primary.crt,primary.key}\n", dir);
	(void)printf("To the standby site:  %s/{ca.crt,standby.crt,standby.key}\n", dir);
	(void)printf("ca.key stays at neither: who has it can pass for either site.\n\n");
	(void)printf("In a primary's configuration (a standby's likewise):\n");
	(void)printf(
		"  \"tls\": {\"ca\": \"ca.crt\", \"cert\": \"primary.crt\", \"key\": \"primary.key\"}\n");
}

int verb_pki(int argc, char **argv)
{
	const char *dir = NULL, *days = NULL, *sites[2] = { "primary", "standby" };
	size_t nsites = 0;
	const struct option options[] = {
		{ .name = "days",
		  .value = "N",
		  .text = &days,
		  .doc = "how long certificates are valid (default: authority 3650, sites 825)" },
		{ .name = "name",
		  .value = "SITE",
		  .text = sites,
		  .most = 2,
		  .count = &nsites,
		  .doc = "the primary site's name; given again: the standby site's" },
	};
	const struct command command = { .synopsis = "pki DIR [--days N] [--name SITE]...",
					 .about = about,
					 .options = options,
					 .count = 2,
					 .operand = &dir,
					 .operand_name = "DIR" };
	struct pki_request request = { .ca_days = PKI_CA_DAYS,
				       .site_days = PKI_SITE_DAYS,
				       .now = time(NULL) };
	struct pki_made made[PKI_MEMBERS];
	struct err err;
	int status;

	if (!options_parse(&command, argc, argv, &status))
		return status;
	if (days != NULL) {
		request.ca_days = request.site_days = days_of(days);
		if (request.ca_days == 0)
			return options_wrong(&command, "--days %s: expected a number from 1 to %d",
					     days, PKI_DAYS_MAX);
	}
	request.dir = dir;
	request.names[PKI_PRIMARY] = sites[0];
	request.names[PKI_STANDBY] = sites[1];
	if (pki_make(&request, made, &err) != RC_OK) {
		(void)err_prefix(&err, "pki: ");
		return options_failed(err.text);
	}
	(void)printf("%s\n", dir);
	print_made(made);
	print_without_effect(made, days, sites, nsites);
	print_next(dir);
	return EXIT_FINE;
}
