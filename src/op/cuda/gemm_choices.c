#include "op/cuda/gemm_choices.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

enum { WORDS = 8, DIGITS = 16 };

static const char version[] = "v1 ", between[] = " = ";

struct choice {
	char *key;
	struct gemm_algorithm algorithm;
	bool used;		/* by this process */
};

struct gemm_choices {
	struct choice *items;
	int n, cap;
	char *path;		/* NULL: no file */
	long n_lines;		/* of the file, read so far */
	off_t n_read;		/* bytes */
};

struct gemm_choices *gemm_choices_new(void)
{
	return xcalloc(1, sizeof(struct gemm_choices));
}

void gemm_choices_free(struct gemm_choices *c)
{
	for (int i = 0; i < c->n; i++)
		free(c->items[i].key);
	free(c->items);
	free(c->path);
	free(c);
}

static struct choice *known(const struct gemm_choices *c, const char *key)
{
	for (int i = 0; i < c->n; i++)
		if (!strcmp(c->items[i].key, key))
			return &c->items[i];
	return NULL;
}

static struct choice *keep(struct gemm_choices *c, const char *key, const struct gemm_algorithm *a)
{
	struct choice *choice = known(c, key);

	if (!choice) {
		GROW(c->items, c->n + 1, c->cap);
		choice = &c->items[c->n++];
		*choice = (struct choice){.key = xstrdup(key)};
	}
	choice->algorithm = *a;
	return choice;
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void add_line(struct str *s, const struct choice *choice)
{
	str_printf(s, "%s%s%s", version, choice->key, between);
	for (int i = 0; i < WORDS; i++)
		str_printf(s, "%016" PRIx64, choice->algorithm.word[i]);
	str_add(s, "\n");
}

static bool read_algorithm(const char *hex, struct gemm_algorithm *a)
{
	if (strlen(hex) != WORDS * DIGITS || strspn(hex, "0123456789abcdef") != WORDS * DIGITS)
		return false;
	for (int i = 0; i < WORDS; i++) {
		char word[DIGITS + 1] = "";
		memcpy(word, hex + i * DIGITS, DIGITS);
		a->word[i] = strtoull(word, NULL, 16);
	}
	return true;
}

/* A later line replaces an earlier one, as its writer meant it. */
static bool read_line(struct gemm_choices *c, char *line)
{
	char *equals = strstr(line, between);
	struct gemm_algorithm a;

	line[strcspn(line, "\n")] = '\0';
	if (!str_starts(line, version) || !equals || !read_algorithm(equals + strlen(between), &a))
		return false;
	*equals = '\0';
	keep(c, line + strlen(version), &a);
	return true;
}

/* What the file has got since it was read last. Its lock is ours. */
static void read_news(struct gemm_choices *c, int fd)
{
	FILE *f = fdopen(dup(fd), "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	if (!f || fseeko(f, c->n_read, SEEK_SET)) {
		warning("%s: %s", c->path, strerror(errno));
	} else {
		while ((n = getline(&line, &size, f)) > 0) {
			c->n_read += n;
			c->n_lines++;
			if (!read_line(c, line))
				warning("%s:%ld: not the algorithm of a product: passed over",
					c->path, c->n_lines);
		}
	}
	free(line);
	if (f)
		fclose(f);
}

/* The file, locked until it is closed; -1, and errno. */
static int open_locked(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd >= 0 && flock(fd, LOCK_EX)) {
		close(fd);
		return -1;
	}
	return fd;
}

int gemm_choices_open(struct gemm_choices *c, const char *path)
{
	int fd = open_locked(path);

	if (fd < 0)
		return error_errno("%s", path);
	free(c->path);
	c->path = xstrdup(path);
	c->n_lines = c->n_read = 0;
	read_news(c, fd);
	close(fd);
	return 0;
}

/* ---- choices -------------------------------------------------------------------------------- */

bool gemm_choices_find(struct gemm_choices *c, const char *key, struct gemm_algorithm *a)
{
	struct choice *choice = known(c, key);

	if (!choice)
		return false;
	choice->used = true;
	*a = choice->algorithm;
	return true;
}

/* Behind a last line that somebody left without an end, ours begins on a new one. */
static bool write_line(struct gemm_choices *c, int fd, const struct choice *choice)
{
	struct str line;
	char last = '\n';
	bool ok;

	str_init(&line);
	if (c->n_read > 0 && pread(fd, &last, 1, c->n_read - 1) == 1 && last != '\n')
		str_add(&line, "\n");
	add_line(&line, choice);
	ok = write(fd, line.text, line.length) == (ssize_t)line.length;
	if (ok) {
		c->n_read += (off_t)line.length;
		c->n_lines++;
	}
	str_release(&line);
	return ok;
}

void gemm_choices_add(struct gemm_choices *c, const char *key, struct gemm_algorithm *a)
{
	bool replaces = known(c, key) != NULL;
	int fd = c->path ? open_locked(c->path) : -1;
	struct choice *choice;

	if (fd >= 0)
		read_news(c, fd);
	choice = known(c, key);
	if (choice && !replaces) {
		*a = choice->algorithm;
	} else {
		choice = keep(c, key, a);
		if (c->path && (fd < 0 || !write_line(c, fd, choice)))
			warning("%s: %s: the algorithm of a product is not kept there", c->path,
				strerror(errno));
	}
	choice->used = true;
	if (fd >= 0)
		close(fd);
}

static int by_text(const void *a, const void *b)
{
	const struct choice *const *x = a, *const *y = b;

	return strcmp((*x)->key, (*y)->key);
}

char *gemm_choices_text(const struct gemm_choices *c)
{
	const struct choice **used = xcalloc((size_t)c->n + 1, sizeof *used);
	struct str s;
	int n = 0;

	for (int i = 0; i < c->n; i++)
		if (c->items[i].used)
			used[n++] = &c->items[i];
	qsort(used, (size_t)n, sizeof *used, by_text);
	str_init(&s);
	for (int i = 0; i < n; i++)
		add_line(&s, used[i]);
	free(used);
	return s.text;
}
