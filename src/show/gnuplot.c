#include "show/gnuplot.h"

#include "base/error.h"
#include "base/program.h"

enum { ENV_MISSING = 127 };	/* what env exits with that has not found its program */

static int judge(const char *script, const struct program_answer *answer, double limit_s)
{
	if (answer->code == PROGRAM_MISSING || answer->code == ENV_MISSING)
		return error("gnuplot: not found: install the package gnuplot-nox");
	if (answer->code == PROGRAM_TIMEOUT)
		return error("gnuplot %s: not done after %.0f s, ended", script, limit_s);
	if (answer->code)
		return error("gnuplot %s: failed: %s", script,
			*answer->errors ? answer->errors : "no reason given");
	if (*answer->errors)
		warning("gnuplot %s: %s", script, answer->errors);
	return 0;
}

/* Without a locale of UTF-8 gnuplot warns of scripts in UTF-8. */
int gnuplot_run(const char *folder, const char *script, double limit_s)
{
	const char *const argv[] = {"env", "-C", folder, "LC_ALL=C.UTF-8", "gnuplot", script, NULL};
	struct arena a = {0};
	struct program_answer answer = program_run(argv, limit_s, &a);
	int ret = judge(script, &answer, limit_s);

	arena_release(&a);
	return ret;
}
