#include "data/source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum { RAW_BYTES = 1 << 18 };
enum { GZIP_ONLY = 15 + 16 };	/* windowBits of zlib: largest window, gzip header required */
enum { STOP_MS = 100 };		/* looks for a stop in between */

/* As read(2). The signal that makes the stop may go to another thread, so it would not end a read
   that waits for a pipe: this waits in short steps. */
static ssize_t read_some(struct source *s, void *out, size_t n)
{
	struct pollfd poll_fd = {.fd = s->fd, .events = POLLIN};
	ssize_t got = -1;
	int ready;

	do {
		if (s->stop && *s->stop)
			return -1;
		ready = poll(&poll_fd, 1, STOP_MS);
	} while (!ready || (ready < 0 && errno == EINTR));
	if (ready > 0)
		got = read(s->fd, out, n);
	return got < 0 ? error_errno("cannot read %s", s->name) : got;
}

/* Fill raw when it is used up. */
static int fill(struct source *s)
{
	ssize_t got;

	if (s->at < s->n || s->ended)
		return 0;
	got = read_some(s, s->raw, RAW_BYTES);
	if (got < 0)
		return -1;
	s->ended = !got;
	s->at = 0;
	s->n = (size_t)got;
	s->n_bytes += got;
	hash_add(s->hash, s->raw, (size_t)got);
	return 0;
}

/* The first bytes decide about gzip, and a pipe may deliver them one by one. */
static int fill_first(struct source *s, size_t wanted)
{
	while (s->n < wanted) {
		ssize_t got = read_some(s, s->raw + s->n, RAW_BYTES - s->n);
		if (got < 0)
			return -1;
		if (!got)
			break;
		s->n += (size_t)got;
	}
	s->n_bytes = (long)s->n;
	hash_add(s->hash, s->raw, s->n);
	return 0;
}

int source_open(struct source *s, const char *name, const volatile sig_atomic_t *stop)
{
	*s = (struct source){.name = name, .stop = stop};
	s->fd = strcmp(name, "-") ? open(name, O_RDONLY | O_CLOEXEC) : dup(STDIN_FILENO);
	if (s->fd < 0)
		return error_errno("cannot read %s", name);
	s->raw = xmalloc(RAW_BYTES);
	s->hash = hash_open();
	if (fill_first(s, 16))
		goto fail;
	s->gzip = s->n >= 2 && s->raw[0] == 0x1f && s->raw[1] == 0x8b;
	if (s->gzip && inflateInit2(&s->z, GZIP_ONLY) != Z_OK)
		die("out of memory: gzip decoder");
	s->in_member = s->gzip;
	return 0;
fail:
	s->gzip = false;
	source_close(s);
	return -1;
}

void source_close(struct source *s)
{
	char hex[HASH_HEX];

	if (s->hash)
		hash_close(s->hash, hex);
	if (s->gzip)
		inflateEnd(&s->z);
	close(s->fd);
	free(s->raw);
	*s = (struct source){.fd = -1};
}

/* Between members: skip padding; another member begins with whatever else is there. */
static int next_member(struct source *s)
{
	do {
		if (fill(s))
			return -1;
		while (s->at < s->n && !s->raw[s->at])
			s->at++;
	} while (s->at == s->n && !s->ended);
	if (s->at < s->n) {
		inflateReset(&s->z);
		s->in_member = true;
	}
	return 0;
}

static long read_gzip(struct source *s, void *out, size_t n)
{
	s->z.next_out = out;
	s->z.avail_out = (uInt)n;
	while (s->z.avail_out == n) {
		if (!s->in_member && next_member(s))
			return -1;
		if (!s->in_member)
			break;
		if (fill(s))
			return -1;
		if (s->at == s->n)
			return error("%s: truncated gzip after %ld bytes", s->name, s->n_bytes);
		s->z.next_in = s->raw + s->at;
		s->z.avail_in = (uInt)(s->n - s->at);
		int status = inflate(&s->z, Z_NO_FLUSH);
		s->at = s->n - s->z.avail_in;
		if (status == Z_STREAM_END)
			s->in_member = false;
		else if (status != Z_OK)
			return error("%s: damaged gzip before byte %ld: %s", s->name,
				s->n_bytes - (long)(s->n - s->at), s->z.msg ? s->z.msg : "?");
	}
	return (long)(n - s->z.avail_out);
}

long source_read(struct source *s, void *out, size_t n)
{
	CHECK(n > 0 && n <= 1 << 30);
	if (s->gzip)
		return read_gzip(s, out, n);
	if (fill(s))
		return -1;
	if (n > s->n - s->at)
		n = s->n - s->at;
	memcpy(out, s->raw + s->at, n);
	s->at += n;
	return (long)n;
}

bool source_starts(const struct source *s, const char *start)
{
	size_t n = strlen(start);

	return !s->gzip && s->n - s->at >= n && !memcmp(s->raw + s->at, start, n);
}

int source_measure(const char *name, struct source_size *size)
{
	struct source s;
	struct stat st;

	*size = (struct source_size){0};
	if (!strcmp(name, "-"))
		return 0;
	if (stat(name, &st))
		return error_errno("cannot read %s", name);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return 0;	/* a pipe: looking into it would take bytes out of it */
	if (source_open(&s, name, NULL))
		return -1;
	size->stored = (long)st.st_size;
	size->text = s.gzip ? 3 * size->stored : size->stored;
	source_close(&s);
	return 0;
}
