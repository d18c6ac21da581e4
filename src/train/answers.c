#include "train/answers.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "train/checkpoint.h"

/* A choice on its way through the model, and what it says. */
struct said {
	double log_p, per_character;
	bool greedy;
	bool cut;	/* its context, in front */
};

struct asking {
	const struct trained *trained;
	const struct questions *questions;
	struct tokenizer tokenizer;
	struct setup setup;
	struct said (*said)[MAX_CHOICES];	/* of each question */
	/* of a replay, rows of T tokens: */
	long batch, T;
	int *tokens_BT, *targets_BT;
	double *nll_BT, *correct_BT;
	long *first_B;				/* the first position whose target is the choice's */
	struct said **row_B;			/* what it is about */
};

/* ---- texts to rows -------------------------------------------------------------------------- */

/* Bytes of the context but for blanks and line feeds at its end. */
static size_t context_length(const char *context)
{
	size_t n = strlen(context);

	while (n && isspace((unsigned char)context[n - 1]))
		n--;
	return n;
}

/* ids: of all; gives the number of those of the context. */
static long encode(const struct asking *a, const struct question *q, int choice, struct token_list *ids)
{
	char *whole = xasprintf("%s%s", q->context, q->choices[choice]);
	size_t n = context_length(q->context);
	long first;

	if (!n)
		token_list_add(ids, (uint16_t)a->tokenizer.type->eot);
	tokenizer_encode(&a->tokenizer, whole, n, ids);
	first = (long)ids->n;
	ids->n = n ? 0 : 1;
	tokenizer_encode(&a->tokenizer, whole, strlen(whole), ids);
	free(whole);
	return first < (long)ids->n ? first : (long)ids->n - 1;	/* one token may hold the border */
}

/* Names it by its first line. */
static int too_long(const char *choice, long n_tokens, long context)
{
	choice += strspn(choice, " \t\r\n");
	return error("\"%.*s\": %ld tokens, more than the training context of %ld: `moelab data ask --context` makes "
		"shorter ones", (int)strcspn(choice, "\r\n"), choice, n_tokens, context);
}

/* Row b becomes the choice, the last T tokens in front of its last one. -1 after a message. */
static int set_row(struct asking *a, long b, const struct question *q, int choice)
{
	int *tokens = a->tokens_BT + b * a->T, *targets = a->targets_BT + b * a->T;
	struct token_list ids = {0};
	long first = encode(a, q, choice, &ids), cut = (long)ids.n - 1 > a->T ? (long)ids.n - 1 - a->T : 0;
	int ret = cut < first ? 0 : too_long(q->choices[choice], (long)ids.n - first, a->T);

	for (long t = 0; t + cut + 1 < (long)ids.n && !ret; t++) {
		tokens[t] = ids.id[t + cut];
		targets[t] = ids.id[t + cut + 1];
	}
	a->first_B[b] = first - 1 - cut;
	a->row_B[b]->cut = cut > 0;
	token_list_release(&ids);
	return ret;
}

static long characters(const char *choice)
{
	long n = 0;

	while (isspace((unsigned char)*choice))
		choice++;
	for (; *choice; choice++)
		n += (*choice & 0xc0) != 0x80;
	return n ? n : 1;
}

/* ---- the model ------------------------------------------------------------------------------ */

static void clear_rows(struct asking *a)
{
	memset(a->tokens_BT, 0, (size_t)(a->batch * a->T) * sizeof *a->tokens_BT);
	for (long i = 0; i < a->batch * a->T; i++)
		a->targets_BT[i] = -1;
}

static void replay(struct asking *a, long n)
{
	struct graph *g = a->setup.graphs[GRAPH_EVAL];

	setup_replay(g, a->tokens_BT, a->targets_BT);
	graph_read_all(g, "nll", a->nll_BT);
	graph_read_all(g, "correct", a->correct_BT);
	for (long b = 0; b < n; b++) {
		struct said *said = a->row_B[b];
		said->greedy = true;
		for (long i = b * a->T + a->first_B[b]; i < (b + 1) * a->T && a->targets_BT[i] >= 0; i++) {
			said->log_p -= a->nll_BT[i];
			said->greedy = said->greedy && a->correct_BT[i] > 0;
		}
	}
	clear_rows(a);
}

static int ask_all(struct asking *a)
{
	long n = 0;

	clear_rows(a);
	for (long i = 0; i < a->questions->n; i++) {
		const struct question *q = &a->questions->list[i];
		for (int k = 0; k < q->n_choices; k++) {
			a->row_B[n] = &a->said[i][k];
			if (set_row(a, n++, q, k))
				return -1;
			if (n == a->batch) {
				replay(a, n);
				n = 0;
			}
		}
	}
	if (n)
		replay(a, n);
	for (long i = 0; i < a->questions->n; i++)
		for (int k = 0; k < a->questions->list[i].n_choices; k++)
			a->said[i][k].per_character = a->said[i][k].log_p /
				(double)characters(a->questions->list[i].choices[k]);
	return 0;
}

