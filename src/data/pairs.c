#include "data/pairs.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/rng.h"

const char *const pair_kind_names[N_PAIR_KINDS] = {"agreement", "article", "pronoun"};

/* ---- which words, and where ----------------------------------------------------------------- */

enum { CLOSE = 3 };		/* words in front that `not_close` looks at */

/* Lists are words between blanks, one at either end, capitals or not; NULL: no such rule. */
struct rule {
	const char *behind;		/* one of these stands directly in front */
	const char *not_behind;		/* none of these does */
	const char *not_close;		/* none of these is one of the CLOSE words in front */
	const char *not_close_final;	/* nor does one of them end with one of these */
	const char *without;		/* none of these stands anywhere in front */
	const char *not_before;		/* none of these stands directly behind */
	const char *not_initial;	/* nor a word that begins with one of these */
	const char *not_final;		/* nor one that ends with one of these */
	bool needs_next;		/* a word of small letters, two or more, stands directly behind */
};

/* Subjects of either number. */
#define EITHER " none all some most any half rest more lot number majority pair what who family government " \
	"committee council company public army crew crowd couple "
/* A verb's bare form, which says no number, is behind one of these. */
#define BARE " to will would shall should can could may might must cannot let lets make makes made help helped " \
	"do does did not never ever t ll d "	/* don't with a mark that is no apostrophe is two words */
#define BARE_FINAL " n't 'll 'd "
/* Behind a preposition this and that are no conjunctions, subjects or adverbs ... */
#define PREPOSITIONS " of in on at to for from by with into upon under over after before during through against " \
	"between among within without about "
/* ... and in front of one of these no determiners but pronouns, which may have either number. */
#define FUNCTION " is are was were be been have has had do does did will would shall should can could may might " \
	"must of in on at to for from by with into upon under over after before during through against between " \
	"among within without about and or nor but as than that which who whom whose what when where while if so " \
	"there here too also only just not no a an the his their its my our your he him she her it they them we us " \
	"i you me means series species kind kinds sort sorts same very "

static const struct rule finite_verb = {.not_behind = EITHER};
/* If I were, as it were: a mood, which says no number. */
static const struct rule past_verb = {.not_behind = EITHER,
	.without = " if though unless whether wish wishes wished suppose lest as would "};
static const struct rule bare_verb = {.not_behind = EITHER, .not_close = BARE, .not_close_final = BARE_FINAL};
/* To those observed, from that applying: pronouns, too. */
static const struct rule determiner = {.behind = PREPOSITIONS, .not_before = FUNCTION, .not_final = " ed ing ",
	.needs_next = true};
/* Writers differ where letter and sound do: an historian, an unit, such an one. */
static const struct rule sound = {.not_initial = " h u eu ew one once ", .needs_next = true};
/* Where both cases are heard: than him, it is me, he and me; or are right: see them come, see they come. */
static const struct rule grammatical_case = {
	.not_behind = " than as but except save like and or nor not is was are were be been see hear feel ",
	.not_before = " and or nor "};

static const struct pair {
	int kind;
	const char *word[2];
	const struct rule *rule;	/* of both */
} table[] = {
	{PAIR_AGREEMENT, {"is", "are"}, &finite_verb},
	{PAIR_AGREEMENT, {"was", "were"}, &past_verb},
	{PAIR_AGREEMENT, {"has", "have"}, &bare_verb},
	{PAIR_AGREEMENT, {"does", "do"}, &bare_verb},
	{PAIR_AGREEMENT, {"this", "these"}, &determiner},
	{PAIR_AGREEMENT, {"that", "those"}, &determiner},
	{PAIR_ARTICLE, {"a", "an"}, &sound},
	{PAIR_PRONOUN, {"he", "him"}, &grammatical_case},
	{PAIR_PRONOUN, {"they", "them"}, &grammatical_case},
	{PAIR_PRONOUN, {"we", "us"}, &grammatical_case},
	{PAIR_PRONOUN, {"I", "me"}, &grammatical_case},
};
_Static_assert(ARRAY_SIZE(table) == N_PAIRS, "a row for each pair");

enum part { WHOLE, BEGINNING, END };

/* Is the word, its beginning or its end an entry of the list? */
static bool listed(const char *list, struct span word, enum part part)
{
	for (const char *at = list; at && at[1]; at += 1 + strcspn(at + 1, " ")) {
		size_t n = strcspn(at + 1, " "), skip = part == END && n < word.n ? word.n - n : 0;
		if (n <= word.n && !strncasecmp(at + 1, word.at + skip, n) && (part != WHOLE || n == word.n))
			return true;
	}
	return false;
}

static bool listed_in_front(const char *list, const struct sentence *s, int i, int n, enum part part)
{
	for (int k = i - 1; k >= 0 && k >= i - n; k--)
		if (listed(list, s->words[k], part))
			return true;
	return false;
}

static bool fits_in_front(const struct rule *r, const struct sentence *s, int i)
{
	return i > 0 && span_parted(s->words[i - 1], s->words[i]) &&
		(!r->behind || listed(r->behind, s->words[i - 1], WHOLE)) &&
		!listed(r->not_behind, s->words[i - 1], WHOLE) &&
		!listed_in_front(r->not_close, s, i, CLOSE, WHOLE) &&
		!listed_in_front(r->not_close_final, s, i, CLOSE, END) && !listed_in_front(r->without, s, i, i, WHOLE);
}

