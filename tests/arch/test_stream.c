/*
 * Streams: windows one behind the other, cut anywhere, give the logits that one replay of all tokens gives,
 * and the gradients of a window are those of its loss where what was carried into it stays as it is; what attention
 * carries less of than there is gives the same wherever windows are cut; for every architecture, with and without
 * documents.
 */
#include "rig_seen.h"

#include "base/cpu.h"

enum { LENGTH = 48, WINDOWS = 5, SEQUENCES = 2, FEW = 10 };

/* Tokens of each window; documents begin in windows and on their borders. */
static const long window_tokens[WINDOWS] = {12, 7, 16, 1, 12}, other_tokens[WINDOWS] = {7, 16, 1, 12, 12};

struct stream {
	struct rig rig;
	struct params carried;
	struct graph *whole, *window[WINDOWS];
	int *tokens, *targets;	/* of a window */
	const long *cut;	/* tokens of each window */
	long carry;		/* tokens in front of a window that attention has */
};

static void close_stream(struct stream *s)
{
	if (s->whole)
		graph_release(s->whole);
	for (int i = 0; i < WINDOWS && s->window[i]; i++)
		graph_release(s->window[i]);
	for (int b = 0; b < N_BLOBS && !rig_on_host(&s->rig); b++)
		free(s->rig.host[b]);
	model_memory_release(&s->rig.memory);
	params_release(&s->rig.params);
	params_release(&s->carried);
	arena_release(&s->rig.arena);
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* Of so many tokens of each sequence. Every model has a form for streams. */
static struct graph *record(struct stream *s, const struct device *device, bool documents, long context)
{
	bool window = context < LENGTH;
	struct graph *g = graph_new(&s->rig.arena, &s->rig.params, device, window);
	struct net_env env = {.batch = SEQUENCES, .context = context, .group_tokens = SEQUENCES * context,
		.n_vocab = VOCAB, .dropless = true, .reset_at_eot = documents, .stream = window,
		.carry = window ? s->carry : 0, .trace.logits = true};

	if (window)
		graph_carry(g, &s->carried);
	assert_int_equal(model_record(&s->rig.model, g, env, &s->rig.config), 0);
	assert_int_equal(graph_plan(g, &(struct graph_options){.micro_batches = 1}), 0);
	return g;
}

static void open_cut(struct stream *s, const struct rig_case *c, enum device_id id, bool documents, const long *cut,
	long carry)
{
	const struct device *device = &device_list[id];
	struct rig *rig = &s->rig;
	size_t arena;

	*s = (struct stream){.rig = {.batch = SEQUENCES, .context = LENGTH}, .cut = cut, .carry = carry};
	rig_spec(rig, c->spec);
	assert_int_equal(model_open(&rig->model, &rig->config, &rig->arena), 0);
	params_init(&rig->params, &rig->arena, device);
	params_init(&s->carried, &rig->arena, device);
	s->whole = record(s, device, documents, LENGTH);
	arena = graph_memory(s->whole).arena_bytes;
	for (int i = 0; i < WINDOWS; i++) {
		s->window[i] = record(s, device, documents, cut[i]);
		arena = larger(arena, graph_memory(s->window[i]).arena_bytes);
	}
	model_memory_alloc(&rig->memory, &rig->params, device, arena, true);
	model_memory_carry(&rig->memory, &s->carried);
	for (int b = 0; b < N_BLOBS; b++)
		rig->host[b] = rig_on_host(rig) ? rig->memory.blob[b] : xcalloc(1, rig->memory.blob_bytes[b] + 1);
	graph_bind(s->whole, &rig->memory);
	for (int i = 0; i < WINDOWS; i++)
		graph_bind(s->window[i], &rig->memory);
	rig_weights(rig);
	rig_data(rig, documents);
	s->tokens = ARENA_ARRAY(&rig->arena, int, SEQUENCES * LENGTH);
	s->targets = ARENA_ARRAY(&rig->arena, int, SEQUENCES * LENGTH);
}

static void open_stream(struct stream *s, const struct rig_case *c, enum device_id id, bool documents)
{
	open_cut(s, c, id, documents, window_tokens, LENGTH);
}

static long first_token(const struct stream *s, int window)
{
	long at = 0;

	for (int i = 0; i < window; i++)
		at += s->cut[i];
	return at;
}

static void run_window(struct stream *s, int window)
{
	struct graph *g = s->window[window];
	long n = s->cut[window];

	for (long b = 0; b < SEQUENCES; b++) {
		long at = b * LENGTH + first_token(s, window);
		memcpy(s->tokens + b * n, s->rig.tokens + at, (size_t)n * sizeof *s->tokens);
		memcpy(s->targets + b * n, s->rig.targets + at, (size_t)n * sizeof *s->targets);
	}
	graph_set_input(g, "tokens", s->tokens);
	graph_set_input(g, "targets", s->targets);
	graph_forward(g);
	graph_fetch_metrics(g);
}

static void run_whole(struct stream *s)
{
	graph_set_input(s->whole, "tokens", s->rig.tokens);
	graph_set_input(s->whole, "targets", s->rig.targets);
	graph_forward(s->whole);
	graph_fetch_metrics(s->whole);
}

/* The largest difference of so many numbers a token, by this name, from those of the whole. */
static double difference_of(struct stream *s, const char *name, long width, int window)
{
	double *whole = ARENA_ARRAY(&s->rig.arena, double, SEQUENCES * LENGTH * width), most = 0;
	double *own = ARENA_ARRAY(&s->rig.arena, double, SEQUENCES * LENGTH * width);
	long n = s->cut[window] * width;

	graph_read_all(s->whole, name, whole);
	graph_read_all(s->window[window], name, own);
	for (long b = 0; b < SEQUENCES; b++)
		for (long i = 0; i < n; i++) {
			double error = fabs(own[b * n + i] - whole[(b * LENGTH + first_token(s, window)) * width + i]);
			most = error <= most ? most : error;
		}
	return most;
}

/* Of logits, and of the loss, which also knows of a copy head. */
static double difference(struct stream *s, int window)
{
	return fmax(difference_of(s, "lm_head.logits", VOCAB, window), difference_of(s, "nll", 1, window));
}

static void check_forward(const struct rig_case *c, enum device_id id, bool documents, double limit)
{
	static struct rig_seen seen;
	struct stream s;

	open_stream(&s, c, id, documents);
	if (rig_is_known(&seen, s.window[0], id)) {
		close_stream(&s);
		return;
	}
	run_whole(&s);
	for (int pass = 0; pass < 2; pass++) {
		model_memory_forget(&s.rig.memory);
		for (int window = 0; window < WINDOWS; window++) {
			double error;
			run_window(&s, window);
			error = difference(&s, window);
			if (!(error <= limit))
				fail_msg("%s on %s%s: window %d: logits or loss off by %.2g", c->name,
					device_list[id].name, documents ? ", documents" : "", window, error);
		}
	}
	close_stream(&s);
}

static void test_forward(void **state)
{
	static const struct {
		enum device_id id;
		double limit;
	} on[] = {{REF, 1e-11}, {CPU, 1e-4}, {CUDA_F32, 1e-4}};

	if (!rig_goes_on(*state))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(on); i++)
		for (int documents = rig_spares(on[i].id); documents < 2; documents++)
			if (!device_missing(&device_list[on[i].id]) && !rig_leaves_out(on[i].id))
				check_forward(*state, on[i].id, documents, on[i].limit);
}

