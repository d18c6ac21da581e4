/* Time. Durations use the monotonic clock, so a change of the wall clock cannot spoil them. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

double clock_s(void);				/* monotonic seconds */
double clock_wall_s(void);			/* seconds since 1970, UTC */
const char *clock_iso(double wall_s, char *buffer);	/* "2026-11-23T20:15:56Z"; buffer of 32 bytes */

#endif
