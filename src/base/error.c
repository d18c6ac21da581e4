#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum log_level log_level = LOG_NORMAL;
void (*error_sink)(const char *line);

/* One line, one write: lines of several processes do not mix. */
static void print_line(const char *prefix, const char *format, va_list ap, const char *suffix)
{
	char line[4096];
	int n = snprintf(line, sizeof line, "%s", prefix);

	n += vsnprintf(line + n, sizeof line - (size_t)n, format, ap);
	if (n > (int)sizeof line - 300)
		n = (int)sizeof line - 300;
	snprintf(line + n, sizeof line - (size_t)n, "%s\n", suffix);
	if (error_sink)
		error_sink(line);
	else
		fputs(line, stderr);
}

int error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_line("moelab: ", format, ap, "");
	va_end(ap);
	return -1;
}

int error_errno(const char *format, ...)
{
	char reason[256];
	va_list ap;

	snprintf(reason, sizeof reason, ": %s", strerror(errno));
	va_start(ap, format);
	print_line("moelab: ", format, ap, reason);
	va_end(ap);
	return -1;
}

int error_at(const char *file, int line, int column, const char *format, ...)
{
	char place[1024];
	va_list ap;

	if (line > 0)
		snprintf(place, sizeof place, "%s:%d:%d: ", file, line, column);
	else
		snprintf(place, sizeof place, "%s: ", file);
	va_start(ap, format);
	print_line(place, format, ap, "");
	va_end(ap);
	return -1;
}

void warning(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_line("moelab: warning: ", format, ap, "");
	va_end(ap);
}

void info(const char *format, ...)
{
	va_list ap;

	if (log_level < LOG_NORMAL)
		return;
	va_start(ap, format);
	print_line("", format, ap, "");
	va_end(ap);
}

void verbose(const char *format, ...)
{
	va_list ap;

	if (log_level < LOG_VERBOSE)
		return;
	va_start(ap, format);
	print_line("", format, ap, "");
	va_end(ap);
}

void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	print_line("moelab: fatal: ", format, ap, "");
	va_end(ap);
	exit(EXIT_ENVIRONMENT);
}

void bug(const char *file, int line, const char *format, ...)
{
	char place[1024];
	va_list ap;

	snprintf(place, sizeof place, "moelab: bug: %s:%d: ", file, line);
	va_start(ap, format);
	print_line(place, format, ap, "");
	va_end(ap);
	abort();
}

void *xmalloc(size_t bytes)
{
	return xrealloc(NULL, bytes);
}

void *xcalloc(size_t n, size_t bytes)
{
	void *p = calloc(n ? n : 1, bytes ? bytes : 1);

	if (!p)
		die("out of memory: %zu x %zu bytes", n, bytes);
	return p;
}

void *xrealloc(void *p, size_t bytes)
{
	p = realloc(p, bytes ? bytes : 1);
	if (!p)
		die("out of memory: %zu bytes", bytes);
	return p;
}

char *xstrdup(const char *s)
{
	size_t n = strlen(s) + 1;

	return memcpy(xmalloc(n), s, n);
}

char *xasprintf(const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		die("out of memory: formatted text");
	va_end(ap);
	return text;
}
