/*
 * A heading about the process, a row for each instance under a line of column names, and below a
 * row what only matters now and then: the reason for its state, a first copy under way, a takeover
 * that has happened. Columns are as wide as their widest cell.
 */
#include "appliance/status_table.h"

#include "appliance/base/utf8.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CELL_MAX 64 /* a name's limit; longer texts are cut */
#define ROWS_MAX \
	256 /* more instances than one process protects; bounds what a stranger can make us print */
#define COLUMN_GAP "  "
#define DIM "\033[2m"
#define RED "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

enum column { NAME, STATE, TERM, EPOCH, LAG, BEHIND, PAUSE, INTERVAL, RATIO, PEER, COLUMNS };

static const char *const column_names[] = {
	[NAME] = "INSTANCE", [STATE] = "STATE",	  [TERM] = "TERM",   [EPOCH] = "EPOCH",
	[LAG] = "LAG",	     [BEHIND] = "BEHIND", [PAUSE] = "PAUSE", [INTERVAL] = "INTERVAL",
	[RATIO] = "WIRE",    [PEER] = "PEER",
};
static_assert(sizeof(column_names) / sizeof(column_names[0]) == COLUMNS, "a name for every column");

struct row {
	char cells[COLUMNS][CELL_MAX + 1];
	const cJSON *instance; /* NULL: the column names */
};

/* ---- one value ---- */

static const cJSON *member(const cJSON *object, const char *key)
{
	return cJSON_GetObjectItemCaseSensitive(object, key);
}

static bool number(const cJSON *object, const char *key, double *value)
{
	const cJSON *item = member(object, key);

	*value = cJSON_IsNumber(item) ? item->valuedouble : 0;
	return cJSON_IsNumber(item);
}

static void text_cell(char *cell, const cJSON *object, const char *key)
{
	const cJSON *item = member(object, key);
	size_t len;

	(void)snprintf(cell, CELL_MAX + 1, "%s",
		       cJSON_IsString(item) && *item->valuestring != '\0' ? item->valuestring :
									    "-");
	/* A UTF-8 sequence that the cut went through goes as a whole. */
	len = strlen(cell);
	if (len == CELL_MAX) {
		while (len > 0 && ((unsigned char)cell[len - 1] & 0xc0) == 0x80)
			len--;
		if (len > 0 && (unsigned char)cell[len - 1] >= 0xc0)
			cell[len - 1] = '\0';
	}
	/* Or else the other end could write over the table. */
	utf8_make_plain(cell);
}

static void count_cell(char *cell, const cJSON *object, const char *key)
{
	double value;

	if (number(object, key, &value))
		(void)snprintf(cell, CELL_MAX + 1, "%.0f", value);
	else
		(void)snprintf(cell, CELL_MAX + 1, "-");
}

/* Three digits that matter: 0.42 ms, 12.3 ms, 950 ms, 12.0 s. */
static void format_ms(char *out, size_t size, double ms)
{
	if (ms >= 10000)
		(void)snprintf(out, size, "%.1f s", ms / 1000);
	else
		(void)snprintf(out, size, "%.*f ms", ms < 1 ? 2 : ms < 100 ? 1 : 0, ms);
}

static void ms_cell(char *cell, const cJSON *object, const char *key)
{
	double value;

	if (number(object, key, &value))
		format_ms(cell, CELL_MAX + 1, value);
	else
		(void)snprintf(cell, CELL_MAX + 1, "-");
}

