#include "data/ask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/order.h"
#include "data/pairs.h"
#include "data/sentence.h"
#include "data/words.h"

enum { ORDER, CLOZE, LAST, COPY, N_FOUND, PAIRS = N_FOUND, N_SETS = PAIRS + N_PAIR_KINDS };
static const char *const found_names[N_FOUND] = {"order", "cloze", "last", "copy"};

enum {
	LEAST_LETTERS = 4,
	NEAR = 25,		/* ranks on either side that other choices are drawn from */
	OTHERS = 3,
	COPIED = 5,		/* words of an answer of `copy`, at most */
};

struct asker {
	const struct ask_options *o;
	struct words words;		/* of training */
	struct words pairs, fronts;	/* "before word", and the words in front that are asked about */
	const char **ranks;		/* words that may be a choice, the more frequent first */
	long n_ranks;
	bool wanted[N_SETS];
	long n_taken[N_SETS];
	struct questions found[N_FOUND];
	struct pairs found_pairs;
	const char *document;		/* its text */
	long n_sentences;		/* seen so far */
};

/* ---- words of training ---------------------------------------------------------------------- */

static void count_word(void *to, const char *word, size_t n, const char *before, size_t n_before)
{
	struct asker *a = to;

	(void)before, (void)n_before;
	words_find(&a->words, word, n, true)->count++;
}

static long count_of(const struct asker *a, struct span s)
{
	const struct word *w = words_find((struct words *)&a->words, s.at, s.n, false);

	return w ? w->count : 0;
}

static bool may_be_asked(const struct asker *a, struct span s)
{
	return s.n >= LEAST_LETTERS && span_is_small(s) && count_of(a, s) >= a->o->least;
}

struct ranked {
	const char *text;
	long count;
};

static int more_frequent(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;

	return x->count != y->count ? (x->count < y->count ? 1 : -1) : strcmp(x->text, y->text);
}

static void rank_words(struct asker *a)
{
	struct ranked *list = xcalloc((size_t)a->words.n + 1, sizeof *list);

	for (long i = 0; i < a->words.size; i++) {
		const struct word *w = &a->words.slots[i];
		if (w->text && may_be_asked(a, (struct span){w->text, strlen(w->text)}))
			list[a->n_ranks++] = (struct ranked){w->text, w->count};
	}
	qsort(list, (size_t)a->n_ranks, sizeof *list, more_frequent);
	a->ranks = xcalloc((size_t)a->n_ranks + 1, sizeof *a->ranks);
	for (long i = 0; i < a->n_ranks; i++)
		a->ranks[i] = list[i].text;
	free(list);
}

/* ---- sentences ------------------------------------------------------------------------------ */

static struct rng_block draws(const struct asker *a, int set)
{
	struct rng_key key = {a->o->seed, hash_u64(found_names[set]), 0};

	return rng_block(key, (uint64_t)a->n_sentences);
}

/* From a word's border on, at most so many bytes in front of `end`, in the document. */
static struct span in_front(const struct asker *a, const char *end)
{
	const char *at = end - a->document > a->o->context ? end - a->o->context : a->document;

	while (at > a->document && at < end && !isspace((unsigned char)at[-1]))
		at++;
	return (struct span){at, (size_t)(end - at)};
}

/* The first place from a drawn one on where neighbours are words of small letters, and differ. */
static void ask_order(struct asker *a, const struct sentence *s)
{
	struct span sentence = s->text;
	const struct span *words = s->words;
	int n = s->n;
	int first = (int)(draws(a, ORDER).word[0] % (uint32_t)(n - 3));

	for (int k = 0; k < n - 3; k++) {
		const struct span *u = &words[1 + (first + k) % (n - 3)], *v = u + 1;
		if (!span_parted(*u, *v) || !span_is_small(*u) || !span_is_small(*v) ||
			(u->n == v->n && !memcmp(u->at, v->at, u->n)))
			continue;
		const char *behind = v->at + v->n;
		char *whole = span_text(sentence), *turned = xasprintf("%.*s%.*s%c%.*s%.*s",
			(int)(u->at - sentence.at), sentence.at, (int)v->n, v->at, v->at[-1], (int)u->n, u->at,
			(int)(sentence.at + sentence.n - behind), behind);
		questions_add(&a->found[ORDER], &(struct question){found_names[ORDER], "", {whole, turned}, 2, 0});
		free(whole);
		free(turned);
		return;
	}
}

