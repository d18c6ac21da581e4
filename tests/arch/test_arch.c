/*
 * Whole architectures: the reference's gradients against central differences, the other devices
 * against the reference, recomputation and accumulation, and causality. The CPU's tests are done on
 * GPUs too, in a program with CUDA where one is. test_arch "moe_*: causal*" tests those alone.
 */
#include "rig_seen.h"

#include "base/cpu.h"
#include "op/add_norm.h"
#include "op/embedding.h"

static const struct rig_options training = {.batch = 2, .context = 16, .training = true};

static const struct rig_options documents = {.batch = 2, .context = 16, .training = true,
	.documents = true};

static struct rig_options with(struct rig_options o, enum device_id device)
{
	o.device = device;
	return o;
}

/* ---- gradients ------------------------------------------------------------------------------ */

static double largest(const struct rig *rig, const struct param *p)
{
	double most = 1e-6;

	for (long k = 0; k < param_elements(p); k++)
		most = fmax(most, fabs(take(rig, BLOB_GRADIENTS, p->offset + k)));
	return most;
}

static void check_differences(const struct rig_case *c, struct rig_options o)
{
	struct rig rig;

	rig_open(&rig, c->spec, with(o, REF));
	rig_loss(&rig);
	rig_backward(&rig, true);
	for (int i = 0; i < rig.params.n; i += NEXT_PARAM) {
		const struct param *p = &rig.params.list[i];
		long n = p->rule.control.rule ? 0 : param_elements(p);	/* states have no gradient */
		for (long k = 0; k < n; k += rig_stride(n)) {
			double x = take(&rig, BLOB_WEIGHTS, p->offset + k), h = 3e-5, above, below, error;
			put(&rig, BLOB_WEIGHTS, p->offset + k, x + h);
			above = rig_loss(&rig);
			put(&rig, BLOB_WEIGHTS, p->offset + k, x - h);
			below = rig_loss(&rig);
			put(&rig, BLOB_WEIGHTS, p->offset + k, x);
			error = fabs((above - below) / (2 * h) - take(&rig, BLOB_GRADIENTS, p->offset + k)) /
				fmax(largest(&rig, p), 1e-4);
			if (!(error < 1e-6))
				fail_msg("%s: %s[%ld]: gradient off by %.2g", c->name, p->name, k, error);
		}
	}
	rig_close(&rig);
}

static void test_central_differences(void **state)
{
	const struct rig_case *c = *state;

	if (strstr(c->name, "reinforce"))	/* what flows back is an estimate, not the derivative */
		skip();
	check_differences(*state, training);
	check_differences(*state, documents);
}

/* || a - b || / || b || of one parameter's gradient, which may lie elsewhere on another device. */
static double distance(const struct rig *a, const struct rig *b, int i)
{
	const struct param *p = &a->params.list[i], *q = &b->params.list[i];
	double diff = 0, norm = 1e-20;

	for (long k = 0; k < param_elements(p); k++) {
		double x = take(a, BLOB_GRADIENTS, p->offset + k), y = take(b, BLOB_GRADIENTS, q->offset + k);
		diff += (x - y) * (x - y);
		norm += y * y;
	}
	return sqrt(diff / norm);
}

static void expect_close(const char *name, const struct rig *a, const struct rig *b, double limit)
{
	for (int i = 0; i < a->params.n; i++) {
		double error = distance(a, b, i);
		if (!(error <= limit))
			fail_msg("%s: gradient of %s: error %.2g, allowed %.1g", name,
				a->params.list[i].name, error, limit);
	}
}

/* Rounded to bf16, tokens go to other experts, or others are picked: then only the size of the loss is known. */
static bool chooses(const struct rig_case *c)
{
	return strstr(c->spec, "mod:") || (strstr(c->spec, "n_experts") && !strstr(c->spec, "n_experts: 1,"));
}

static void check_gradients(const struct rig_case *c, struct rig *rig, struct rig *ref,
	enum device_id id)
{
	char name[128];