static int open_asking(struct asking *a, const struct device *device)
{
	struct run_spec spec;
	size_t n;

	if (run_spec_open(&spec, &a->trained->config) || trained_tokenizer(a->trained, NULL, &a->tokenizer))
		return -1;
	a->batch = spec.micro_batch;
	a->T = spec.context;
	n = (size_t)(a->batch * a->T);
	a->tokens_BT = xcalloc(n, sizeof *a->tokens_BT);
	a->targets_BT = xcalloc(n, sizeof *a->targets_BT);
	a->nll_BT = xcalloc(n, sizeof *a->nll_BT);
	a->correct_BT = xcalloc(n, sizeof *a->correct_BT);
	a->first_B = xcalloc((size_t)a->batch, sizeof *a->first_B);
	a->row_B = xcalloc((size_t)a->batch, sizeof *a->row_B);
	a->said = xcalloc((size_t)a->questions->n, sizeof *a->said);
	return setup_open_losses(&a->setup, &a->trained->config, device, a->trained->n_vocab, a->batch, a->T, 0) ||
		setup_allocate(&a->setup) || checkpoint_weights(&a->setup, a->trained->checkpoint, false) ? -1 : 0;
}

static void close_asking(struct asking *a)
{
	setup_close(&a->setup);
	if (a->tokenizer.type)
		tokenizer_close(&a->tokenizer);
	free(a->tokens_BT);
	free(a->targets_BT);
	free(a->nll_BT);
	free(a->correct_BT);
	free(a->first_B);
	free(a->row_B);
	free(a->said);
}

/* ---- scores --------------------------------------------------------------------------------- */

/* What counts for the answer: 1, a part of a tie, or 0. */
static double credit(const struct question *q, const struct said *said, bool per_character)
{
	double most = -INFINITY, own = 0;
	int n = 0;

	for (int k = 0; k < q->n_choices; k++) {
		double x = per_character ? said[k].per_character : said[k].log_p;
		if (x > most) {
			most = x;
			n = 0;
		}
		n += x == most;
		own = k == q->answer ? x : own;
	}
	return own == most ? 1.0 / n : 0;
}

/* For any of its choices? */
static bool is_cut(const struct question *q, const struct said *said)
{
	bool cut = false;

	for (int k = 0; k < q->n_choices; k++)
		cut = cut || said[k].cut;
	return cut;
}

struct sums {
	double x, xx;
};

static void add(struct sums *s, double x)
{
	s->x += x;
	s->xx += x * x;
}

static struct share share_of(const struct sums *s, long n)
{
	double mean = s->x / (double)n, squares = s->xx - mean * s->x;

	return (struct share){mean, n < 2 ? NAN : sqrt(fmax(squares, 0) / (double)(n - 1) / (double)n)};
}

static int score_set(const struct asking *a, const char *set, struct answer_score *score)
{
	struct sums acc = {0}, norm = {0};
	double chance = 0, log_p = 0;

	*score = (struct answer_score){.set = set};
	for (long i = 0; i < a->questions->n; i++) {
		const struct question *q = &a->questions->list[i];
		const struct said *said = a->said[i];
		bool single = q->n_choices == 1;
		if (strcmp(q->set, set))
			continue;
		if (score->n && single != score->single)
			return error("set %s: some of its questions have one choice, others several", set);
		score->single = single;
		score->n++;
		score->n_cut += is_cut(q, said);
		chance += single ? 0 : 1.0 / q->n_choices;
		log_p += said[q->answer].log_p;
		add(&acc, single ? said[0].greedy : credit(q, said, false));
		add(&norm, credit(q, said, true));
	}
	score->acc = share_of(&acc, score->n);
	score->acc_norm = score->single ? (struct share){NAN, NAN} : share_of(&norm, score->n);
	score->chance = chance / (double)score->n;
	score->ppl = exp(-log_p / (double)score->n);
	return 0;
}

static bool is_first(const struct questions *q, long i)
{
	for (long k = 0; k < i; k++)
		if (!strcmp(q->list[k].set, q->list[i].set))
			return false;
	return true;
}

struct answer_score *answers_run(const struct trained *t, const struct device *device,
	const struct questions *q, int *n)
{
	struct asking a = {.trained = t, .questions = q};
	struct answer_score *list = NULL;
	long size = 0;
	int ret = open_asking(&a, device) || ask_all(&a);

	*n = 0;
	for (long i = 0; i < q->n && !ret; i++) {
		if ((i && !strcmp(q->list[i].set, q->list[i - 1].set)) || !is_first(q, i))
			continue;
		GROW(list, *n + 1, size);
		ret = score_set(&a, q->list[i].set, &list[(*n)++]);
	}
	close_asking(&a);
	if (ret) {
		free(list);
		return NULL;
	}
	return list;
}