static long rank_of(const struct asker *a, struct span s)
{
	struct span w;

	for (long i = 0; i < a->n_ranks; i++) {
		w = (struct span){a->ranks[i], strlen(a->ranks[i])};
		if (w.n == s.n && !memcmp(w.at, s.at, s.n))
			return i;
	}
	BUG("a word without a rank");
}

/* The word and OTHERS that are near it in rank, in an order of chance. */
static void add_cloze(struct asker *a, struct span word, struct span context, struct rng_block chance)
{
	long rank = rank_of(a, word), low = rank > NEAR ? rank - NEAR : 0;
	long high = rank + NEAR < a->n_ranks ? rank + NEAR : a->n_ranks - 1;
	struct question q = {.set = found_names[CLOZE], .n_choices = 1 + OTHERS,
		.answer = (int)(chance.word[1] % (1 + OTHERS))};
	struct permutation p;
	uint64_t at = 0;
	char *front = span_text(context);

	if (high - low < OTHERS) {
		free(front);
		return;
	}
	permutation_init(&p, (uint64_t)(high - low + 1), chance.word[2], 0);
	q.context = front;
	for (int i = 0; i < q.n_choices; i++) {
		long r = rank;
		while (i != q.answer && (r = low + (long)permutation_at(&p, at++)) == rank)
			;
		q.choices[i] = xasprintf("%c%s", word.at[-1], a->ranks[r]);
	}
	questions_add(&a->found[CLOZE], &q);
	for (int i = 0; i < q.n_choices; i++)
		free((char *)q.choices[i]);
	free(front);
}

static void ask_cloze(struct asker *a, const struct sentence *s)
{
	const struct span *words = s->words;
	int n = s->n;
	struct rng_block chance = draws(a, CLOZE);
	int first = (int)(chance.word[0] % (uint32_t)(n - 1));

	for (int k = 0; k < n - 1; k++) {
		int i = 1 + (first + k) % (n - 1);
		if (!span_parted(words[i - 1], words[i]) || !may_be_asked(a, words[i]))
			continue;
		struct span context = in_front(a, words[i].at - 1);
		if (span_is_text(context))
			add_cloze(a, words[i], context, chance);
		return;
	}
}

static bool stands_in(struct span text, struct span word)
{
	for (const char *at = text.at; at + word.n <= text.at + text.n; at++)
		if (!memcmp(at, word.at, word.n) && (at == text.at || !is_letter(at[-1])) &&
			(at + word.n == text.at + text.n || !is_letter(at[word.n])))
			return true;
	return false;
}

static void ask_last(struct asker *a, const struct sentence *s)
{
	struct span word = s->words[s->n - 1], before = s->words[s->n - 2], context = in_front(a, word.at - 1);
	char *front, *choice;

	if (!span_parted(before, word) || !may_be_asked(a, word) || !stands_in(context, word) || !span_is_text(context))
		return;
	front = span_text(context);
	choice = xasprintf("%c%.*s", word.at[-1], (int)word.n, word.at);
	questions_add(&a->found[LAST], &(struct question){found_names[LAST], front, {choice}, 1, 0});
	words_find(&a->fronts, before.at, before.n, true);
	free(front);
	free(choice);
}

/* The text that ends with the sentence, a blank line, and the same up to the middle of the sentence. */
static void ask_copy(struct asker *a, const struct sentence *s)
{
	const struct span *words = s->words;
	int n = s->n;
	const struct span *first = &words[n / 2], *last = &words[n / 2 + COPIED < n ? n / 2 + COPIED - 1 : n - 1];
	struct span text = in_front(a, s->text.at + s->text.n);
	char *context, *choice;

	if (text.at > words[0].at || !span_parted(first[-1], *first) || !span_is_text(text))
		return;
	context = xasprintf("%.*s\n\n%.*s", (int)text.n, text.at, (int)(first->at - 1 - text.at), text.at);
	choice = span_text((struct span){first->at - 1, (size_t)(last->at + last->n - first->at) + 1});
	questions_add(&a->found[COPY], &(struct question){found_names[COPY], context, {choice}, 1, 0});
	free(context);
	free(choice);
}

