/*
 * Streams: windows one behind the other give the logits that one replay of all tokens gives, and the
 * gradients of a window are those of its loss where what was carried into it stays as it is; for every
 * architecture, with and without documents.
 */
#include "rig.h"

#include "base/cpu.h"

enum {
	WINDOW = 12,		/* tokens; documents begin in windows and on their borders */
	WINDOWS = 4,
	LENGTH = WINDOW * WINDOWS,
	SEQUENCES = 2,
};

struct stream {
	struct rig rig;
	struct params carried;
	struct graph *whole, *window;
	int *tokens, *targets;	/* of a window */
};

static char said[256];

static void keep_line(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
}

static void close_stream(struct stream *s)
{
	if (s->window) {
		graph_release(s->whole);
		graph_release(s->window);
	}
	for (int b = 0; b < N_BLOBS && !rig_on_host(&s->rig); b++)
		free(s->rig.host[b]);
	model_memory_release(&s->rig.memory);
	params_release(&s->rig.params);
	params_release(&s->carried);
	arena_release(&s->rig.arena);
}

/* NULL: the model has an operator without a form for streams, which is said in one line. */
static struct graph *record(struct stream *s, const struct device *device, bool documents, bool window)
{
	struct graph *g = graph_new(&s->rig.arena, &s->rig.params, device, window);
	long context = window ? WINDOW : LENGTH;
	struct net_env env = {.batch = SEQUENCES, .context = context, .group_tokens = SEQUENCES * context,
		.n_vocab = VOCAB, .dropless = true, .reset_at_eot = documents, .stream = window,
		.carry = window ? LENGTH : 0, .trace.logits = true};
	bool refused;

	if (window)
		graph_carry(g, &s->carried);
	error_sink = keep_line;
	refused = model_record(&s->rig.model, g, env, "test");
	error_sink = NULL;
	if (refused && !strstr(said, "carries nothing from window to window yet: set data.sampling=shuffle") &&
		!strstr(said, "model.head=copy does not point at tokens of an earlier replay"))
		fail_msg("%s", said);
	if (refused)
		graph_release(g);
	else
		assert_int_equal(graph_plan(g, &(struct graph_options){.micro_batches = 1}), 0);
	return refused ? NULL : g;
}

static void open_stream(struct stream *s, const struct rig_case *c, enum device_id id, bool documents)
{
	const struct device *device = &device_list[id];
	struct rig *rig = &s->rig;
	size_t whole, window;

	*s = (struct stream){.rig = {.batch = SEQUENCES, .context = LENGTH}};
	rig_spec(rig, c->spec);
	assert_int_equal(model_open(&rig->model, &rig->config, &rig->arena), 0);
	params_init(&rig->params, &rig->arena, device);
	params_init(&s->carried, &rig->arena, device);
	s->window = record(s, device, documents, true);
	if (!s->window) {
		model_memory_alloc(&rig->memory, &rig->params, &device_list[CPU], 0, false);
		close_stream(s);
		skip();
	}
	s->whole = record(s, device, documents, false);
	whole = graph_memory(s->whole).arena_bytes;
	window = graph_memory(s->window).arena_bytes;
	model_memory_alloc(&rig->memory, &rig->params, device, whole > window ? whole : window, true);
	model_memory_carry(&rig->memory, &s->carried);
	for (int b = 0; b < N_BLOBS; b++)
		rig->host[b] = rig_on_host(rig) ? rig->memory.blob[b] : xcalloc(1, rig->memory.blob_bytes[b] + 1);
	graph_bind(s->whole, &rig->memory);
	graph_bind(s->window, &rig->memory);
	rig_weights(rig);
	rig_data(rig, documents);
	s->tokens = ARENA_ARRAY(&rig->arena, int, SEQUENCES * WINDOW);
	s->targets = ARENA_ARRAY(&rig->arena, int, SEQUENCES * WINDOW);
}

