#include "emulator_queue.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Work asked for, one piece behind the other: a head, then its closure. */
struct emulator_recording {
	char *at;
	size_t used, size;
};

struct piece {
	void (*work)(const void *closure);
	size_t bytes;		/* of the closure, rounded up */
	alignas(16) char closure[];
};

static struct emulator_recording pending, *recording;

static void add(struct emulator_recording *list, void (*work)(const void *), const void *closure,
	size_t bytes)
{
	size_t rounded = (bytes + 15) / 16 * 16, need = list->used + sizeof(struct piece) + rounded;
	struct piece *p;

	if (need > list->size) {
		char *at = xmalloc(2 * need);
		if (list->used)
			memcpy(at, list->at, list->used);
		free(list->at);
		list->at = at;
		list->size = 2 * need;
	}
	p = (struct piece *)(list->at + list->used);
	p->work = work;
	p->bytes = rounded;
	memcpy(p->closure, closure, bytes);
	list->used = need;
}

static void run(const struct emulator_recording *list)
{
	for (size_t at = 0; at < list->used;) {
		const struct piece *p = (const struct piece *)(list->at + at);
		p->work(p->closure);
		at += sizeof *p + p->bytes;
	}
}

void emulator_enqueue(void (*work)(const void *closure), const void *closure, size_t bytes)
{
	add(recording ? recording : &pending, work, closure, bytes);
}

/* A launch is followed by its closure. */
static void run_launch(const void *closure)
{
	struct emulator_launch l = *(const struct emulator_launch *)closure;

	l.closure = (const char *)closure + (sizeof l + 15) / 16 * 16;
	CHECK(!emulator_launch(&l));
}

int emulator_enqueue_launch(const struct emulator_launch *l)
{
	size_t head = (sizeof *l + 15) / 16 * 16;
	char *whole;

	if (!emulator_accepts(l))
		return -1;
	whole = xmalloc(head + l->closure_bytes);
	memcpy(whole, l, sizeof *l);
	memcpy(whole + head, l->closure, l->closure_bytes);
	emulator_enqueue(run_launch, whole, head + l->closure_bytes);
	free(whole);
	return 0;
}

void emulator_wait(void)
{
	CHECK(!recording);
	run(&pending);
	pending.used = 0;
}

void emulator_record_begin(void)
{
	CHECK(!recording);
	recording = xcalloc(1, sizeof *recording);
}

struct emulator_recording *emulator_record_end(void)
{
	struct emulator_recording *r = recording;

	CHECK(r);
	recording = NULL;
	return r;
}

static void run_recording(const void *closure)
{
	run(*(const struct emulator_recording *const *)closure);
}

void emulator_replay(struct emulator_recording *r)
{
	emulator_enqueue(run_recording, &r, sizeof r);
}

void emulator_recording_free(struct emulator_recording *r)
{
	emulator_wait();
	free(r->at);
	free(r);
}