static void ask_sentence(struct asker *a, struct span text)
{
	static void (*const ask[N_FOUND])(struct asker *a, const struct sentence *s) = {
		ask_order, ask_cloze, ask_last, ask_copy};
	bool in_room = (long)text.n <= a->o->context;
	struct sentence s;

	a->n_sentences++;
	if (!sentence_read(&s, text))
		return;
	for (int set = 0; set < N_FOUND; set++)
		if (a->wanted[set] && (set != ORDER || in_room))
			ask[set](a, &s);
	for (int kind = 0; kind < N_PAIR_KINDS; kind++)
		if (a->wanted[PAIRS + kind] && in_room)
			pairs_ask(&a->found_pairs, kind, &s, (uint64_t)a->n_sentences);
}

static void ask_document(struct asker *a, const char *text, size_t n)
{
	size_t begin = 0;

	a->document = text;
	for (size_t i = 0; i < n; i++) {
		if (i == begin && isspace((unsigned char)text[i]))
			begin++;
		if (!strchr(".?!", text[i]) || !text[i] || (i + 1 < n && !isspace((unsigned char)text[i + 1])))
			continue;
		ask_sentence(a, (struct span){text + begin, i + 1 - begin});
		begin = i + 1;
	}
}

static int ask_split(struct asker *a, const struct dataset *d)
{
	const struct dataset_split *s = &d->splits[a->o->split];
	struct tokenizer t;
	struct str text;
	int ret = tokenizer_open(&t, d->tokenizer);

	str_init(&text);
	for (long at = 0; at <= s->n_tokens && !ret; at++) {
		int32_t id = d->eot;
		if (at < s->n_tokens)
			ret = dataset_read(d, a->o->split, at, 1, &id);
		if (id != d->eot) {
			tokenizer_decode(&t, &id, 1, &text);
			continue;
		}
		ask_document(a, text.text, text.length);
		str_clear(&text);
	}
	if (t.type)
		tokenizer_close(&t);
	str_release(&text);
	return ret;
}

/* ---- what follows a word most often --------------------------------------------------------- */

static void count_pair(void *to, const char *word, size_t n, const char *before, size_t n_before)
{
	struct asker *a = to;
	char *pair;

	if (!before || !words_find(&a->fronts, before, n_before, false))
		return;
	pair = xasprintf("%.*s %.*s", (int)n_before, before, (int)n, word);
	words_find(&a->pairs, pair, strlen(pair), true)->count++;
	free(pair);
}

/* Of equally frequent ones the first in the alphabet. */
static void find_followers(struct asker *a)
{
	for (long i = 0; i < a->pairs.size; i++) {
		const struct word *pair = &a->pairs.slots[i];
		const char *blank = pair->text ? strchr(pair->text, ' ') : NULL;
		struct word *front = blank ? words_find(&a->fronts, pair->text, (size_t)(blank - pair->text), false)
			: NULL;
		if (!front || pair->count < front->next_count ||
			(pair->count == front->next_count && strcmp(blank + 1, front->next) > 0))
			continue;
		front->next = blank + 1;
		front->next_count = pair->count;
	}
}

/* The word in front of the choice ends the context. */
static bool expected(const struct asker *a, const struct question *q)
{
	size_t n = strlen(q->context), begin = n;
	const struct word *front;

	while (begin && is_letter(q->context[begin - 1]))
		begin--;
	front = words_find((struct words *)&a->fronts, q->context + begin, n - begin, false);
	return front && front->next && !strcmp(front->next, q->choices[0] + 1);
}

