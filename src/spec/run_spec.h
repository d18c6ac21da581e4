/*
 * What a spec says about a run besides its architecture: recipe, batch, schedule, data, evaluation.
 * These keys are common to all architectures.
 */
#ifndef SPEC_RUN_SPEC_H
#define SPEC_RUN_SPEC_H

#include "spec/config.h"

struct run_spec {
	const char *arch, *recipe, *question;
	long seed;
	/* training */
	long batch, context;		/* sequences per step, tokens per sequence */
	long tokens;			/* of the whole run; rounded up to whole steps */
	long micro_batch;		/* sequences per replay; 0: the whole batch */
	double lr, lr_final, warmup;	/* peak; final share of it; share of the steps */
	long warmup_min;		/* steps */
	double clip, weight_decay, beta1, beta2, eps;
	double position_gain;		/* weight of a token's loss by position (op/position_weight.h) */
	long position_from;
	const char *recompute;
	const char *init_from, *init_hash;	/* "": weights begin by the seed */
	/* data */
	const char *data_path, *sampling;
	long data_seed, data_vocab;
	bool reset_at_eot;
	/* evaluation, checkpoints, log */
	const char *eval_split;		/* "val", or "tune" for trials that choose a value */
	long eval_every, eval_tokens, eval_tests_every;
	double checkpoint_every_s;
	long checkpoint_keep, log_every;
	long samples_every, samples_tokens;	/* texts of the model while it trains; every 0: none */
	double samples_temperature;
	const struct node *samples_prompts;	/* a list of texts */
	/* another spec to equal (plan/match.h); empty once solved */
	const char *match_to, *match_by, *match_solve;
};

extern const struct field_table run_fields;
extern const struct preset run_presets[];
extern const int n_run_presets;

/*
 * Content, not the name, of the file that train.init_from names belongs to a run's identity: sets
 * train.init_hash, or checks it if it is set. For plans, before the identity is taken. 0, or -1 after
 * a message.
 */
int run_spec_pin(struct arena *a, struct config *c);

/* Fills *s from the config and checks what ranges cannot say. 0, or -1 after a message. */
int run_spec_open(struct run_spec *s, const struct config *c);

/* Do rows of the batch go on from step to step, with their states (data.sampling: stream)? */
bool run_streams(const struct run_spec *s);
long run_steps(const struct run_spec *s);		/* updates of the whole run */
double run_step_tokens(const struct run_spec *s);
long run_warmup_steps(const struct run_spec *s);	/* at least 1 */
long run_eval_every(const struct run_spec *s);		/* steps between evaluations */
long run_log_every(const struct run_spec *s);		/* steps between rows by expert and group */

/*
 * Learning rate of update `step` (from 0): linear warm-up lr (step + 1) / warm-up, then a cosine from
 * lr to lr_final * lr at the end (arXiv:2401.04081; Loshchilov and Hutter 2017, arXiv:1608.03983).
 */
double run_lr(const struct run_spec *s, long step);

#endif
