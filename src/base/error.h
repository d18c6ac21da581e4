/*
 * Three kinds of fault, three words.
 *   The world is wrong (file, spec, arguments):  return error("what: why");   prints, gives -1
 *   The process is lost (no memory, device gone): die("what: why");           prints, exits 4
 *   Our code is wrong (shape, invariant):         CHECK(condition) or BUG();  prints place, aborts
 * warning() and info() inform. All of it goes to stderr; stdout belongs to data.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

enum exit_code {
	EXIT_DONE = 0,
	EXIT_RUN_FAILED = 1,	/* some run failed or diverged */
	EXIT_USAGE = 2,		/* arguments or spec */
	EXIT_PENDING = 3,	/* plan --check: there is work to do */
	EXIT_ENVIRONMENT = 4,	/* disk, database, device, missing program */
	EXIT_STOPPED = 75,	/* stopped on request, can be resumed */
};

enum log_level { LOG_QUIET = -1, LOG_NORMAL = 0, LOG_VERBOSE = 1 };

extern enum log_level log_level;	/* set once by main from -q and -v */

int error(const char *format, ...) PRINTF_LIKE(1, 2);		/* prints one line, returns -1 */
int error_errno(const char *format, ...) PRINTF_LIKE(1, 2);	/* the same, with strerror(errno) appended */
/* Compiler form "file:line:column: text"; line and column count from 1; line 0 leaves both out. */
int error_at(const char *file, int line, int column, const char *format, ...) PRINTF_LIKE(4, 5);
void warning(const char *format, ...) PRINTF_LIKE(1, 2);
void info(const char *format, ...) PRINTF_LIKE(1, 2);		/* silent under -q */
void verbose(const char *format, ...) PRINTF_LIKE(1, 2);	/* printed under -v only */
void die(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((noreturn));
void bug(const char *file, int line, const char *format, ...) PRINTF_LIKE(3, 4)
	__attribute__((noreturn));

#define BUG(...) bug(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			BUG("%s", #condition);                                                     \
	} while (0)

/* When set, the printed line goes here instead of stderr (tests compare messages). */
extern void (*error_sink)(const char *line);

/* Allocation that cannot fail: exhaustion is fatal. Memory from xcalloc is zero. */
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t bytes);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *format, ...) PRINTF_LIKE(1, 2);	/* caller frees */

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* Grow array `a` (of capacity `cap`) to hold n elements, by doubling. */
#define GROW(a, n, cap)                                                                            \
	do {                                                                                       \
		if ((n) > (cap)) {                                                                 \
			(cap) = (cap) * 2 > (n) ? (cap) * 2 : (n);                                 \
			(a) = xrealloc((a), (size_t)(cap) * sizeof(*(a)));                         \
		}                                                                                  \
	} while (0)

#endif
