/*
 * As test_logged.c, of what layers and routers have beside losses: which share a mix gives its first path, how many
 * tokens a layer picks, how wide the experts were that computed, and what training moves by a rule; recomputed from
 * traces.
 */
#include "logged_run.h"

static const char layers[] = "model: {arch: stack, d_model: 16, n_blocks: 1, attn: {n_heads: 2}, ffn: {d_hidden: 12}, "
	"moe: {n_experts: 12, d_expert: 8, expert_sizes: 1:3, group_tokens: 32, select: threshold, max_k: 3, "
	"threshold_rate: 0.5}, "
	"pattern: [{mix: [attn, mamba]}, {mod: {of: [ffn], share: 0.25, rate: 0.1}}, moe, "
	"{mix: {of: [attn, mamba], alpha: channel}}]}\n"
	"train: {batch: 4, micro_batch: 2, context: 16, tokens: 384, lr: 0.03, warmup: 0.34}\n"
	"data: {path: data}\neval: {tokens: 80, every: 1}\nlog: {every: 1}\n"
	"checkpoint: {every: 0, keep: 100}\n";

static int open_layers(void **state)
{
	(void)state;
	spec = layers;
	if (path_tmp_folder(folder, sizeof folder, "logged"))
		return -1;
	make_data();
	train(in_folder("run"));
	read_records(in_folder("run"));
	for (int k = 0; k < STEPS; k++)
		trace(&steps[k], k ? arena_printf(&arena, "%s@%d", in_folder("run"), k) : in_folder("spec.yaml"),
			arena_printf(&arena, "step%d.safetensors", k), NULL, 0);
	return 0;
}

/* ---- mixes and picks ------------------------------------------------------------------------ */

static double logistic(double x)
{
	return 1 / (1 + exp(-x));
}

static double sigmoid_of_alpha(const struct safetensors *f)
{
	return logistic(safetensor_at(find(f, "param.layers.0.mix.alpha"), 0));
}

/* Mean and standard deviation over channels. */
static double share_of_channels(const struct safetensors *f, double *spread)
{
	const struct safetensor *alpha = find(f, "param.layers.3.mix.alpha");
	double sum = 0, square = 0;

	for (long i = 0; i < WIDTH; i++)
		sum += logistic(safetensor_at(alpha, i));
	for (long i = 0; i < WIDTH; i++)
		square += pow(logistic(safetensor_at(alpha, i)) - sum / WIDTH, 2);
	*spread = sqrt(square / WIDTH);
	return sum / WIDTH;
}

/* Of the step, both micro-batches. */
static double picked(const struct safetensors *f)
{
	const struct safetensor *x = find(f, "output.layers.1.norm"), *w = find(f, "param.layers.1.mod.router.weight");
	double threshold = safetensor_at(find(f, "param.layers.1.mod.router.threshold"), 0), n = 0;

	for (long i = 0; i < N; i++) {
		double r = 0;
		for (long d = 0; d < WIDTH; d++)
			r += safetensor_at(x, i * WIDTH + d) * safetensor_at(w, d);
		n += r > threshold;
	}
	return n / N;
}

static void check_mix(const struct record *r)
{
	const struct mix_record *m = &r->mix;
	const struct safetensors *f = &steps[m->step - 1];
	double spread, of_channels = share_of_channels(f, &spread);

	if (m->mix == 2) {
		expect("mean share of channels", m->step, m->share, of_channels);
		expect("their spread", m->step, m->spread, spread);
		return;
	}
	assert_true(isnan(m->spread));
	expect(m->mix ? "share picked" : "share of the first path", m->step, m->share,
		m->mix ? picked(f) : sigmoid_of_alpha(f));
}

static void test_mix(void **state)
{
	double spread;
	int some = 0;

	(void)state;
	assert_int_equal(each(RECORD_IS_MIX, check_mix), STEPS * 3);
	for (int i = 0; i < n_records; i++)
		some += records[i].type == RECORD_IS_MIX && records[i].mix.mix == 1 && records[i].mix.share > 0 &&
			records[i].mix.share < 1;
	assert_true(some > 0);		/* else the example shows nothing */
	assert_true(fabs(sigmoid_of_alpha(&steps[2]) - 0.5) > 1e-3);
	share_of_channels(&steps[2], &spread);
	assert_true(spread > 1e-3);
}

/* ---- widths --------------------------------------------------------------------------------- */

/* Every other expert is half or one and a half of the mean width; a choice that was kept is computed. */
static void check_width(const struct record *r)
{
	const struct expert_record *x = &r->expert;
	const struct safetensor *route = find(&steps[x->step - 1], "layers.2.moe.route"),
		*keep = find(&steps[x->step - 1], "layers.2.moe.keep");
	double wide = 0, n = 0;

	for (long i = 0; i < safetensor_size(route); i++)
		if (safetensor_at(keep, i) > 0) {
			wide += (long)safetensor_at(route, i) % 2 ? 1.5 : 0.5;
			n++;
		}
	assert_true(n < (double)safetensor_size(route));
	expect("width", x->step, x->width, wide / n);
}

static void test_width(void **state)
{
	int some = 0;

	(void)state;
	assert_int_equal(each(RECORD_IS_EXPERT, check_width), STEPS);
	for (int i = 0; i < n_records; i++)
		some += records[i].type == RECORD_IS_EXPERT && fabs(records[i].expert.width - 1) > 0.01;
	assert_true(some > 0);
}

/* ---- states --------------------------------------------------------------------------------- */

static void check_state(const struct record *r)
{
	const struct state_record *s = &r->state;
	const struct safetensor *is = find(&steps[s->step - 1], arena_printf(&arena, "new.%s", s->state));
	double least = INFINITY, most = -INFINITY, sum = 0;

	for (long i = 0; i < safetensor_size(is); i++) {
		least = fmin(least, safetensor_at(is, i));
		most = fmax(most, safetensor_at(is, i));
		sum += safetensor_at(is, i);
	}
	expect("least", s->step, s->least, least);
	expect("mean", s->step, s->mean, sum / (double)safetensor_size(is));
	expect("most", s->step, s->most, most);
	assert_true(safetensor_size(is) == 1 || least < most);
}

static void test_state(void **state)
{
	(void)state;
	assert_int_equal(each(RECORD_IS_STATE, check_state), STEPS * 2);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_mix), cmocka_unit_test(test_width),
		cmocka_unit_test(test_state)};

	(void)argc;
	return logged_main(argv, tests, ARRAY_SIZE(tests), open_layers);
}