	snprintf(name, sizeof name, "%s on %s", c->name, device_list[id].name);
	if (!is_bf16(id))
		expect_close(name, rig, ref, 1e-4);
	else if (!chooses(c))
		expect_close(name, rig, ref, 6e-2);
}

static void check_against_ref(const struct rig_case *c, struct rig_options o, enum device_id id)
{
	double a, b, limit = !is_bf16(id) ? 1e-5 : chooses(c) ? 5e-2 : 1e-2;
	struct rig rig, ref;

	rig_open(&ref, c->spec, with(o, REF));
	rig_open(&rig, c->spec, with(o, id));
	b = rig_loss(&ref);
	rig_backward(&ref, true);
	/* Further replays find other garbage in the arena and must give the same; GPUs record the second. In bf16 the
	   emulator leaves them to check_recorded(). */
	for (int replay = 0; replay < (rig_spares(id) && is_bf16(id) ? 1 : 3); replay++) {
		a = rig_loss(&rig);
		if (!(fabs(a - b) < limit * fabs(b)))
			fail_msg("%s on %s: loss %.9g, reference %.9g", c->name, device_list[id].name, a, b);
		rig_backward(&rig, true);
		check_gradients(c, &rig, &ref, id);
	}
	rig_close(&rig);
	rig_close(&ref);
}

static void test_devices_against_ref(void **state)
{
	for (const enum device_id *d = devices_but_ref(); *d != N_DEVICES; d++) {
		if (!rig_spares(*d))
			check_against_ref(*state, training, *d);
		check_against_ref(*state, documents, *d);
	}
}

static void check_recomputed(const struct rig_case *c, enum device_id device)
{
	static struct rig_seen seen;
	struct rig plain, again;
	struct rig_options o = with(documents, device);

	rig_open(&plain, c->spec, o);
	if (rig_is_known(&seen, plain.g, device)) {
		rig_close(&plain);
		return;
	}
	o.recompute = true;
	rig_open(&again, c->spec, o);
	rig_loss(&plain);
	rig_loss(&again);
	rig_backward(&plain, true);
	rig_backward(&again, true);
	assert_true(graph_memory(again.g).kept_bytes < graph_memory(plain.g).kept_bytes);
	expect_close(c->name, &again, &plain, 0);
	rig_close(&plain);
	rig_close(&again);
}

static void test_recompute_same_bits(void **state)
{
	for (const enum device_id *d = devices_but_ref(); *d != N_DEVICES; d++)
		if (!rig_spares(*d) || is_bf16(*d))
			check_recomputed(*state, *d);
}

/* Recorded or call by call, the bits are the same; the second micro-batch adds. Equal steps: one goes call by call, one
   is recorded, and one is a replay alone, which float32 has in check_against_ref(), too. */
static void check_recorded(const struct rig_case *c, enum device_id device)
{
	static struct rig_seen seen;
	struct rig recorded, plain;
	double loss[2];

	rig_open(&recorded, c->spec, with(documents, device));
	if (rig_is_known(&seen, recorded.g, device)) {
		rig_close(&recorded);
		return;
	}
	rig_open(&plain, c->spec, with(documents, device));
	graph_unrecorded(plain.g);
	for (int micro = 0; micro < 2; micro++) {
		loss[micro] = rig_loss(&plain);
		rig_backward(&plain, micro == 0);
	}
	for (int step = 0; step < (rig_spares(device) ? 2 : 3); step++) {
		for (int micro = 0; micro < 2; micro++) {
			assert_true(rig_loss(&recorded) == loss[micro]);
			rig_backward(&recorded, micro == 0);
		}
		expect_close(c->name, &recorded, &plain, 0);
	}
	rig_close(&recorded);
	rig_close(&plain);
}

static void test_recorded_same_bits(void **state)
{
	if (!device_missing(&device_list[CUDA]))
		check_recorded(*state, CUDA);
}