static int drop_expected(struct asker *a, const struct dataset *d)
{
	struct questions *last = &a->found[LAST];
	long n = 0;

	if (words_scan(d, SPLIT_TRAIN, a->o->train_tokens, count_pair, a))
		return -1;
	find_followers(a);
	for (long i = 0; i < last->n; i++)
		if (!expected(a, &last->list[i]))
			last->list[n++] = last->list[i];
	last->n = n;
	return 0;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const char *set_name(int set)
{
	return set < N_FOUND ? found_names[set] : pair_kind_names[set - PAIRS];
}

void ask_set_names(struct str *names)
{
	for (int set = 0; set < N_SETS; set++)
		str_printf(names, "%s%s", set ? "," : "", set_name(set));
}

/* The sets that are named, between commas. */
static int want(struct asker *a, const char *names)
{
	struct str known;

	str_init(&known);
	ask_set_names(&known);
	for (const char *at = names ? names : known.text; at; at = *at ? at + 1 : NULL) {
		struct span name = {at, strcspn(at, ",")};
		int set = 0;
		while (set < N_SETS && !span_is(name, set_name(set)))
			set++;
		if (set == N_SETS) {
			error("no set of questions \"%.*s\": there are %s", (int)name.n, name.at, known.text);
			str_release(&known);
			return -1;
		}
		a->wanted[set] = true;
		at += name.n;
	}
	str_release(&known);
	return 0;
}

static const char in_twos[] = "pairs of one word exchanged come in twos";

/* Sets that the text gives nothing for, beside others. */
static void say_missing(const struct asker *a, const struct dataset *d)
{
	const char *split = d->splits[a->o->split].name;

	for (int set = 0; set < N_SETS; set++) {
		if (!a->wanted[set] || a->n_taken[set])
			continue;
		if (set == CLOZE || set == LAST)
			warning("%s: split %s: no question of the set %s: its words have %d letters at least, and stand %ld "
				"times in training (--least)", d->folder, split, set_name(set), LEAST_LETTERS, a->o->least);
		else if (set >= PAIRS)
			warning("%s: split %s: no question of the set %s: %s (--sets leaves it out)", d->folder, split,
				set_name(set), a->o->n < 2 ? in_twos : "the text has no two English words that it exchanges");
		else
			warning("%s: split %s: no question of the set %s", d->folder, split, set_name(set));
	}
}

/* At most n of each set, by chance but in the order of the text. */
static void take(struct asker *a, struct questions *q)
{
	for (int set = 0; set < N_SETS; set++) {
		const struct questions *found = set < N_FOUND ? &a->found[set] : NULL;
		struct permutation p;
		long before = q->n;
		if (!found)
			pairs_take(&a->found_pairs, set - PAIRS, q);
		else if (found->n)
			permutation_init(&p, (uint64_t)found->n, a->o->seed, (uint32_t)set);
		for (long i = 0; found && i < found->n; i++)
			if ((long)permutation_at(&p, (uint64_t)i) < a->o->n)
				questions_add(q, &found->list[i]);
		a->n_taken[set] = q->n - before;
	}
}

static void release(struct asker *a)
{
	for (int set = 0; set < N_FOUND; set++)
		questions_release(&a->found[set]);
	pairs_release(&a->found_pairs);
	words_release(&a->words);
	words_release(&a->pairs);
	words_release(&a->fronts);
	free(a->ranks);
}

int data_ask(const struct dataset *d, const struct ask_options *o, struct questions *q)
{
	struct asker a = {.o = o, .found_pairs = {.most = o->n, .seed = o->seed}};
	int ret;

	*q = (struct questions){0};
	if (d->splits[o->split].row)
		return error("%s: holds rows of examples, no text to ask about", d->folder);
	if (want(&a, o->sets))
		return -1;
	ret = words_scan(d, SPLIT_TRAIN, o->train_tokens, count_word, &a) ? -1 : 0;
	if (!ret) {
		rank_words(&a);
		ret = ask_split(&a, d) || drop_expected(&a, d) ? -1 : 0;
	}
	if (!ret)
		take(&a, q);
	if (!ret && !q->n)
		ret = error("%s: split %s: no sentence to ask about, of %ld: it must have 6 to 64 words, and be UTF-8%s%s%s",
			d->folder, d->splits[o->split].name, a.n_sentences, o->sets ? ", and fit a set of --sets" : "",
			o->n < 2 ? "; " : "", o->n < 2 ? in_twos : "");
	if (!ret)
		say_missing(&a, d);
	release(&a);
	return ret;
}