static void format_bytes(char *out, size_t size, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t unit = 0;

	for (; bytes >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
		bytes /= 1024;
	(void)snprintf(out, size, "%.*f %s", unit > 0 && bytes < 100 ? 1 : 0, bytes, units[unit]);
}

static void bytes_cell(char *cell, const cJSON *object, const char *key)
{
	double value;

	if (number(object, key, &value))
		format_bytes(cell, CELL_MAX + 1, value);
	else
		(void)snprintf(cell, CELL_MAX + 1, "-");
}

/* "2.1 ms (p99 4.4 ms)" */
static void pause_cell(char *cell, const cJSON *instance)
{
	const cJSON *pause = member(instance, "pause_ms");
	char typical[32] = "-", worst[32] = "-";
	double value;

	if (number(pause, "median", &value))
		format_ms(typical, sizeof(typical), value);
	if (number(pause, "p99", &value))
		format_ms(worst, sizeof(worst), value);
	if (strcmp(typical, "-") == 0)
		(void)snprintf(cell, CELL_MAX + 1, "-");
	else
		(void)snprintf(cell, CELL_MAX + 1, "%s (p99 %s)", typical, worst);
}

static void ratio_cell(char *cell, const cJSON *instance)
{
	double value;

	if (number(instance, "wire_ratio", &value))
		(void)snprintf(cell, CELL_MAX + 1, "%.1f %%", 100 * value);
	else
		(void)snprintf(cell, CELL_MAX + 1, "-");
}

/* ---- the table ---- */

static void fill_row(struct row *row, const cJSON *instance)
{
	row->instance = instance;
	text_cell(row->cells[NAME], instance, "name");
	text_cell(row->cells[STATE], instance, "state");
	count_cell(row->cells[TERM], instance, "term");
	count_cell(row->cells[EPOCH], instance, "epoch");
	ms_cell(row->cells[LAG], instance, "lag_ms");
	bytes_cell(row->cells[BEHIND], instance, "lag_bytes");
	pause_cell(row->cells[PAUSE], instance);
	ms_cell(row->cells[INTERVAL], instance, "interval_ms");
	ratio_cell(row->cells[RATIO], instance);
	text_cell(row->cells[PEER], instance, "peer");
}

static void fill_names(struct row *row)
{
	row->instance = NULL;
	for (int i = 0; i < COLUMNS; i++)
		(void)snprintf(row->cells[i], sizeof(row->cells[i]), "%s", column_names[i]);
}

/* Columns of the terminal that a text takes, as far as one character is one column. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* Whether an operator has to look: green, red, or NULL where the server did not say. */
static const char *colour_of(const cJSON *instance)
{
	const cJSON *healthy = member(instance, "healthy");

	if (instance == NULL || !cJSON_IsBool(healthy))
		return NULL;
	return cJSON_IsTrue(healthy) ? GREEN : RED;
}

static void print_row(const struct row *row, const size_t widths[COLUMNS], bool colour,
		      struct buf *out)
{
	const char *state = colour ? colour_of(row->instance) : NULL, *paint;
	const char *names = colour && row->instance == NULL ? DIM : NULL;
	size_t pad;

	for (int i = 0; i < COLUMNS; i++) {
		paint = i == STATE && row->instance != NULL ? state : names;
		pad = i + 1 < COLUMNS ? widths[i] - width_of(row->cells[i]) : 0;
		(void)buf_printf(out, "%s%s%s%s%*s", i > 0 ? COLUMN_GAP : "",
				 paint != NULL ? paint : "", row->cells[i],
				 paint != NULL ? PLAIN : "", (int)pad, "");
	}
	(void)buf_printf(out, "\n");
}

static void print_link(const cJSON *instance, struct buf *out)
{
	const cJSON *link = member(instance, "link"), *up = member(link, "up");
	char silent[CELL_MAX + 1], round_trip[CELL_MAX + 1], connections[CELL_MAX + 1];

	if (!cJSON_IsObject(link))
		return;
	ms_cell(silent, link, "silent_ms");
	ms_cell(round_trip, link, "round_trip_ms");
	count_cell(connections, link, "connections");
	(void)buf_printf(out, "  link %s, silent for %s, round trip %s, connections so far: %s%s\n",
			 cJSON_IsTrue(up) ? "up" : "down", silent, round_trip, connections,
			 cJSON_IsTrue(up) && cJSON_IsFalse(member(link, "udp")) ?
				 ", no heartbeats by UDP" :
				 "");
}

/* "vrrp br0, group 51: backup, 192.0.2.1 has the addresses (priority 100)" */
static void print_vrrp(const cJSON *instance, struct buf *out)
{
	char device[CELL_MAX + 1], state[CELL_MAX + 1], router[CELL_MAX + 1];
	char number_text[CELL_MAX + 1], priority[CELL_MAX + 1];
	const cJSON *groups = member(instance, "vrrp"), *group;
	size_t shown = 0;

	if (!cJSON_IsArray(groups))
		return;
	for (group = groups->child; group != NULL && shown++ < ROWS_MAX; group = group->next) {
		text_cell(device, group, "device");
		text_cell(state, group, "state");
		text_cell(router, group, "active_router");
		count_cell(number_text, group, "group");
		count_cell(priority, group, "active_priority");
		(void)buf_printf(out, "  vrrp %s, group %s: %s", device, number_text, state);
		if (member(group, "active_router") != NULL)
			(void)buf_printf(out, ", %s has the addresses (priority %s)", router,
					 priority);
		(void)buf_printf(out, "\n");
	}
}

static void print_uncommitted(const cJSON *instance, struct buf *out)
{
	const cJSON *nics = member(instance, "nics"), *nic;
	char name[CELL_MAX + 1];
	size_t shown = 0;

	if (!cJSON_IsArray(nics))
		return;
	for (nic = nics->child; nic != NULL && shown++ < ROWS_MAX; nic = nic->next) {
		if (!cJSON_IsFalse(member(nic, "output_commit")))
			continue;
		text_cell(name, nic, "name");
		(void)buf_printf(out, "  %s without output commit: a takeover may lose answers\n",
				 name);
	}
}

/* "  3 frames were refused: too long or too short to be one" */
static void print_refused(const cJSON *instance, struct buf *out)
{
	double refused;

	if (number(member(instance, "frames"), "refused", &refused) && refused > 0)
		(void)buf_printf(out,
				 "  %.0f frames were refused: too long or too short to be one\n",
				 refused);
}

static void print_first_copy(const cJSON *instance, struct buf *out)
{
	const cJSON *copy = member(instance, "initial_sync");
	char done_text[32], total_text[32];
	double done, total, rate;

	if (!number(copy, "done_bytes", &done) || !number(copy, "total_bytes", &total) ||
	    total <= 0 || done >= total)
		return;
	format_bytes(done_text, sizeof(done_text), done);
	format_bytes(total_text, sizeof(total_text), total);
	(void)buf_printf(out, "  first copy: %s of %s (%.0f %%)", done_text, total_text,
			 100 * done / total);
	if (number(copy, "mib_s", &rate))
		(void)buf_printf(out, ", %.0f MiB/s", rate);
	(void)buf_printf(out, "\n");
}

/* "  disk system: 3.1 GiB of 20.0 GiB copied" */
static void print_disks(const cJSON *instance, struct buf *out)
{
	const cJSON *disks = member(instance, "disks"), *disk;
	char name[CELL_MAX + 1], done_text[32], total_text[32];
	double done, total;
	size_t shown = 0;

	if (!cJSON_IsArray(disks))
		return;
	for (disk = disks->child; disk != NULL && shown++ < ROWS_MAX; disk = disk->next) {
		if (!number(disk, "done_bytes", &done) || !number(disk, "bytes", &total) ||
		    done >= total)
			continue;
		text_cell(name, disk, "name");
		format_bytes(done_text, sizeof(done_text), done);
		format_bytes(total_text, sizeof(total_text), total);
		(void)buf_printf(out, "  disk %s: %s of %s copied\n", name, done_text, total_text);
	}
}

static void print_takeover(const cJSON *instance, struct buf *out)
{
	char activate[CELL_MAX + 1], detect[CELL_MAX + 1], epoch[CELL_MAX + 1];

	if (!cJSON_IsNumber(member(instance, "resumed_epoch")))
		return;
	ms_cell(activate, instance, "activate_ms");
	ms_cell(detect, instance, "detect_ms");
	count_cell(epoch, instance, "resumed_epoch");
	(void)buf_printf(out, "  took over from epoch %s: detected in %s, running %s later\n",
			 epoch, detect, activate);
}

static void print_rewound(const cJSON *instance, struct buf *out)
{
	const cJSON *rewound = member(instance, "rewound");
	char state[CELL_MAX + 1], epoch[CELL_MAX + 1], time[CELL_MAX + 1];

	if (!cJSON_IsObject(rewound))
		return;
	text_cell(state, rewound, "state");
	text_cell(time, rewound, "time");
	count_cell(epoch, rewound, "epoch");
	(void)buf_printf(out, "  rewound copy: %s, epoch %s, %s\n", state, epoch, time);
}

static void print_details(const cJSON *instance, struct buf *out)
{
	const cJSON *reason = member(instance, "reason");
	char line[512];

	if (cJSON_IsString(reason) && *reason->valuestring != '\0') {
		(void)snprintf(line, sizeof(line), "%s", reason->valuestring);
		utf8_make_plain(line);
		(void)buf_printf(out, "  %s\n", line);
	}
	print_link(instance, out);
	print_vrrp(instance, out);
	print_uncommitted(instance, out);
	print_refused(instance, out);
	print_disks(instance, out);
	print_first_copy(instance, out);
	print_takeover(instance, out);
	print_rewound(instance, out);
}

static void print_heading(const cJSON *status, struct buf *out)
{
	char role[CELL_MAX + 1], site[CELL_MAX + 1], version[CELL_MAX + 1];
	double up;

	text_cell(role, status, "role");
	text_cell(site, status, "site");
	text_cell(version, status, "version");
	(void)buf_printf(out, "%s at site %s, understudy %s", role, site, version);
	if (number(status, "uptime_s", &up) && up >= 0 && up < 1e12)
		(void)buf_printf(out, ", up %llu d %02d:%02d:%02d",
				 (unsigned long long)(up / 86400),
				 (int)((unsigned long long)up % 86400 / 3600),
				 (int)((unsigned long long)up % 3600 / 60),
				 (int)((unsigned long long)up % 60));
	(void)buf_printf(out, "\n");
}

static void print_line(const char *prefix, const cJSON *reason, struct buf *out)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "%s", cJSON_IsString(reason) ? reason->valuestring : "");
	utf8_make_plain(line);
	(void)buf_printf(out, "%s%s\n", prefix, line);
}