/* Two micro-batches of one routing group each against one batch of two groups. */
static void check_accumulation(const struct rig_case *c, enum device_id device, double limit)
{
	static struct rig_seen seen;
	struct rig whole, parts;
	struct rig_options o = with(training, device);
	int *tokens, *targets;

	if (strstr(c->name, "one expert") || strstr(c->name, "over the batch"))
		return;		/* the routing group is the whole batch */
	rig_open(&whole, c->spec, o);
	if (rig_is_known(&seen, whole.g, device)) {
		rig_close(&whole);
		return;
	}
	o.batch = 1;
	o.micro_batches = 2;
	rig_open(&parts, c->spec, o);
	rig_loss(&whole);
	rig_backward(&whole, true);
	tokens = parts.tokens = whole.tokens;
	targets = parts.targets = whole.targets;
	for (int micro = 0; micro < 2; micro++) {
		parts.tokens = tokens + micro * o.context;
		parts.targets = targets + micro * o.context;
		rig_micro(&parts, micro);
		rig_loss(&parts);
		rig_backward(&parts, micro == 0);
	}
	expect_close(c->name, &parts, &whole, limit);
	rig_close(&whole);
	rig_close(&parts);
}

static void test_accumulation(void **state)
{
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		if (!is_bf16(*d))
			check_accumulation(*state, *d, *d == REF ? 1e-12 : 1e-4);
}

/* ---- causality ------------------------------------------------------------------------------ */

static void token_losses(struct rig *rig, double *nll)
{
	rig_loss(rig);
	graph_read_all(rig->g, "nll", nll);
}

/* First position whose loss changes, bit for bit, when token `at` is another; n if none does. */
static long first_change(struct rig *rig, long at, const double *before, double *after)
{
	long n = rig->batch * rig->context / rig->model.patch;
	int old = rig->tokens[at];

	rig->tokens[at] = (old + 7) % VOCAB;
	token_losses(rig, after);
	rig->tokens[at] = old;
	for (long i = 0; i < n; i++)
		if (before[i] != after[i])
			return i;
	return n;
}

/* Tokens of a window: across chunks of the scan (32 tokens), blocks of attention (64) and routing groups (16), and where
   not all takes long across two blocks. */
enum { LONG = ON_EMULATOR || UNDER_SANITIZERS ? 80 : 144 };

static void check_causal(const struct rig_case *c, enum device_id device)
{
	static struct rig_seen seen;
	struct rig rig;
	struct rig_options o = {.device = device, .batch = 2, .context = LONG};
	double before[2 * LONG], after[2 * LONG];
	bool few = !device_is_host(&device_list[device]) || UNDER_SANITIZERS;
	const long places[] = {1, 15, 16, 17, 63, 64, 65, 100, 127, 128, 143, LONG, LONG + 56, 287};

	rig_open(&rig, c->spec, o);
	if (rig_is_known(&seen, rig.g, device)) {
		rig_close(&rig);
		return;
	}
	token_losses(&rig, before);
	/* Of them all, or one behind a tile and one in the first tile of the second sequence. */
	for (size_t i = few ? 6 : 0; i < ARRAY_SIZE(places); i += few ? 6 : 1) {
		long first = first_change(&rig, places[i], before, after);
		if (first != places[i] / rig.model.patch)
			fail_msg("%s on %s: token %ld changes the loss of token %ld", c->name,
				device_list[device].name, places[i], first);
	}
	rig_close(&rig);
}

static void test_causal(void **state)
{
	for (const enum device_id *d = devices(); *d != N_DEVICES && !rig_beyond_past(*state) &&
		!rig_normalises(*state); d++)
		if (!is_bf16(*d))
			check_causal(*state, *d);
}

