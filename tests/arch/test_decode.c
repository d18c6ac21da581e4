/*
 * Decoding: a prompt of n tokens in one replay, then further ones token by token and in windows, gives the
 * logits that one replay of all tokens gives; for every architecture, every n up to twice the taps of the
 * convolution (two of them on the emulator and under the sanitizers), with and without documents.
 */
#include "rig_seen.h"

#include "base/cpu.h"

enum {
	LENGTH = 40,		/* tokens of a sequence */
	PROMPT = 8,		/* twice the taps */
	SEQUENCES = 2,
};

/* One model: `whole` sees all tokens at once, replay[n] n more of each sequence. */
struct decoder {
	struct rig rig;
	struct params carried;
	struct graph *whole, *replay[PROMPT + 1];
	double *logits;		/* of whole */
};

static void close_decoder(struct decoder *d)
{
	graph_release(d->whole);
	for (int n = 1; n <= PROMPT && d->replay[n]; n++)
		graph_release(d->replay[n]);
	if (!rig_on_host(&d->rig))
		free(d->rig.host[BLOB_WEIGHTS]);
	model_memory_release(&d->rig.memory);
	params_release(&d->rig.params);
	params_release(&d->carried);
	arena_release(&d->rig.arena);
}

/* Every model has a form for it. */
static struct graph *record(struct decoder *d, const struct device *device, long context, bool documents,
	long carry)
{
	struct graph *g = graph_new(&d->rig.arena, &d->rig.params, device, false);
	struct net_env env = {.batch = SEQUENCES, .context = context, .group_tokens = SEQUENCES * context,
		.n_vocab = VOCAB, .dropless = true, .reset_at_eot = documents, .head = HEAD_LOGITS,
		.carry = carry};

	if (carry)
		graph_carry(g, &d->carried);
	assert_int_equal(model_record(&d->rig.model, g, env, &d->rig.config), 0);
	assert_int_equal(graph_plan(g, &(struct graph_options){.micro_batches = 1}), 0);
	return g;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static void open_decoder(struct decoder *d, const struct rig_case *c, enum device_id id, bool documents)
{
	const struct device *device = &device_list[id];
	struct rig *rig = &d->rig;
	size_t arena;

	*d = (struct decoder){.rig = {.batch = SEQUENCES, .context = LENGTH}};
	rig_spec(rig, c->spec);
	assert_int_equal(model_open(&rig->model, &rig->config, &rig->arena), 0);
	params_init(&rig->params, &rig->arena, device);
	params_init(&d->carried, &rig->arena, device);
	d->whole = record(d, device, LENGTH, documents, 0);
	arena = graph_memory(d->whole).arena_bytes;
	for (long n = 1; n <= PROMPT; n++) {
		d->replay[n] = record(d, device, n, documents, LENGTH);
		arena = larger(arena, graph_memory(d->replay[n]).arena_bytes);
	}
	model_memory_alloc(&rig->memory, &rig->params, device, arena, false);
	model_memory_carry(&rig->memory, &d->carried);
	rig->host[BLOB_WEIGHTS] = rig_on_host(rig) ? rig->memory.blob[BLOB_WEIGHTS]
		: xcalloc(1, rig->memory.blob_bytes[BLOB_WEIGHTS]);
	graph_bind(d->whole, &rig->memory);
	for (int n = 1; n <= PROMPT; n++)
		graph_bind(d->replay[n], &rig->memory);
	rig_weights(rig);
	rig_data(rig, documents);
	d->logits = ARENA_ARRAY(&rig->arena, double, SEQUENCES * LENGTH * VOCAB);
}

static void run_graph(struct graph *g, const int *tokens, double *logits)
{
	graph_set_input(g, "tokens", tokens);
	graph_forward(g);
	graph_fetch_metrics(g);
	graph_read_all(g, "lm_head.logits", logits);
}

/* Largest difference of the logits of tokens [at, at + n) of each sequence, replayed now. */
static double replay(struct decoder *d, long at, long n)
{
	double logits[SEQUENCES * PROMPT * VOCAB], most = 0;
	int tokens[SEQUENCES * PROMPT];

	for (long b = 0; b < SEQUENCES; b++)
		memcpy(tokens + b * n, d->rig.tokens + b * LENGTH + at, (size_t)n * sizeof *tokens);
	run_graph(d->replay[n], tokens, logits);
	for (long b = 0; b < SEQUENCES; b++)
		for (long i = 0; i < n * VOCAB; i++) {
			double error = fabs(logits[b * n * VOCAB + i] - d->logits[(b * LENGTH + at) * VOCAB + i]);
			most = error <= most ? most : error;
		}
	return most;
}

/* A prompt, eight steps, and windows as long as the prompt to the end. */
static void check_prompt(struct decoder *d, const char *name, long prompt, double limit)
{
	for (long at = 0, n = prompt; at + n <= LENGTH; at += n) {
		double error;
		n = at == 0 ? prompt : at < prompt + 8 ? 1 : prompt;
		if (at + n > LENGTH)
			break;
		error = replay(d, at, n);
		if (!(error <= limit))
			fail_msg("%s: prompt of %ld, %ld tokens from %ld on: logits off by %.2g", name, prompt,
				n, at, error);
	}
}

static void check_decoding(const struct rig_case *c, enum device_id id, bool documents, double limit)
{
	static const long few[] = {3, PROMPT};	/* less than the taps, and more */
	bool spares = rig_spares(id) || UNDER_SANITIZERS;
	static struct rig_seen seen;
	struct decoder d;
	char name[128];

	snprintf(name, sizeof name, "%s on %s%s", c->name, device_list[id].name,
		documents ? ", documents" : "");
	open_decoder(&d, c, id, documents);
	if (rig_is_known(&seen, d.replay[1], id)) {
		close_decoder(&d);
		return;
	}
	run_graph(d.whole, d.rig.tokens, d.logits);
	for (size_t i = 0; i < (spares ? ARRAY_SIZE(few) : PROMPT); i++) {
		long prompt = spares ? few[i] : (long)i + 1;
		model_memory_forget(&d.rig.memory);
		check_prompt(&d, name, prompt, limit);
	}
	close_decoder(&d);
}

static void test_decoding(void **state)
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
				check_decoding(*state, on[i].id, documents, on[i].limit);
}

/* The test above must see what is not carried: after forgetting, steps give other logits. */
static void test_forgetting_is_seen(void **state)
{
	struct decoder d;

	if (!rig_goes_on(*state))
		skip();
	open_decoder(&d, *state, REF, false);
	run_graph(d.whole, d.rig.tokens, d.logits);
	assert_true(replay(&d, 0, PROMPT) < 1e-11);
	model_memory_forget(&d.rig.memory);
	assert_true(replay(&d, PROMPT, 1) > 1e-7);
	close_decoder(&d);
}

int main(int argc, char **argv)
{
	static const struct rig_test each[] = {{"decoding", test_decoding, false},
		{"forgetting is seen", test_forgetting_is_seen, true}};

	(void)argc;
	blas_start(argv);
	return rig_run("decode", each, ARRAY_SIZE(each), NULL, 0);
}
