/* Specs that no model comes of, and messages caught (caught.h). */
#ifndef TESTS_ARCH_REFUSED_H
#define TESTS_ARCH_REFUSED_H

#include "rig.h"

#include "caught.h"

/* No model; what is said has the word. */
static inline void expect_refused(const char *spec, const char *word)
{
	struct rig rig = {0};

	rig_spec(&rig, spec);
	catch_messages();
	assert_int_equal(model_open(&rig.model, &rig.config, &rig.arena), -1);
	error_sink = NULL;
	assert_caught(word);
	arena_release(&rig.arena);
}

#endif
