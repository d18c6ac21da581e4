/* cmocka, and messages caught instead of printed. */
#ifndef TESTS_CAUGHT_H
#define TESTS_CAUGHT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/error.h"

#include <stdio.h>
#include <string.h>

static char caught[8192];

static inline void catch_line(const char *line)
{
	size_t n = strlen(caught);

	snprintf(caught + n, sizeof caught - n, "%s", line);
}

static inline void catch_messages(void)
{
	caught[0] = '\0';
	error_sink = catch_line;
}

#define assert_caught(text)                                                                        \
	do {                                                                                       \
		if (!strstr(caught, text))                                                         \
			fail_msg("no \"%s\" in: %s", text, caught);                                \
	} while (0)
#define assert_has(where, text)                                                                    \
	do {                                                                                       \
		if (!strstr(where, text))                                                          \
			fail_msg("no \"%s\" in:\n%s", text, where);                                \
	} while (0)
#define assert_lacks(where, text)                                                                  \
	do {                                                                                       \
		if (strstr(where, text))                                                           \
			fail_msg("\"%s\" in:\n%s", text, where);                                   \
	} while (0)

#endif
