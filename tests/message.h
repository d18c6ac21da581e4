/* The last message, kept instead of printed (caught.h keeps all of them). */
#ifndef TESTS_MESSAGE_H
#define TESTS_MESSAGE_H

#include <stdio.h>

#include "base/error.h"

static char message[8192];

static inline void keep_message(const char *line)
{
	snprintf(message, sizeof message, "%s", line);
}

#endif
