#include "train/worker_log.h"

#include <jansson.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "tensor/queue.h"
#include "train/build_info.h"
#include "train/products.h"

/* A router over the micro-batches of a step, which hold as many tokens each. */
struct router_sums {
	long n_experts;
	double *load, choices;	/* choices by the expert that they name, and all */
	double means[N_ROUTER_MEANS];
	struct routed routed;
};

static void open_routers(struct worker_log *l)
{
	const struct setup *s = l->setup;
	struct arena *a = &l->setup->arena;
	long most = 0;

	l->routers = ARENA_ARRAY(a, struct router_sums, s->routers.n);
	for (int i = 0; i < s->routers.n; i++) {
		long n = tensor_size(graph_metric_shape(s->graphs[GRAPH_TRAIN], s->routers.load[i]));
		l->routers[i] = (struct router_sums){.n_experts = n, .load = ARENA_ARRAY(a, double, n)};
		most = n > most ? n : most;
	}
	l->load = ARENA_ARRAY(a, float, most);
	l->shares = ARENA_ARRAY(a, double, s->n_shares);
}

void worker_log_open(struct worker_log *l, struct worker_link *link, struct setup *s,
	const struct dataset *d, const struct evaluator *evaluator, const struct baseline *baselines)
{
	*l = (struct worker_log){.link = link, .setup = s, .data = d, .evaluator = evaluator,
		.baselines = baselines};
	open_routers(l);
	cost_of(s, &l->cost);
}

/* Ends the object; its text, in the arena. */
static const char *json_text(struct worker_log *l, json_t *root, size_t flags)
{
	char *text = json_dumps(root, JSON_COMPACT | flags);
	const char *kept = arena_strdup(&l->setup->arena, text);

	free(text);
	json_decref(root);
	return kept;
}

static const char *semantics_json(struct worker_log *l)
{
	int n;
	const struct semantics *all = setup_semantics(l->setup, &n);
	json_t *root = json_object();

	for (int i = 0; i < n; i++)
		json_object_set_new(root, all[i].name, json_integer(all[i].number));
	return json_text(l, root, JSON_SORT_KEYS);
}

/* What each part of the model has and costs, as in the table `part`. */
static const char *parts_json(struct worker_log *l)
{
	json_t *root = json_object();

	for (int i = 0; i < l->cost.n_parts; i++) {
		const struct cost_part *p = &l->cost.parts[i];
		json_object_set_new(root, p->name, json_pack("{s:I, s:I, s:f}", "params",
			(json_int_t)llround(p->params), "active", (json_int_t)llround(p->active),
			"flops", p->forward + p->backward));
	}
	return json_text(l, root, 0);
}

static void describe_run(struct worker_log *l, struct attempt_record *a)
{
	const struct cost *c = &l->cost;

	a->arch = l->setup->model.arch->name;
	a->depends = l->setup->depends;
	a->data_hash = l->data->hash;
	a->data_tokens = split_inputs(&l->data->splits[SPLIT_TRAIN]);
	a->tokenizer = l->data->tokenizer;
	a->vocab = l->data->vocab;
	a->precision = l->setup->device->precision;
	a->semantics = semantics_json(l);
	a->parts = parts_json(l);
	a->params_total = llround(c->params.total);
	a->params_active = llround(c->params.active);
	a->params_embedding = llround(c->params.embedding + c->params.head);
	a->flops_per_token = c->flops_per_token;
	a->memory_planned_bytes = llround(c->total_bytes);
}

/* The attempt that attempt.json tells of, before this one writes its own; false: there was none. */
static bool read_last(const char *dir, struct record *r, struct arena *a)
{
	char *path = arena_printf(a, "%s/attempt.json", dir), *text = path_exists(path) ? path_read(path, NULL) : NULL;
	bool there = text && record_parse(r, text, strcspn(text, "\n"), a) && r->type == RECORD_IS_ATTEMPT;

	free(text);
	return there;
}

/* Bits are promised on one processor with one core of BLAS, or on one kind of GPU. */
static void tell_other_processor(struct worker_log *l, const struct attempt_record *now,
	const struct attempt_record *last, long step)
{
	if (!last->cpu || !last->blas_core ||
			(!strcmp(last->cpu, now->cpu) && !strcmp(last->blas_core, now->blas_core)))
		return;
	worker_link_event(l->link, "warning", step, "goes on on another processor: %s (%s), before %s (%s); sums may "
		"round differently from here on", now->cpu, now->blas_core, last->cpu, last->blas_core);
}

