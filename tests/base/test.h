/* What tests of this layer share: cmocka with what it needs, and messages caught instead of printed. */
#ifndef TESTS_BASE_TEST_H
#define TESTS_BASE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "message.h"

static inline int catch_messages(void **state)
{
	(void)state;
	message[0] = '\0';
	error_sink = keep_message;
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, catch_messages)

#endif