/* A sentence ends with a mark, so that there is a byte behind every word. */
static bool fits_behind(const struct rule *r, const struct sentence *s, int i)
{
	struct span word = s->words[i], next = {0};
	char mark = word.at[word.n];

	if (!isspace((unsigned char)mark) && !strchr(",;:.?!", mark))
		return false;
	if (i + 1 < s->n && span_parted(word, s->words[i + 1]))
		next = s->words[i + 1];
	if (r->needs_next && (next.n < 2 || !span_is_small(next)))
		return false;
	return !listed(r->not_before, next, WHOLE) && !listed(r->not_initial, next, BEGINNING) &&
		!listed(r->not_final, next, END);
}

/* The pair, and which of its words stands there; false: none of the kind's. */
static bool find_pair(int kind, const struct sentence *s, int i, int *pair, int *form)
{
	for (*pair = 0; *pair < N_PAIRS; ++*pair)
		for (*form = 0; *form < 2; ++*form)
			if (table[*pair].kind == kind && span_is(s->words[i], table[*pair].word[*form]))
				return fits_in_front(table[*pair].rule, s, i) && fits_behind(table[*pair].rule, s, i);
	return false;
}

/* ---- those that are kept -------------------------------------------------------------------- */

struct held {
	uint64_t chance;	/* those of the least are taken */
	uint64_t number;	/* of the sentence */
	char *text;
	int at;			/* byte of the word */
	int pair, form;
};

static int by_number(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	return (x->number > y->number) - (x->number < y->number);
}

static int by_chance(const void *a, const void *b)
{
	const struct held *x = a, *y = b;

	return x->chance != y->chance ? (x->chance > y->chance ? 1 : -1) : by_number(a, b);
}

static void keep_least(struct held_sentences *h, long n)
{
	if (h->n)
		qsort(h->list, (size_t)h->n, sizeof *h->list, by_chance);
	while (h->n > n)
		free(h->list[--h->n].text);
}

/* The word exchanged must leave as many of either: none can give more than half. */
static void hold(struct pairs *p, const struct held *one)
{
	struct held_sentences *h = &p->held[one->pair][one->form];

	if (h->n >= p->most)
		keep_least(h, p->most / 2);
	GROW(h->list, h->n + 1, h->size);
	h->list[h->n++] = *one;
}

void pairs_ask(struct pairs *p, int kind, const struct sentence *s, uint64_t number)
{
	struct rng_key key = {p->seed, hash_u64(pair_kind_names[kind]), 0};
	struct rng_block chance = rng_block(key, number);
	int first = (int)(chance.word[0] % (uint32_t)s->n);
	struct held one = {.chance = (uint64_t)chance.word[1] << 32 | chance.word[2], .number = number};

	for (int k = 0; k < s->n; k++) {
		int i = (first + k) % s->n;
		if (!find_pair(kind, s, i, &one.pair, &one.form))
			continue;
		one.at = (int)(s->words[i].at - s->text.at);
		one.text = span_text(s->text);
		hold(p, &one);
		return;
	}
}

/* How often each pair is asked about: evenly, and of each word as often as of the other, as far as they go. */
static long share_out(struct pairs *p, int kind, long n_of[N_PAIRS])
{
	long n = 0, before = -1;

	memset(n_of, 0, N_PAIRS * sizeof *n_of);
	while (n != before) {
		before = n;
		for (int i = 0; i < N_PAIRS; i++)
			if (table[i].kind == kind && n < p->most / 2 &&
				n_of[i] < min_long(p->held[i][0].n, p->held[i][1].n)) {
				n_of[i]++;
				n++;
			}
	}
	return 2 * n;
}

static void add_pair(struct questions *q, const struct held *h)
{
	const struct pair *pair = &table[h->pair];
	const char *other = pair->word[!h->form], *behind = h->text + h->at + strlen(pair->word[h->form]);
	char *changed = xasprintf("%.*s%s%s", h->at, h->text, other, behind);

	questions_add(q, &(struct question){pair_kind_names[pair->kind], "", {h->text, changed}, 2, 0});
	free(changed);
}

void pairs_take(struct pairs *p, int kind, struct questions *q)
{
	long n_of[N_PAIRS], n_all = share_out(p, kind, n_of), n = 0;
	struct held *all = xcalloc((size_t)n_all + 1, sizeof *all);

	for (int i = 0; i < N_PAIRS; i++)
		for (int form = 0; form < 2; form++) {
			struct held_sentences *h = &p->held[i][form];
			if (!n_of[i])
				continue;
			qsort(h->list, (size_t)h->n, sizeof *h->list, by_chance);
			memcpy(all + n, h->list, (size_t)n_of[i] * sizeof *all);
			n += n_of[i];
		}
	qsort(all, (size_t)n, sizeof *all, by_number);
	for (long i = 0; i < n; i++)
		add_pair(q, &all[i]);
	free(all);
}

void pairs_release(struct pairs *p)
{
	for (int i = 0; i < N_PAIRS; i++)
		for (int form = 0; form < 2; form++) {
			keep_least(&p->held[i][form], 0);
			free(p->held[i][form].list);
		}
	*p = (struct pairs){0};
}
