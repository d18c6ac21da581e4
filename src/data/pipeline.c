#include "data/pipeline.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct input {
	bool reading, ended;
	long n_read, n_written;		/* portions */
	struct portion *done;		/* not written yet, in the order of their numbers */
};

struct run {
	const struct pipeline *p;
	pthread_mutex_t lock;		/* of all below */
	pthread_cond_t changed;
	struct input *inputs;
	int first;			/* the earliest input that is not all written */
	size_t held_bytes;
	bool writing;
	int status;			/* first failure */
};

struct thread {
	struct run *run;
	int number;
	pthread_t id;
};

/* --- all with the lock held ---------------------------------------------------------------- */

static void announce(struct run *r, int status)
{
	if (!r->status)
		r->status = status;
	pthread_cond_broadcast(&r->changed);
}

/* Is the portion that would be read now the one that is to be written next? */
static bool is_next(const struct run *r, int i)
{
	return i == r->first && r->inputs[i].n_read == r->inputs[i].n_written;
}

/* The input to read from; -1: none at the moment. *more: there is or will be one. */
static int choose(const struct run *r, bool *more)
{
	*more = false;
	for (int i = r->first; i < r->p->n_inputs; i++) {
		const struct input *input = &r->inputs[i];
		if (input->ended)
			continue;
		*more = true;
		if (r->held_bytes >= r->p->held_max && !is_next(r, i))
			return -1;
		if (!input->reading)
			return i;
	}
	return -1;
}

/* Wait until there is an input to read from, and take it. -1: there will be none. */
static int take_input(struct run *r)
{
	for (;;) {
		bool more;
		int i = choose(r, &more);
		if (r->p->stop && *r->p->stop)
			announce(r, -1);
		if (r->status || !more)
			return -1;
		if (i >= 0) {
			r->inputs[i].reading = true;
			return i;
		}
		pthread_cond_wait(&r->changed, &r->lock);
	}
}

static void add_done(struct run *r, struct portion *portion)
{
	struct portion **at = &r->inputs[portion->input].done;

	while (*at && (*at)->number < portion->number)
		at = &(*at)->next;
	portion->next = *at;
	*at = portion;
	r->held_bytes += portion->held_bytes;
}

/* The portion to be written next, if it is done. */
static struct portion *take_done(struct run *r)
{
	for (; r->first < r->p->n_inputs; r->first++) {
		struct input *input = &r->inputs[r->first];
		struct portion *portion = input->done;
		if (portion && portion->number == input->n_written) {
			input->done = portion->next;
			return portion;
		}
		if (!input->ended || input->n_written < input->n_read)
			return NULL;
	}
	return NULL;
}

/* --- the threads --------------------------------------------------------------------------- */

/* Write what is ready, unless another thread is at it, who will then see this too. */
static void write_ready(struct run *r)
{
	struct portion *portion;

	if (r->writing)
		return;
	r->writing = true;
	while (!r->status && (portion = take_done(r))) {
		pthread_mutex_unlock(&r->lock);
		int status = r->p->write(r->p->context, portion);
		pthread_mutex_lock(&r->lock);
		r->held_bytes -= portion->held_bytes;
		r->inputs[portion->input].n_written++;
		r->p->free_portion(portion);
		announce(r, status);
	}
	r->writing = false;
}

/* Read a portion from input i and do it. */
static void one_portion(struct run *r, int thread, int i)
{
	struct input *input = &r->inputs[i];
	struct portion *portion = NULL;
	int status;

	pthread_mutex_unlock(&r->lock);
	status = r->p->read(r->p->context, i, &portion);
	pthread_mutex_lock(&r->lock);
	input->reading = false;
	if (status <= 0) {
		input->ended = true;
		announce(r, status);
		return;
	}
	portion->input = i;
	portion->number = input->n_read++;
	announce(r, 0);
	pthread_mutex_unlock(&r->lock);
	status = r->p->work(r->p->context, thread, portion);
	pthread_mutex_lock(&r->lock);
	add_done(r, portion);
	announce(r, status);
}

static void *run_thread(void *argument)
{
	const struct thread *t = argument;
	struct run *r = t->run;
	int i;

	pthread_mutex_lock(&r->lock);
	while ((i = take_input(r)) >= 0) {
		one_portion(r, t->number, i);
		write_ready(r);
	}
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

int pipeline_run(const struct pipeline *p)
{
	struct run r = {.p = p, .lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER};
	struct thread *threads = xcalloc((size_t)p->n_threads, sizeof *threads);
	int reason;

	r.inputs = xcalloc((size_t)p->n_inputs, sizeof *r.inputs);
	for (int i = 0; i < p->n_threads; i++) {
		threads[i] = (struct thread){.run = &r, .number = i};
		reason = pthread_create(&threads[i].id, NULL, run_thread, &threads[i]);
		if (reason)
			die("cannot start thread %d: %s", i, strerror(reason));
	}
	for (int i = 0; i < p->n_threads; i++)
		pthread_join(threads[i].id, NULL);
	for (int i = 0; i < p->n_inputs; i++)
		for (struct portion *portion; (portion = r.inputs[i].done);) {
			r.inputs[i].done = portion->next;
			p->free_portion(portion);
		}
	CHECK(r.status || r.first == p->n_inputs);
	free(r.inputs);
	free(threads);
	return r.status;
}