static const struct net_rule *rule_of(const struct worker_log *l, const char *kind)
{
	return &l->setup->rules[strcmp(kind, "val_dropless") ? GRAPH_EVAL : GRAPH_EVAL_DROPLESS];
}

/* By which experts choose, or refuse, tokens in this evaluation, as the database has it: the factor in force, behind
   "rank" where that is among tokens; "0" or, without capacity, "none": all; "cutoff", "mixed". */
static const char *capacity_rule(const struct worker_log *l, const char *kind)
{
	const struct net_rule *rule = rule_of(l, kind);
	double factor = rule->factor * (rule->moved ? control_capacity(&l->setup->control, l->setup) : 1);

	if (!rule->name || !strcmp(rule->name, "all"))
		return rule->name && !strcmp(kind, "val") ? "0" : "none";
	if (factor == 0)
		return rule->name;
	return arena_printf(&l->setup->arena, "%s%.4g", strcmp(rule->name, "rank") ? "" : "rank ", factor);
}

/* The same for people. */
static const char *rule_text(const struct worker_log *l, const char *kind)
{
	const struct net_rule *rule = rule_of(l, kind);
	bool ranked = !strcmp(rule->name, "rank");

	if (!strcmp(rule->name, "cutoff"))
		return "by a cutoff of scores";
	if (!strcmp(rule->name, "all"))
		return "all that tokens choose";
	if (!strcmp(rule->name, "mixed"))
		return "by each mixture's own rule, as its keys say";
	return arena_printf(&l->setup->arena, "capacity factor %.4g%s", rule->factor, ranked ? ", by rank"
		: rule->moved ? " at first, then as training has moved it" : "");
}

static void tell_rules(const struct worker_log *l)
{
	if (l->setup->routers.n)
		info("evaluation: val: %s; val_dropless, at the end: %s", rule_text(l, "val"),
			rule_text(l, "val_dropless"));
}

/* eval.tokens may ask for more than the split has (setup_warning() is of what it asks for). */
static void tell_small_split(const struct worker_log *l)
{
	const struct run_spec *spec = &l->setup->spec;
	long scarce = l->setup->scarce, evaluated = l->evaluator->n_windows * spec->context;

	if (!run_streams(spec) && spec->eval_tokens >= scarce && evaluated < scarce)
		worker_link_event(l->link, "warning", 0, "split %s has %ld tokens to evaluate, less than a routing "
			"group of %ld tokens: with so few evaluation drops less than training, or mixes fewer; import more "
			"text, or set model.moe.group_tokens or train.batch to less", spec->eval_split, evaluated, scarce);
}

void worker_log_attempt(struct worker_log *l, long step)
{
	struct record r = record_new(RECORD_IS_ATTEMPT), last;
	bool resumed = step > 0 && read_last(l->link->dir, &last, &l->setup->arena);
	char *cpu = arena_get(&l->setup->arena, 128);
	const struct queue *q = device_queue(l->setup->device);

	describe_run(l, &r.attempt);
	r.attempt.device = l->setup->device->name;
	r.attempt.threads = omp_get_max_threads();
	r.attempt.blas = products_library(l->setup->device);
	r.attempt.blas_core = q ? q->gpu : blas_core();
	r.attempt.gpu = q ? getenv("CUDA_VISIBLE_DEVICES") : NULL;	/* as supervise/launch.h gives it */
	r.attempt.cpu = cpu_name(cpu, 128);
	r.attempt.git = build_commit;
	r.attempt.build = build_flags;
	worker_link_attempt(l->link, &r);
	if (resumed)
		tell_other_processor(l, &r.attempt, &last.attempt, step);
	if (!step && setup_warning(l->setup))
		worker_link_event(l->link, "warning", step, "%s", setup_warning(l->setup));
	if (!step)
		tell_small_split(l);
	tell_rules(l);
}

/* ---- by router, mix and parameter group ------------------------------------------------------- */

/* Is `step` one of those that log routers and groups? */
static bool in_detail(const struct worker_log *l, long step)
{
	const struct run_spec *spec = &l->setup->spec;

	return step % run_log_every(spec) == 0 || step == run_steps(spec);
}

static void add_micro(struct router_sums *r, const struct setup *s, int i)
{
	const struct graph *g = s->graphs[GRAPH_TRAIN];
	const struct router_names *names = &s->routers;
	double choices = graph_read(g, names->choices[GRAPH_TRAIN][i], 1);

	for (long e = 0; e < r->n_experts; e++)
		r->load[e] += choices * graph_read(g, names->load[i], e);
	r->choices += choices;
	for (int k = 0; k < N_ROUTER_MEANS; k++)
		r->means[k] += names->means[k][i] ? graph_read(g, names->means[k][i], 0) : NAN;
	setup_add_routed(s, GRAPH_TRAIN, i, &r->routed);
}

