/*
 * The emulator's queue: work that was asked for is done when somebody waits for it, no sooner, so that
 * whoever forgets to wait is seen. What is asked for while recording is kept, to be asked for as a whole.
 */
#ifndef EMULATOR_QUEUE_H
#define EMULATOR_QUEUE_H

#include <stddef.h>

#include "emulator.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Asks for work(closure), with a copy of the closure. */
void emulator_enqueue(void (*work)(const void *closure), const void *closure, size_t bytes);
/* The same of a launch; -1: refused. */
int emulator_enqueue_launch(const struct emulator_launch *l);
void emulator_wait(void);

struct emulator_recording;

void emulator_record_begin(void);
struct emulator_recording *emulator_record_end(void);
void emulator_replay(struct emulator_recording *r);	/* asks for all of it */
void emulator_recording_free(struct emulator_recording *r);

#ifdef __cplusplus
}
#endif

#endif
