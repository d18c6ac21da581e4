/*
 * What a worker tells of its routers: the same for any micro-batch, also where choices differ from token to
 * token; what is known of routers that no token takes anything of; by which rule an evaluation went.
 */
#include "worker_process.h"

#define DROPLESS_GROUPS "model.moe.group_tokens=64"

struct told {
	struct arena arena;
	struct record records[400];
	int n;
};

static void run(struct told *t, const char *name, const char *const *keys, int n_keys)
{
	char *dir = run_dir(name, keys, n_keys), *text, *save = NULL;

	*t = (struct told){0};
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		assert_true(t->n < (int)(sizeof t->records / sizeof *t->records));
		t->n += record_parse(&t->records[t->n], l, strlen(l), &t->arena) &&
			t->records[t->n].type != RECORD_IS_SLICE && t->records[t->n].type != RECORD_IS_GROUP;
	}
	free(text);
	free(dir);
}

/* The only record of a type at a step, or of the second router or layer of it. */
static const struct record *told_of(const struct told *t, enum record_type type, long step)
{
	for (int i = 0; i < t->n; i++) {
		const struct record *r = &t->records[i];
		if (r->type != type)
			continue;
		if ((type == RECORD_IS_STEP && r->step.step == step) ||
			(type == RECORD_IS_EVAL && r->eval.step == step && !strcmp(r->eval.kind, "val")) ||
			(type == RECORD_IS_EXPERT && r->expert.step == step && r->expert.router == 1) ||
			(type == RECORD_IS_MIX && r->mix.step == step && r->mix.mix == 1))
			return r;
	}
	fail_msg("no such record of step %ld", step);
	return NULL;
}

static void near(const char *what, double a, double b)
{
	if (!(fabs(a - b) <= 3e-6 * fmax(1, fabs(a))) && !(isnan(a) && isnan(b)))
		fail_msg("%s: %.9g, in micro-batches %.9g", what, a, b);
}

static void expect_same_routers(const struct told *whole, const struct told *parts)
{
	const struct record *a = told_of(whole, RECORD_IS_STEP, 1), *b = told_of(parts, RECORD_IS_STEP, 1);

	near("balance", a->step.balance, b->step.balance);
	near("z", a->step.z, b->step.z);
	near("drop", a->step.drop, b->step.drop);
	near("flops", 1, b->step.flops / a->step.flops);
	a = told_of(whole, RECORD_IS_EXPERT, 1);
	b = told_of(parts, RECORD_IS_EXPERT, 1);
	near("entropy", a->expert.entropy, b->expert.entropy);
	near("drop of a router", a->expert.drop, b->expert.drop);
	near("choices", a->expert.choices, b->expert.choices);
	near("unserved", a->expert.unserved, b->expert.unserved);
	for (int e = 0; e < 4; e++)
		near("load", (double)a->expert.load.at[e], (double)b->expert.load.at[e]);
	a = told_of(whole, RECORD_IS_EVAL, 0);
	b = told_of(parts, RECORD_IS_EVAL, 0);
	near("drop in evaluation", a->eval.drop, b->eval.drop);
	near("choices in evaluation", a->eval.choices, b->eval.choices);
	near("unserved in evaluation", a->eval.unserved, b->eval.unserved);
}

static void test_micro_batches_tell_the_same(void **state)
{
	static const char *const routers[] = {"switch", "topp", "threshold", "hash", "expert_choice"};
	/* above 1/4 lies one score of a token or none; and the fewest experts with half of the sum */
	static const char *const own[] = {"model.moe.z_loss=0.1", "model.moe.top_p=0.26", "model.moe.max_k=3",
		"model.moe.top_k=2", "model.moe.allow_future=true"};

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct told whole, parts;
		char router[64], name[64];
		snprintf(router, sizeof router, "model.moe.router=%s", routers[i]);
		run(&whole, routers[i], KEYS(router, own[i], DROPLESS_GROUPS, "log.every=1", "init.scale=4", "init.cut=4",
			"model.moe.capacity_factor=0.7", "train.tokens=512"));
		snprintf(name, sizeof name, "%s-parts", routers[i]);
		run(&parts, name, KEYS(router, own[i], DROPLESS_GROUPS, "log.every=1", "init.scale=4", "init.cut=4",
			"model.moe.capacity_factor=0.7", "train.tokens=512", "train.micro_batch=1"));
		expect_same_routers(&whole, &parts);
		arena_release(&whole.arena);
		arena_release(&parts.arena);
	}
}

/* All that is added to the loss is told by its parts: with their weights, and entropies of experts subtracted, they
   are its sum. Of a router without noise there are no loads by it, and of one in one operator none of the three. */