static void run_window(struct stream *s, long window)
{
	for (long b = 0; b < SEQUENCES; b++) {
		long at = b * LENGTH + window * WINDOW;
		memcpy(s->tokens + b * WINDOW, s->rig.tokens + at, WINDOW * sizeof *s->tokens);
		memcpy(s->targets + b * WINDOW, s->rig.targets + at, WINDOW * sizeof *s->targets);
	}
	graph_set_input(s->window, "tokens", s->tokens);
	graph_set_input(s->window, "targets", s->targets);
	graph_forward(s->window);
	graph_fetch_metrics(s->window);
}

static void run_whole(struct stream *s, double *logits)
{
	graph_set_input(s->whole, "tokens", s->rig.tokens);
	graph_set_input(s->whole, "targets", s->rig.targets);
	graph_forward(s->whole);
	graph_fetch_metrics(s->whole);
	graph_read_all(s->whole, "lm_head.logits", logits);
}

/* The largest difference of the window's logits from those of the whole. */
static double difference(struct stream *s, const double *whole, long window)
{
	double *logits = ARENA_ARRAY(&s->rig.arena, double, SEQUENCES * WINDOW * VOCAB), most = 0;

	graph_read_all(s->window, "lm_head.logits", logits);
	for (long b = 0; b < SEQUENCES; b++)
		for (long i = 0; i < WINDOW * VOCAB; i++) {
			double error = fabs(logits[b * WINDOW * VOCAB + i] -
				whole[(b * LENGTH + window * WINDOW) * VOCAB + i]);
			most = error <= most ? most : error;
		}
	return most;
}

static void check_forward(const struct rig_case *c, enum device_id id, bool documents, double limit)
{
	struct stream s;
	double *whole;

	open_stream(&s, c, id, documents);
	whole = ARENA_ARRAY(&s.rig.arena, double, SEQUENCES * LENGTH * VOCAB);
	run_whole(&s, whole);
	for (int pass = 0; pass < 2; pass++) {
		model_memory_forget(&s.rig.memory);
		for (long window = 0; window < WINDOWS; window++) {
			double error;
			run_window(&s, window);
			error = difference(&s, whole, window);
			if (!(error <= limit))
				fail_msg("%s on %s%s: window %ld: logits off by %.2g", c->name, device_list[id].name,
					documents ? ", documents" : "", window, error);
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

	for (size_t i = 0; i < ARRAY_SIZE(on); i++)
		for (int documents = 0; documents < 2; documents++)
			if (!device_missing(&device_list[on[i].id]))
				check_forward(*state, on[i].id, documents, on[i].limit);
}

/* The loss of window 2, with what windows 0 and 1 have left. */
static double loss_after(struct stream *s, const void *left)
{
	memcpy(s->rig.memory.carried, left, s->rig.memory.carried_bytes);
	run_window(s, 2);
	return graph_loss_total(s->window);
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
	graph_backward(s.window, true);
	for (int i = 0; i < s.rig.params.n; i++) {
		const struct param *p = &s.rig.params.list[i];
		long n = param_elements(p), step = n > 9 ? n / 7 : 1;
		for (long k = p->rule.control.rule ? n : 0; k < n; k += step) {
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
	check_gradients(*state, false);
	check_gradients(*state, true);
}

/* The tests above must see what is not carried. */
static void test_forgetting_is_seen(void **state)
{
	struct stream s;
	double *whole;

	open_stream(&s, *state, REF, false);
	whole = ARENA_ARRAY(&s.rig.arena, double, SEQUENCES * LENGTH * VOCAB);
	run_whole(&s, whole);
	run_window(&s, 0);
	model_memory_forget(&s.rig.memory);
	run_window(&s, 1);
	assert_true(difference(&s, whole, 1) > 1e-7);
	close_stream(&s);
}

int main(int argc, char **argv)
{
	static const struct rig_test each[] = {{"forward", test_forward}, {"gradients", test_gradients},
		{"forgetting is seen", test_forgetting_is_seen}};

	(void)argc;
	blas_start(argv);
	return rig_run("stream", each, ARRAY_SIZE(each), NULL, 0);
}