/* A model that looks one token ahead: the test above must see it. */
static void test_leak_is_seen(void **state)
{
	struct arena a = {0};
	struct params params;
	const struct skeleton s = {.d_model = 8, .head = "linear", .pool = "last", .norm = "layernorm",
		.norm_eps = 1e-5,
		.init_scale = 0.1, .init_cut = 0.2, .decay = "all"};
	struct net net;
	struct rig rig = {.batch = 1, .context = 16};
	struct tensor *in[EMBEDDING_N_IN];
	struct param_rule rule;
	double before[16], after[16];
	int ahead[16];

	(void)state;
	params_init(&params, &a, &device_list[REF]);
	rig.g = graph_new(&a, &params, &device_list[REF], false);
	net_begin(&net, rig.g, &s, (struct net_env){.batch = 1, .context = 16, .n_vocab = VOCAB});
	rule = rule_normal(&net, 1, "embedding");
	in[EMBEDDING_TOKEN_BT] = graph_input(rig.g, "ahead", tensor_of(INDEX, 2, 1L, 16L));
	in[EMBEDDING_TABLE_VD] = graph_param(rig.g, "leak", tensor_of(REAL, 2, 32L, 8L), &rule);
	net.pending[0] = graph_apply(rig.g, &op_embedding, NULL, 0, in)[EMBEDDING_X_BTD];
	net_end(&net);
	assert_int_equal(graph_plan(rig.g, &(struct graph_options){.micro_batches = 1}), 0);
	rig.params = params;
	rig_memory(&rig, &device_list[REF]);
	graph_bind(rig.g, &rig.memory);
	rig_weights(&rig);
	rig.arena = a;
	rig_data(&rig, false);
	for (int pass = 0; pass < 2; pass++) {
		for (int t = 0; t < 16; t++)
			ahead[t] = rig.tokens[t < 15 ? t + 1 : t];
		graph_set_input(rig.g, "ahead", ahead);
		token_losses(&rig, pass ? after : before);
		rig.tokens[9] = (rig.tokens[9] + 7) % VOCAB;
	}
	assert_true(before[7] == after[7]);
	assert_true(before[8] != after[8]);
	rig_close(&rig);
}

/* ---- masked targets ------------------------------------------------------------------------- */

/* Windows filled up with masked tokens behind the others change nothing for these. */
static void test_masked_tokens(void **state)
{
	const struct rig_case *c = *state;
	struct rig full, half;
	struct rig_options o = {.device = REF, .batch = 2, .context = 16, .masked = true};
	double a[32], b[16];

	if (!rig_stands_alone(c) || rig_reads_values(c))
		return;
	rig_open(&full, c->spec, o);
	o.batch = 1;
	rig_open(&half, c->spec, o);
	for (int i = 16; i < 32; i++)
		full.targets[i] = -1;
	token_losses(&full, a);
	token_losses(&half, b);
	for (int i = 0; i < 16; i++)
		assert_true(strstr(c->name, "one expert") || a[i] == b[i]);
	for (int i = 16; i < 32; i++)
		assert_true(a[i] == 0);
	rig_close(&full);
	rig_close(&half);
}

/* Whoever adds an architecture adds a row to rig_cases. */
static void test_every_architecture(void **state)
{
	(void)state;
	for (const struct arch *const *a = arch_list; *a; a++) {
		bool found = false;
		for (size_t i = 0; i < ARRAY_SIZE(rig_cases); i++) {
			const char *at = strstr(rig_cases[i].spec, "arch: ");
			size_t n = strlen((*a)->name);
			at += strlen("arch: ");
			found |= !strncmp(at, (*a)->name, n) && (at[n] == ',' || at[n] == '}');
		}
		if (!found)
			fail_msg("architecture %s has no row in rig_cases (tests/arch/rig.h)", (*a)->name);
	}
}

int main(int argc, char **argv)
{
	static const struct rig_test each[] = {{"central differences", test_central_differences, true},
		{"devices against ref", test_devices_against_ref, false},
		{"recompute, same bits", test_recompute_same_bits, false},
		{"recorded, same bits", test_recorded_same_bits, false}, {"accumulation", test_accumulation, false},
		{"causal", test_causal, false}, {"masked tokens", test_masked_tokens, true}};
	const struct CMUnitTest alone[] = {cmocka_unit_test(test_leak_is_seen),
		cmocka_unit_test(test_every_architecture)};

	blas_start(argv);
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return rig_run("arch", each, ARRAY_SIZE(each), alone, ARRAY_SIZE(alone));
}
