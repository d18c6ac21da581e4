#include "base/clock.h"

#include <time.h>

static double read_clock(clockid_t which)
{
	struct timespec t;

	clock_gettime(which, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double clock_s(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

double clock_wall_s(void)
{
	return read_clock(CLOCK_REALTIME);
}

const char *clock_iso(double wall_s, char *buffer)
{
	time_t t = (time_t)wall_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buffer, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buffer;
}