/* The loss of window 2, with what windows 0 and 1 have left. */
static double loss_after(struct stream *s, const void *left)
{
	memcpy(s->rig.memory.carried, left, s->rig.memory.carried_bytes);
	run_window(s, 2);
	return graph_loss_total(s->window[2]);
}

static void check_gradients(const struct rig_case *c, bool documents)
{
	struct stream s;
	void *left;

	open_stream(&s, c, REF, documents);
	run_window(&s, 0);
	run_window(&s, 1);
	left = arena_get(&s.rig.arena, s.rig.memory.carried_bytes);
	memcpy(left, s.rig.memory.carried, s.rig.memory.carried_bytes);
	loss_after(&s, left);
	graph_backward(s.window[2], true);
	for (int i = 0; i < s.rig.params.n; i += NEXT_PARAM) {
		const struct param *p = &s.rig.params.list[i];
		long n = param_elements(p);
		for (long k = p->rule.control.rule ? n : 0; k < n; k += rig_stride(n)) {
			double *w = (double *)s.rig.host[BLOB_WEIGHTS] + p->offset + k, x = *w, h = 1e-5;
			double g = ((double *)s.rig.host[BLOB_GRADIENTS])[p->offset + k], above, below;
			*w = x + h;
			above = loss_after(&s, left);
			*w = x - h;
			below = loss_after(&s, left);
			*w = x;
			if (!(fabs((above - below) / (2 * h) - g) <= 1e-7))
				fail_msg("%s%s: gradient of %s[%ld] is %.9g, by differences %.9g", c->name,
					documents ? ", documents" : "", p->name, k, g, (above - below) / (2 * h));
		}
	}
	close_stream(&s);
}

