/* moelab params SPEC...: parameters, FLOPs, initial scales and bytes, without allocating a model. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/error.h"
#include "base/str.h"
#include "cmd/options.h"
#include "plan/match.h"
#include "train/cost.h"

extern const struct cmd cmd_params;

static void print_line(const char *what, double n, const char *rule)
{
	char count[32];

	printf("  %-26s %16s   %s\n", what, str_count(llround(n), count), rule);
}

static void print_params(const struct cost *c)
{
	const struct cost_params *p = &c->params;

	printf("parameters\n");
	print_line("total", p->total, "without embedding and head");
	print_line("active per token", p->active, "all of a layer, the chosen experts of a mixture in their mean width, "
		"its router");
	print_line("active without routers", p->active_without_routers, "");
	print_line("embedding", p->embedding, "true vocabulary, no padding");
	print_line("head", p->head, "");
}

static void print_flops(const struct cost *c)
{
	printf("model FLOPs per token       forward     backward   (multiply-add 2, no padding, no "
		"recomputation)\n");
	for (int i = 0; i < c->n_parts; i++)
		printf("  %-16s %16.4g %12.4g\n", c->parts[i].name, c->parts[i].forward,
			c->parts[i].backward);
	printf("  %-16s %16.4g forward + backward; without the head %.4g\n", "total", c->flops_per_token,
		c->flops_per_token - c->head_per_token);
	printf("  %-16s %16.4g with padding and recomputation\n", "executed", c->executed_per_token);
	printf("  %-16s %16.4g per step\n", "optimiser", c->optimiser_per_step);
}

static void print_bytes(const struct setup *s, const struct cost *c)
{
	char weights[32], optimiser[32], arena[32], kept[32], total[32];

	printf("memory on %s, micro-batch %ld x %ld tokens\n", s->device->name, s->spec.micro_batch,
		s->spec.context);
	printf("  weights %s, gradients and moments %s, activations and workspace %s (%s of it kept for "
		"backward)\n  total %s\n", str_bytes(c->weight_bytes, weights),
		str_bytes(c->optimiser_bytes, optimiser), str_bytes(c->activation_bytes, arena),
		str_bytes(c->kept_bytes, kept), str_bytes(c->total_bytes, total));
}

static const char *fill_text(const struct param_rule *r, char *text, size_t size)
{
	static const char *const names[] = {[FILL_CONSTANT] = "constant", [FILL_UNIFORM] = "uniform",
		[FILL_NORMAL] = "normal", [FILL_A_LOG] = "log(1..N)", [FILL_DT_BIAS] = "inverse softplus",
		[FILL_LOG_UNIFORM] = "log of uniform"};

	if (r->fill == FILL_NORMAL)
		snprintf(text, size, "normal, std %.5g, cut at %g", r->a, r->b);
	else if (r->fill == FILL_UNIFORM || r->fill == FILL_DT_BIAS || r->fill == FILL_LOG_UNIFORM)
		snprintf(text, size, "%s, %.5g to %.5g", names[r->fill], r->a, r->b);
	else if (r->fill == FILL_CONSTANT)
		snprintf(text, size, "constant %g", r->a);
	else
		snprintf(text, size, "%s", names[r->fill]);
	return text;
}

/* Initial scales of the first layer of each kind: later layers of a kind repeat them. */
static void print_init(const struct setup *s)
{
	char shape[64], text[96];

	printf("initial values\n");
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		long layer = -1;
		if (sscanf(p->name, "layers.%ld.", &layer) == 1 && layer > 1)
			continue;
		printf("  %-34s %-18s %s%s\n", p->name, tensor_shape_text(&p->shape, shape),
			fill_text(&p->rule, text, sizeof text), p->rule.decay ? "" : "; no decay");
	}
}

static json_t *cost_json(const struct setup *s, const struct cost *c)
{
	json_t *parts = json_object(), *root;

	for (int i = 0; i < c->n_parts; i++)
		json_object_set_new(parts, c->parts[i].name, json_pack("{s:f, s:f}", "forward",
			c->parts[i].forward, "backward", c->parts[i].backward));
	root = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "spec", s->config->file, "arch",
		s->config->choice, "params_total", c->params.total, "params_active", c->params.active,
		"params_active_without_routers", c->params.active_without_routers, "params_embedding",
		c->params.embedding, "params_head", c->params.head, "flops_per_token", c->flops_per_token,
		"flops_by_part", parts);
	json_object_set_new(root, "flops_executed_per_token", json_real(c->executed_per_token));
	json_object_set_new(root, "optimiser_flops_per_step", json_real(c->optimiser_per_step));
	json_object_set_new(root, "weight_bytes", json_real(c->weight_bytes));
	json_object_set_new(root, "optimiser_bytes", json_real(c->optimiser_bytes));
	json_object_set_new(root, "activation_bytes", json_real(c->activation_bytes));
	json_object_set_new(root, "total_bytes", json_real(c->total_bytes));
	return root;
}

static int print_spec(const char *path, const struct arguments *a, const struct device *device,
	json_t *list)
{
	struct arena arena = {0};
	struct config config;
	struct setup setup;
	struct cost cost;
	int ret = match_load(&arena, path, a->overrides, a->n_overrides, device, &config) ||
		setup_open(&setup, &config, device, 0) ? EXIT_USAGE : EXIT_DONE;

	if (!ret) {
		if (setup_warning(&setup))
			warning("%s: %s", config.file, setup_warning(&setup));
		cost_of(&setup, &cost);
		if (list) {
			json_array_append_new(list, cost_json(&setup, &cost));
		} else {
			printf("%s: %s\n", path, config.choice);
			print_params(&cost);
			print_flops(&cost);
			print_bytes(&setup, &cost);
			if (log_level > LOG_NORMAL || a->n_words == 1)
				print_init(&setup);
		}
		setup_close(&setup);
	}
	arena_release(&arena);
	return ret;
}

static int run(int argc, char **argv)
{
	bool json = false;
	const char *name = "cpu";
	const struct option_row rows[] = {
		{"json", 0, NULL, "as one JSON array", .flag = &json},
		{"device", 0, "NAME", "whose memory: ref, cpu, cuda_scan or cuda", .text = &name},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_params, rows, argc, argv, &a);
	const struct device *device;
	json_t *list;

	if (ret != GO_ON)
		return ret;
	device = device_find(name);
	if (!device || !a.n_words)
		return device ? (error("params takes specs: moelab params experiments/25m/mamba.yaml"),
			EXIT_USAGE) : EXIT_USAGE;
	ret = EXIT_DONE;
	list = json ? json_array() : NULL;
	for (int i = 0; i < a.n_words && !ret; i++)
		ret = print_spec(a.words[i], &a, device, list);
	if (list && !ret)
		json_dumpf(list, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	json_decref(list);
	return ret;
}

const struct cmd cmd_params = {
	.name = "params",
	.arguments = "SPEC... [key=value...]",
	.help = "parameters, FLOPs, initial scales and memory of a model; nothing is trained",
	.run = run,
};
