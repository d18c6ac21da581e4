#include "store/tfevents.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"

uint32_t crc32c(const void *bytes, size_t n)
{
	const unsigned char *at = bytes;
	uint32_t crc = ~0u;

	while (n--) {
		crc ^= *at++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
	}
	return ~crc;
}

/* So that the CRC of data that holds CRCs is no trivial one. */
static uint32_t masked_crc(const void *bytes, size_t n)
{
	uint32_t crc = crc32c(bytes, n);

	return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* All numbers are little-endian, as this machine's are. */
static void write_record(FILE *f, const struct str *data)
{
	uint64_t length = data->length;
	uint32_t of_length = masked_crc(&length, sizeof length);
	uint32_t of_data = masked_crc(data->text, data->length);

	fwrite(&length, sizeof length, 1, f);
	fwrite(&of_length, sizeof of_length, 1, f);
	fwrite(data->text, 1, data->length, f);
	fwrite(&of_data, sizeof of_data, 1, f);
}

/* --- protocol buffers ------------------------------------------------------------------------ */

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(struct str *out, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		str_add_bytes(out, &(unsigned char){(unsigned char)(v | 0x80)}, 1);
	str_add_bytes(out, &(unsigned char){(unsigned char)v}, 1);
}

static void put_key(struct str *out, unsigned field, enum wire wire)
{
	put_varint(out, field << 3 | wire);
}

static void put_bytes(struct str *out, unsigned field, const void *bytes, size_t n)
{
	put_key(out, field, BYTES);
	put_varint(out, n);
	str_add_bytes(out, bytes, n);
}

static void put_double(struct str *out, unsigned field, double v)
{
	put_key(out, field, FIXED64);
	str_add_bytes(out, &v, sizeof v);
}

static void put_float(struct str *out, unsigned field, float v)
{
	put_key(out, field, FIXED32);
	str_add_bytes(out, &v, sizeof v);
}

/* --- events ---------------------------------------------------------------------------------- */

FILE *tfevents_open(const char *folder, double wall_s)
{
	static const char version[] = "brain.Event:2";
	char host[128] = "", *path;
	struct str event;
	FILE *f;

	if (path_mkdirs(folder))
		return NULL;
	gethostname(host, sizeof host - 1);
	path = xasprintf("%s/events.out.tfevents.%010lld.%s", folder, (long long)wall_s, host);
	f = fopen(path, "wbe");
	if (!f)
		error_errno("cannot write %s", path);
	free(path);
	if (!f)
		return NULL;
	str_init(&event);
	put_double(&event, 1, wall_s);
	put_bytes(&event, 3, version, strlen(version));
	write_record(f, &event);
	str_release(&event);
	return f;
}

void tfevents_scalar(FILE *f, double wall_s, long long step, const char *tag, double value)
{
	struct str point, summary, event;

	str_init(&point);
	put_bytes(&point, 1, tag, strlen(tag));
	put_float(&point, 2, (float)value);
	str_init(&summary);
	put_bytes(&summary, 1, point.text, point.length);
	str_init(&event);
	put_double(&event, 1, wall_s);
	put_key(&event, 2, VARINT);
	put_varint(&event, (uint64_t)step);
	put_bytes(&event, 5, summary.text, summary.length);
	write_record(f, &event);
	str_release(&point);
	str_release(&summary);
	str_release(&event);
}

int tfevents_close(FILE *f, const char *folder)
{
	bool failed = ferror(f);

	return fclose(f) || failed ? error_errno("cannot write events to %s", folder) : 0;
}
