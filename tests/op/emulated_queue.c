/* tensor/queue.h on the emulator, in place of queue.cu, in programs built with EMULATED=1. */
#include "tensor/queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "emulator_memory.h"
#include "emulator_queue.h"

#define MEMORY_BYTES 0x1p33	/* that there seem to be */

struct queue_mark {
	double seconds;
};

const char *queue_missing(void)
{
	return NULL;
}

const char *queue_name(void)
{
	return "emulated GPU";
}

struct queue *queue_open(void)
{
	struct queue *q = xcalloc(1, sizeof *q);

	emulator_reset(RANDOM);
	emulator_faults_are_fatal();
	q->stream = q;
	q->n_multiprocessors = 5;
	q->capability = 90;
	q->shared_bytes = SHARED_MOST;
	return q;
}

void queue_wait(struct queue *q)
{
	(void)q;
	emulator_wait();
}

/* ---- copies --------------------------------------------------------------------------------- */

struct copy {
	void *to;
	const void *from;
	size_t bytes;
};

static void run_copy(const void *closure)
{
	const struct copy *c = closure;

	memcpy(c->to, c->from, c->bytes);
}

static void enqueue_copy(void *to, const void *from, size_t bytes, const void *on_device)
{
	const struct copy c = {to, from, bytes};

	if (bytes && !emulator_owns(on_device, bytes))
		die("GPU: copy of %zu bytes that are not all the device's", bytes);
	emulator_enqueue(run_copy, &c, sizeof c);
}

void queue_copy_in(struct queue *q, void *to, const void *from, size_t bytes)
{
	(void)q;
	enqueue_copy(to, from, bytes, to);
}

void queue_copy_out(struct queue *q, void *to, const void *from, size_t bytes)
{
	(void)q;
	enqueue_copy(to, from, bytes, from);
}

void queue_copy(struct queue *q, void *to, const void *from, size_t bytes)
{
	(void)q;
	enqueue_copy(to, from, bytes, emulator_owns(from, bytes) ? to : from);
}

/* ---- recording ------------------------------------------------------------------------------ */

void queue_record_begin(struct queue *q)
{
	(void)q;
	emulator_record_begin();
}

struct queue_recording *queue_record_end(struct queue *q)
{
	(void)q;
	return (struct queue_recording *)emulator_record_end();
}

void queue_replay(struct queue *q, struct queue_recording *r)
{
	(void)q;
	emulator_replay((struct emulator_recording *)r);
}

void queue_recording_free(struct queue_recording *r)
{
	emulator_recording_free((struct emulator_recording *)r);
}

/* ---- time ----------------------------------------------------------------------------------- */

struct queue_mark *queue_mark_new(void)
{
	return xcalloc(1, sizeof(struct queue_mark));
}

void queue_mark_free(struct queue_mark *m)
{
	emulator_wait();
	free(m);
}

static void run_mark(const void *closure)
{
	(*(struct queue_mark *const *)closure)->seconds = clock_s();
}

void queue_mark(struct queue *q, struct queue_mark *m)
{
	(void)q;
	emulator_enqueue(run_mark, &m, sizeof m);
}

double queue_seconds(const struct queue_mark *from, const struct queue_mark *to)
{
	emulator_wait();
	return to->seconds - from->seconds;
}

/* ---- memory --------------------------------------------------------------------------------- */

void *queue_alloc(struct queue *q, size_t bytes)
{
	(void)q;
	emulator_wait();
	return memset(emulator_alloc(bytes, 0), 0, bytes);
}

void queue_free(void *at)
{
	emulator_wait();
	emulator_free(at);
}

void *queue_host_alloc(size_t bytes)
{
	return xcalloc(1, bytes ? bytes : 1);
}

void queue_host_free(void *at)
{
	emulator_wait();
	free(at);
}

void queue_memory(double *all, double *left)
{
	*all = MEMORY_BYTES;
	*left = MEMORY_BYTES - emulator_used();
}