static void test_losses_of_routers_by_their_parts(void **state)
{
	const struct record *step;
	struct told t;
	double sum = 0;

	(void)state;
	run(&t, "parts", KEYS("model.moe.router=noisy", DROPLESS_GROUPS, "model.moe.balance=0.2", "model.moe.z_loss=0.1",
		"model.moe.importance=0.7", "model.moe.load=0.9", "model.moe.mean_entropy=0.5", "model.moe.token_entropy=0.3",
		"log.every=1", "init.scale=4", "init.cut=4", "train.tokens=512", "train.micro_batch=1"));
	step = told_of(&t, RECORD_IS_STEP, 2);
	for (int i = 0; i < t.n; i++) {
		const struct expert_record *r = &t.records[i].expert;
		if (t.records[i].type == RECORD_IS_EXPERT && r->step == 2)
			sum += (0.7 * r->importance + 0.9 * r->load_cv2 - 0.5 * r->mean_entropy + 0.3 * r->entropy) / 2;
	}
	near("auxiliary losses", step->step.aux, 0.2 * step->step.balance + 0.1 * step->step.z + sum);
	arena_release(&t.arena);
	run(&t, "two", KEYS("model.moe.router=topk", "log.every=1", "train.tokens=256"));
	assert_true(told_of(&t, RECORD_IS_EXPERT, 1)->expert.importance > 0);
	assert_true(isnan(told_of(&t, RECORD_IS_EXPERT, 1)->expert.load_cv2));
	arena_release(&t.arena);
	run(&t, "one-operator", KEYS("log.every=1", "train.tokens=256"));
	assert_true(isnan(told_of(&t, RECORD_IS_EXPERT, 1)->expert.importance));
	assert_true(isnan(told_of(&t, RECORD_IS_EXPERT, 1)->expert.mean_entropy));
	arena_release(&t.arena);
}

/* The share of tokens that a layer picks is of all micro-batches. */
static void test_picked_share_of_all_micro_batches(void **state)
{
	struct told whole, parts;

	(void)state;
	run(&whole, "mod", KEYS("model.arch=stack", "model.pattern=[mamba, {mod: [ffn]}]", "model.mod.share=0.5",
		"log.every=1"));
	run(&parts, "mod-parts", KEYS("model.arch=stack", "model.pattern=[mamba, {mod: [ffn]}]",
		"model.mod.share=0.5", "log.every=1", "train.micro_batch=1"));
	near("share", told_of(&whole, RECORD_IS_MIX, 1)->mix.share, told_of(&parts, RECORD_IS_MIX, 1)->mix.share);
	arena_release(&whole.arena);
	arena_release(&parts.arena);
}

/* After a step at which every expert had more tokens than it should, thresholds are out of reach. */
static void test_no_token_takes_anything(void **state)
{
	const struct record *r;
	struct told t;

	(void)state;
	run(&t, "none", KEYS("model.moe.router=threshold", "model.moe.threshold_rate=1000", "log.every=1",
		"eval.every=1", "model.moe.capacity_factor=0"));
	r = told_of(&t, RECORD_IS_EXPERT, 2);
	for (int e = 0; e < 4; e++)
		assert_true(r->expert.load.at[e] == 0);
	assert_int_equal(r->expert.dead, 4);
	assert_true(r->expert.choices == 0 && r->expert.unserved == 1 && r->expert.drop == 0);
	assert_true(r->expert.entropy > 0);
	r = told_of(&t, RECORD_IS_STEP, 2);
	assert_true(r->step.drop == 0 && isnan(r->step.balance) && r->step.z > 0);
	r = told_of(&t, RECORD_IS_EVAL, 1);
	assert_true(r->eval.drop == 0 && r->eval.choices == 0 && r->eval.unserved == 1);
	r = told_of(&t, RECORD_IS_EXPERT, 1);
	assert_true(r->expert.choices > 1 && r->expert.unserved > 0 && r->expert.unserved < 0.5);
	arena_release(&t.arena);
}

static void test_no_scores_no_entropy(void **state)
{
	struct told t;

	(void)state;
	run(&t, "fixed", KEYS("model.moe.router=fixed", "log.every=1", "train.tokens=256"));
	assert_true(isnan(told_of(&t, RECORD_IS_EXPERT, 1)->expert.entropy));
	arena_release(&t.arena);
}