static void begin_step(struct worker_log *l)
{
	for (int i = 0; i < l->setup->routers.n; i++) {
		struct router_sums *r = &l->routers[i];
		*r = (struct router_sums){.n_experts = r->n_experts, .load = r->load};
		memset(r->load, 0, (size_t)r->n_experts * sizeof *r->load);
	}
	memset(l->shares, 0, (size_t)l->setup->n_shares * sizeof *l->shares);
}

void worker_log_micro(struct worker_log *l, long step, long micro)
{
	const struct setup *s = l->setup;

	if (!in_detail(l, step))
		return;
	if (micro == 0)
		begin_step(l);
	for (int i = 0; i < s->routers.n; i++)
		add_micro(&l->routers[i], s, i);
	for (int i = 0; i < s->n_shares; i++)
		l->shares[i] += graph_read(s->graphs[GRAPH_TRAIN], s->shares[i], 0);
}

static double tokens_after(const struct worker_log *l, long step)
{
	return (double)step * run_step_tokens(&l->setup->spec);
}

static void log_router(struct worker_log *l, long step, int i)
{
	const struct router_sums *sum = &l->routers[i];
	struct record r = record_new(RECORD_IS_EXPERT);
	double positions = tokens_after(l, 1) / (double)l->setup->model.patch;
	double micro_batches = (double)l->setup->micro_batches;

	r.expert.dead = 0;
	for (long e = 0; e < sum->n_experts; e++) {
		l->load[e] = (float)(sum->load[e] / fmax(sum->choices, 1));
		r.expert.dead += sum->load[e] == 0;
	}
	r.expert.step = step;
	r.expert.router = i;
	r.expert.load = (struct record_reals){l->load, (int)sum->n_experts};
	r.expert.entropy = sum->means[MEAN_OF_ENTROPY] / micro_batches;
	r.expert.importance = sum->means[MEAN_OF_IMPORTANCE] / micro_batches;
	r.expert.load_cv2 = sum->means[MEAN_OF_LOAD] / micro_batches;
	r.expert.mean_entropy = sum->means[MEAN_OF_MEAN_ENTROPY] / micro_batches;
	r.expert.drop = routed_drop_share(&sum->routed);
	r.expert.choices = sum->routed.computed / positions;
	r.expert.unserved = 1 - sum->routed.served / positions;
	r.expert.width = l->setup->routers.computed[i] ? sum->routed.wide / sum->routed.computed : NAN;
	worker_link_add(l->link, &r);
}

static void log_mix(struct worker_log *l, long step, int i)
{
	struct record r = record_new(RECORD_IS_MIX);
	const struct graph *g = l->setup->graphs[GRAPH_TRAIN];
	const char *name = l->setup->shares[i];

	r.mix.step = step;
	r.mix.mix = i;
	r.mix.share = l->shares[i] / (double)l->setup->micro_batches;
	if (tensor_size(graph_metric_shape(g, name)) > 1)	/* of weights alone: every micro-batch has it */
		r.mix.spread = graph_read(g, name, 1);
	worker_link_add(l->link, &r);
}

static void log_state(struct worker_log *l, long step, const struct controller *c)
{
	const struct param *p = &l->setup->params.list[c->param];
	struct record r = record_new(RECORD_IS_STATE);
	long n = param_elements(p);

	r.state.step = step;
	r.state.state = p->name;
	r.state.least = r.state.most = c->state[0];
	r.state.mean = 0;
	for (long e = 0; e < n; e++) {
		r.state.least = fmin(r.state.least, c->state[e]);
		r.state.most = fmax(r.state.most, c->state[e]);
		r.state.mean += c->state[e] / (double)n;
	}
	worker_link_add(l->link, &r);
}

static void log_group(struct worker_log *l, long step, int i)
{
	struct graph *g = l->setup->graphs[GRAPH_UPDATE];
	struct record r = record_new(RECORD_IS_GROUP);
	double weights = sqrt(graph_read(g, "weightsq", i));

	r.group.step = step;
	r.group.group = l->setup->params.groups[i];
	r.group.grad_norm = sqrt(graph_read(g, "sumsq", i));
	r.group.weight_norm = weights;
	r.group.update_ratio = weights > 0 ? sqrt(graph_read(g, "updatesq", i)) / weights : NAN;
	worker_link_add(l->link, &r);
}

/* ---- steps and evaluations ------------------------------------------------------------------ */

