/* What a worker measures, as records (store/record.h): of each step, each evaluation, and now and
   then of each router and parameter group. */
#ifndef TRAIN_WORKER_LOG_H
#define TRAIN_WORKER_LOG_H

#include "data/dataset.h"
#include "train/baseline.h"
#include "train/checkpoint.h"
#include "train/cost.h"
#include "train/evaluate.h"
#include "train/worker_link.h"

struct worker_log {
	struct worker_link *link;
	struct setup *setup;
	const struct dataset *data;
	const struct evaluator *evaluator;
	const struct baseline *baselines;	/* by split; of rows of examples */
	struct cost cost;
	struct router_sums *routers;	/* of the step that is being made */
	float *load;			/* of one router */
	double *shares;			/* of mixes and picked tokens, sums over micro-batches */
};

/* Keeps all pointers; memory comes from the setup's arena. */
void worker_log_open(struct worker_log *l, struct worker_link *link, struct setup *s,
	const struct dataset *d, const struct evaluator *evaluator, const struct baseline *baselines);
/* step: the one that it goes on from. Warns if that was reached on another processor. */
void worker_log_attempt(struct worker_log *l, long step);
/* After each micro-batch, its metrics fetched, of what will be update `step`: routers are logged
   of whole steps. */
void worker_log_micro(struct worker_log *l, long step, long micro);
/* seconds: of this step alone. */
void worker_log_step(struct worker_log *l, const struct progress *p, const struct step_result *r,
	double seconds);
/* of: NULL for the validation split. */
void worker_log_recall(struct worker_log *l, const struct progress *p, const struct dataset_split *of,
	const struct recall_score *score);
void worker_log_eval(struct worker_log *l, const struct progress *p, const char *kind,
	const struct evaluation *e);

#endif