/* A factor as the rule has moved it, a cutoff where training ranks the future, and what came of it. */
static void test_rule_of_an_evaluation(void **state)
{
	struct told t;
	char factor[32];
	double share = 0;

	(void)state;
	run(&t, "moved", KEYS("model.moe.drop_target=0.6", "model.moe.control_rate=1", "log.every=1",
		"eval.every=1"));
	for (int i = 0; i < t.n; i++)
		if (t.records[i].type == RECORD_IS_STATE && t.records[i].state.step == 5)
			share += t.records[i].state.mean / 2;
	assert_true(share > 0.1 && share < 0.9);
	snprintf(factor, sizeof factor, "%.4g", 0.8 * share);
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, 5)->eval.capacity, factor);
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, 0)->eval.capacity, "0.8");
	arena_release(&t.arena);
	run(&t, "cutoff", KEYS("model.moe.router=expert_choice", "model.moe.allow_future=true",
		"model.moe.capacity_factor=1"));
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.capacity, "cutoff");
	assert_true(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.choices > 0.5);
	assert_true(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.unserved > 0);
	assert_true(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.drop == 0);
	arena_release(&t.arena);
	/* Of four sequences at a position two are there: each of four experts takes one, and a token has two. */
	run(&t, "some", KEYS("model.moe.router=expert_choice_batch", "model.moe.capacity_factor=2", "eval.tokens=128"));
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.capacity, "rank 2");
	assert_true(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.choices == 2);
	arena_release(&t.arena);
	/* Of mixtures in a pattern, whatever model.moe says of the others: one rule, or several. */
	run(&t, "ranks", KEYS("model.arch=stack", "model.pattern=[mamba, {moe: {router: expert_choice_batch}}]"));
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.capacity, "rank 2");
	arena_release(&t.arena);
	run(&t, "several", KEYS("model.arch=stack", "model.pattern=[mamba, moe, {moe: {router: topk}}]"));
	assert_string_equal(told_of(&t, RECORD_IS_EVAL, STEPS)->eval.capacity, "mixed");
	arena_release(&t.arena);
}

static int warnings(const struct told *t, const char *word)
{
	int n = 0;

	for (int i = 0; i < t->n; i++)
		n += t->records[i].type == RECORD_IS_EVENT && !strcmp(t->records[i].event.kind, "warning") &&
			strstr(t->records[i].event.text, word);
	return n;
}

/* Capacities are at least 1, which is said: of four sequences at a position, of eight tokens. */
static void test_capacity_that_is_raised(void **state)
{
	static const char raised[] = "capacity_factor leaves an expert 0.5 of a choice";
	struct told t;

	(void)state;
	run(&t, "raised", KEYS("model.moe.router=expert_choice_batch", "model.moe.capacity_factor=0.5",
		"train.tokens=256"));
	assert_int_equal(warnings(&t, raised), 1);
	arena_release(&t.arena);
	run(&t, "raised-too", KEYS("model.moe.group_tokens=8", "model.moe.capacity_factor=0.25", "train.tokens=256"));
	assert_int_equal(warnings(&t, raised), 1);
	arena_release(&t.arena);
	run(&t, "one", KEYS("model.moe.router=expert_choice_batch", "model.moe.capacity_factor=1",
		"train.tokens=256"));
	assert_int_equal(warnings(&t, raised), 0);
	arena_release(&t.arena);
}

/* A capacity of more tokens than are evaluated drops less there, which is said where it can drop anything. */
static void test_evaluation_below_a_group(void **state)
{
	static const char small[] = "are less than a routing group of";
	static const struct {
		const char *key;
		int said;
	} cases[] = {{"model.moe.capacity_factor=1", 1}, {"model.moe.group_tokens=8", 0}, {"model.moe.capacity_factor=100", 0},
		{"model.moe.capacity_factor=0", 0},
		{"model.moe.router=expert_choice_batch", 0}, {"data.sampling=stream", 0}};
	struct told t;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		run(&t, cases[i].key, KEYS(cases[i].key, "eval.tokens=16", "train.tokens=256"));
		assert_int_equal(warnings(&t, small), cases[i].said);
		arena_release(&t.arena);
	}
	run(&t, "mixed", KEYS("model.moe.router=tokens", "model.moe.group_sequences=2", "model.moe.capacity_factor=0",
		"eval.tokens=16", "train.tokens=256"));
	assert_int_equal(warnings(&t, small), 1);
	arena_release(&t.arena);
	run(&t, "split", KEYS("train.batch=512", "eval.tokens=65536", "train.tokens=32768"));
	assert_int_equal(warnings(&t, "24576 tokens to evaluate, less than a routing group of 32768"), 1);
	assert_int_equal(warnings(&t, small), 0);
	arena_release(&t.arena);
	run(&t, "both", KEYS("model.moe.capacity_factor=0.01", "eval.tokens=16", "train.tokens=256"));
	assert_int_equal(warnings(&t, small), 1);
	assert_int_equal(warnings(&t, "capacity_factor leaves"), 1);
	arena_release(&t.arena);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_micro_batches_tell_the_same),
	cmocka_unit_test(test_losses_of_routers_by_their_parts),
	cmocka_unit_test(test_picked_share_of_all_micro_batches),
	cmocka_unit_test(test_no_token_takes_anything), cmocka_unit_test(test_no_scores_no_entropy),
	cmocka_unit_test(test_rule_of_an_evaluation), cmocka_unit_test(test_capacity_that_is_raised),
	cmocka_unit_test(test_evaluation_below_a_group),
};

WORKER_TESTS_MAIN(tests)