void worker_log_step(struct worker_log *l, const struct progress *p, const struct step_result *s,
	double seconds)
{
	const struct run_spec *spec = &l->setup->spec;
	struct record r = record_new(RECORD_IS_STEP);

	r.step.step = p->step;
	r.step.tokens = llround(tokens_after(l, p->step));
	r.step.seconds = p->seconds;
	r.step.flops = p->flops;
	r.step.ce = s->ce;
	r.step.aux = l->setup->routers.n ? s->aux : NAN;
	r.step.balance = s->balance;
	r.step.z = s->z;
	r.step.drop = s->drop;
	r.step.lr = run_lr(spec, p->step - 1);
	r.step.grad_norm = s->grad_norm;
	r.step.clipped = spec->clip > 0 && s->grad_norm > spec->clip;
	r.step.tokens_per_s = tokens_after(l, 1) / seconds;
	worker_link_add(l->link, &r);
	if (!in_detail(l, p->step))
		return;
	for (int i = 0; i < l->setup->routers.n; i++)
		log_router(l, p->step, i);
	for (int i = 0; i < l->setup->n_shares; i++)
		log_mix(l, p->step, i);
	for (int i = 0; i < l->setup->control.n; i++)
		log_state(l, p->step, &l->setup->control.list[i]);
	for (int i = 0; i < l->setup->params.n_groups; i++)
		log_group(l, p->step, i);
}

static void log_slice(struct worker_log *l, long step, const char *kind, const struct loss_slice *s)
{
	for (int i = 0; i < s->classes->n; i++) {
		struct record r = record_new(RECORD_IS_SLICE);
		if (s->tokens[i] == 0)
			continue;
		r.slice.kind = kind;
		r.slice.step = step;
		r.slice.by = s->classes->by;
		r.slice.low = s->classes->low[i];
		r.slice.high = s->classes->high[i];
		r.slice.loss = s->nll[i] / s->tokens[i];
		r.slice.n_tokens = llround(s->tokens[i]);
		worker_link_add(l->link, &r);
	}
}

/* What models say of answers, or of a forecast; and what rules do that learn nothing. */
static void add_scores(struct recall_record *r, const struct recall_score *score, bool forecasts,
	const struct baseline *b)
{
	double n = (double)score->tokens;

	r->loss = score->nll / n;
	r->accuracy = forecasts ? NAN : (double)score->right / n;
	r->answer_accuracy = forecasts ? NAN : (double)score->whole / (double)score->answers;
	r->mae = forecasts ? score->error / n : NAN;
	r->majority = b->majority;
	r->last_mse = b->last_mse;
	r->last_mae = b->last_mae;
	r->season_mse = b->season_mse;
	r->season_mae = b->season_mae;
}

void worker_log_recall(struct worker_log *l, const struct progress *p, const struct dataset_split *of,
	const struct recall_score *score)
{
	struct record r = record_new(RECORD_IS_RECALL);

	if (!score->answers)
		return;
	r.recall.test = of ? of->name : "val";
	r.recall.step = p->step;
	r.recall.tokens = llround(tokens_after(l, p->step));
	if (of)
		r.recall.length = of->length;
	if (of && of->items)
		r.recall.items = of->items;
	add_scores(&r.recall, score, l->setup->model.forecasts,
		&l->baselines[of ? of - l->data->splits : l->evaluator->windows.split]);
	r.recall.n_tokens = score->tokens;
	r.recall.n_answers = score->answers;
	worker_link_add(l->link, &r);
}

void worker_log_eval(struct worker_log *l, const struct progress *p, const char *kind,
	const struct evaluation *e)
{
	struct record r = record_new(RECORD_IS_EVAL);

	r.eval.kind = kind;
	r.eval.step = p->step;
	r.eval.tokens = llround(tokens_after(l, p->step));
	r.eval.seconds = p->seconds;
	r.eval.flops = p->flops;
	r.eval.loss = e->loss;
	r.eval.bpb = e->bpb;
	r.eval.accuracy = e->accuracy;
	r.eval.loss_bigram = e->loss_bigram;
	r.eval.share_bigram = e->share_bigram;
	r.eval.drop = e->drop;
	r.eval.n_tokens = e->n_tokens;
	r.eval.windows = l->evaluator->hash;
	r.eval.capacity = capacity_rule(l, kind);
	r.eval.choices = e->choices;
	r.eval.unserved = e->unserved;
	worker_link_add(l->link, &r);
	for (int k = 0; k < N_SLICES; k++)
		log_slice(l, p->step, kind, &e->slices[k]);
	if (!strcmp(kind, "val"))
		worker_log_recall(l, p, NULL, &e->answers);
}