static void test_gradients(void **state)
{
	if (!rig_goes_on(*state))
		skip();
	check_gradients(*state, false);
	check_gradients(*state, true);
}

/* The tests above must see what is not carried. */
static void test_forgetting_is_seen(void **state)
{
	struct stream s;

	if (!rig_goes_on(*state))
		skip();
	open_stream(&s, *state, REF, false);
	run_whole(&s);
	run_window(&s, 0);
	model_memory_forget(&s.rig.memory);
	run_window(&s, 1);
	assert_true(difference(&s, 1) > 1e-7);
	close_stream(&s);
}

/* Logits of all tokens of the first sequence, window by window. */
static void read_logits(struct stream *s, double *to)
{
	double *own = ARENA_ARRAY(&s->rig.arena, double, SEQUENCES * LENGTH * VOCAB);

	model_memory_forget(&s->rig.memory);
	for (int window = 0; window < WINDOWS; window++) {
		run_window(s, window);
		graph_read_all(s->window[window], "lm_head.logits", own);
		memcpy(to + first_token(s, window) * VOCAB, own, (size_t)(s->cut[window] * VOCAB) * sizeof *to);
	}
}

static void check_cuts(const struct rig_case *c, bool documents)
{
	static double logits[2][LENGTH * VOCAB];
	struct stream s;

	for (int k = 0; k < 2; k++) {
		open_cut(&s, c, REF, documents, k ? other_tokens : window_tokens, FEW);
		read_logits(&s, logits[k]);
		close_stream(&s);
	}
	for (int i = 0; i < LENGTH * VOCAB; i++)
		if (!(fabs(logits[0][i] - logits[1][i]) <= 1e-11))
			fail_msg("%s%s: logits of token %d off by %.2g where windows are cut elsewhere", c->name,
				documents ? ", documents" : "", i / VOCAB, fabs(logits[0][i] - logits[1][i]));
}

static void test_cuts(void **state)
{
	if (!rig_goes_on(*state))
		skip();
	check_cuts(*state, false);
	check_cuts(*state, true);
}

int main(int argc, char **argv)
{
	static const struct rig_test each[] = {{"forward", test_forward, false}, {"gradients", test_gradients, true},
		{"forgetting is seen", test_forgetting_is_seen, true}, {"cuts", test_cuts, true}};

	(void)argc;
	blas_start(argv);
	return rig_run("stream", each, ARRAY_SIZE(each), NULL, 0);
}
