#include "base/source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

enum { RAW_BYTES = 1 << 18, TEXT_BYTES = 1 << 16 };
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

/* The first bytes decide about the codec, and a pipe may deliver them one by one. */
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
	s->codec = codec_find(s->raw, s->n);
	if (s->codec)
		s->codec_state = s->codec->open();
	s->in_member = s->codec;
	return 0;
fail:
	source_close(s);
	return -1;
}

void source_close(struct source *s)
{
	char hex[HASH_HEX];

	if (s->hash)
		hash_close(s->hash, hex);
	if (s->codec)
		s->codec->close(s->codec_state);
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
		s->codec->begin(s->codec_state);
		s->in_member = true;
	}
	return 0;
}

/* At the end of what is stored the codec may still hold text; without that, more was to come. */
static long read_packed(struct source *s, void *out, size_t n)
{
	struct codec_step step = {.out = out, .n_out = n};

	while (step.n_out == n) {
		if (!s->in_member && next_member(s))
			return -1;
		if (!s->in_member)
			break;
		if (fill(s))
			return -1;
		step.in = s->raw + s->at;
		step.n_in = s->n - s->at;
		enum codec_status status = s->codec->step(s->codec_state, &step);
		s->at = s->n - step.n_in;
		if (status == CODEC_DAMAGED)
			return error("%s: damaged %s before byte %ld: %s", s->name, s->codec->name,
				s->n_bytes - (long)step.n_in, step.why);
		if (status == CODEC_GOES_ON && s->ended && step.n_out == n)
			return error("%s: truncated %s after %ld bytes", s->name, s->codec->name,
				s->n_bytes);
		s->in_member = status == CODEC_GOES_ON;
	}
	return (long)(n - step.n_out);
}

long source_read(struct source *s, void *out, size_t n)
{
	CHECK(n > 0 && n <= 1 << 30);
	if (s->codec)
		return read_packed(s, out, n);
	if (fill(s))
		return -1;
	if (n > s->n - s->at)
		n = s->n - s->at;
	memcpy(out, s->raw + s->at, n);
	s->at += n;
	return (long)n;
}

char *source_text(const char *name, size_t most, size_t *bytes)
{
	struct source s;
	char *text = NULL;
	size_t n = 0, size = 0;
	long got;

	if (source_open(&s, name, NULL))
		return NULL;
	do {
		GROW(text, n + TEXT_BYTES + 1, size);
		got = source_read(&s, text + n, TEXT_BYTES);
		n += got > 0 ? (size_t)got : 0;
	} while (got > 0 && n <= most);
	source_close(&s);
	if (got > 0)
		got = error("cannot read %s: it has more than %zu bytes", name, most);
	if (got < 0) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	if (bytes)
		*bytes = n;
	return text;
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
	size->text = s.codec ? 3 * size->stored : size->stored;
	source_close(&s);
	return 0;
}