/* What concerns all instances. */
static void print_troubles(const cJSON *status, struct buf *out)
{
	const cJSON *witness = member(status, "witness"),
		    *certificate = member(status, "certificate");

	if (cJSON_IsFalse(member(witness, "answers")))
		print_line("no witness: ", member(witness, "reason"), out);
	if (cJSON_IsString(certificate))
		print_line("certificate: ", certificate, out);
}

static void widen(size_t widths[COLUMNS], const struct row *row)
{
	size_t width;

	for (int i = 0; i < COLUMNS; i++) {
		width = width_of(row->cells[i]);
		widths[i] = width > widths[i] ? width : widths[i];
	}
}

void status_table_print(const cJSON *status, bool colour, struct buf *out)
{
	const cJSON *instances = member(status, "instances"), *instance;
	size_t widths[COLUMNS] = { 0 }, shown = 0;
	struct row row;

	print_heading(status, out);
	print_troubles(status, out);
	if (!cJSON_IsArray(instances) || instances->child == NULL) {
		(void)buf_printf(out, "no instances\n");
		return;
	}
	fill_names(&row);
	widen(widths, &row);
	for (instance = instances->child; instance != NULL && shown++ < ROWS_MAX;
	     instance = instance->next) {
		fill_row(&row, instance);
		widen(widths, &row);
	}
	fill_names(&row);
	(void)buf_printf(out, "\n");
	print_row(&row, widths, colour, out);
	shown = 0;
	for (instance = instances->child; instance != NULL && shown++ < ROWS_MAX;
	     instance = instance->next) {
		fill_row(&row, instance);
		print_row(&row, widths, colour, out);
		print_details(instance, out);
	}
}
