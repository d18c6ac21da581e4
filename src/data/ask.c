#include "data/ask.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/order.h"
#include "data/words.h"

enum { ORDER, CLOZE, LAST, COPY, N_SETS };
static const char *const set_name[N_SETS] = {"order", "cloze", "last", "copy"};

enum {
	MAX_WORDS = 64,		/* of a sentence that is asked about */
	LEAST_WORDS = 6,
	LEAST_LETTERS = 4,
	NEAR = 25,		/* ranks on either side that other choices are drawn from */
	OTHERS = 3,
	COPIED = 5,		/* words of an answer of `copy`, at most */
};

struct span {
	const char *at;
	size_t n;
};

struct asker {
	const struct ask_options *o;
	struct words words;		/* of training */
	struct words pairs, fronts;	/* "before word", and the words in front that are asked about */
	const char **ranks;		/* words that may be a choice, the more frequent first */
	long n_ranks;
	struct questions found[N_SETS];
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

static bool small_letters(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!islower((unsigned char)s.at[i]))
			return false;
	return true;
}

static long count_of(const struct asker *a, struct span s)
{
	const struct word *w = words_find((struct words *)&a->words, s.at, s.n, false);

	return w ? w->count : 0;
}

static bool may_be_asked(const struct asker *a, struct span s)
{
	return s.n >= LEAST_LETTERS && small_letters(s) && count_of(a, s) >= a->o->least;
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
	struct rng_key key = {a->o->seed, hash_u64(set_name[set]), 0};

	return rng_block(key, (uint64_t)a->n_sentences);
}

static char *text_of(struct span s)
{
	return xasprintf("%.*s", (int)s.n, s.at);
}

/* From a word's border on, at most so many bytes in front of `end`, in the document. */
static struct span in_front(const struct asker *a, const char *end)
{
	const char *at = end - a->document > a->o->context ? end - a->o->context : a->document;

	while (at > a->document && at < end && !isspace((unsigned char)at[-1]))
		at++;
	return (struct span){at, (size_t)(end - at)};
}

/* Can questions hold it? They are JSON. Import takes bytes of all kinds. */
static bool is_text(struct span s)
{
	for (const char *p = s.at; p < s.at + s.n;)
		if (!*p || str_next_code(&p) < 0)
			return false;
	return true;
}

/* Is there one blank or line feed in front of the word? */
static bool parted(struct span before, struct span word)
{
	return before.at + before.n + 1 == word.at && isspace((unsigned char)word.at[-1]);
}

/* The first place from a drawn one on where neighbours are words of small letters, and differ. */
static void ask_order(struct asker *a, struct span sentence, const struct span *words, int n)
{
	int first = (int)(draws(a, ORDER).word[0] % (uint32_t)(n - 3));

	if ((long)sentence.n > a->o->context)
		return;
	for (int k = 0; k < n - 3; k++) {
		const struct span *u = &words[1 + (first + k) % (n - 3)], *v = u + 1;
		if (!parted(*u, *v) || !small_letters(*u) || !small_letters(*v) ||
			(u->n == v->n && !memcmp(u->at, v->at, u->n)))
			continue;
		const char *behind = v->at + v->n;
		char *whole = text_of(sentence), *turned = xasprintf("%.*s%.*s%c%.*s%.*s",
			(int)(u->at - sentence.at), sentence.at, (int)v->n, v->at, v->at[-1], (int)u->n, u->at,
			(int)(sentence.at + sentence.n - behind), behind);
		questions_add(&a->found[ORDER], &(struct question){set_name[ORDER], "", {whole, turned}, 2, 0});
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
	struct question q = {.set = set_name[CLOZE], .n_choices = 1 + OTHERS,
		.answer = (int)(chance.word[1] % (1 + OTHERS))};
	struct permutation p;
	uint64_t at = 0;
	char *front = text_of(context);

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

static void ask_cloze(struct asker *a, const struct span *words, int n)
{
	struct rng_block chance = draws(a, CLOZE);
	int first = (int)(chance.word[0] % (uint32_t)(n - 1));

	for (int k = 0; k < n - 1; k++) {
		int i = 1 + (first + k) % (n - 1);
		if (!parted(words[i - 1], words[i]) || !may_be_asked(a, words[i]))
			continue;
		struct span context = in_front(a, words[i].at - 1);
		if (is_text(context))
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

static void ask_last(struct asker *a, const struct span *words, int n)
{
	struct span word = words[n - 1], before = words[n - 2], context = in_front(a, word.at - 1);
	char *front, *choice;

	if (!parted(before, word) || !may_be_asked(a, word) || !stands_in(context, word) || !is_text(context))
		return;
	front = text_of(context);
	choice = xasprintf("%c%.*s", word.at[-1], (int)word.n, word.at);
	questions_add(&a->found[LAST], &(struct question){set_name[LAST], front, {choice}, 1, 0});
	words_find(&a->fronts, before.at, before.n, true);
	free(front);
	free(choice);
}

/* The text that ends with the sentence, a blank line, and the same up to the middle of the sentence. */
static void ask_copy(struct asker *a, struct span sentence, const struct span *words, int n)
{
	const struct span *first = &words[n / 2], *last = &words[n / 2 + COPIED < n ? n / 2 + COPIED - 1 : n - 1];
	struct span text = in_front(a, sentence.at + sentence.n);
	char *context, *choice;

	if (text.at > words[0].at || !parted(first[-1], *first) || !is_text(text))
		return;
	context = xasprintf("%.*s\n\n%.*s", (int)text.n, text.at, (int)(first->at - 1 - text.at), text.at);
	choice = text_of((struct span){first->at - 1, (size_t)(last->at + last->n - first->at) + 1});
	questions_add(&a->found[COPY], &(struct question){set_name[COPY], context, {choice}, 1, 0});
	free(context);
	free(choice);
}

static void ask_sentence(struct asker *a, struct span s)
{
	struct span words[MAX_WORDS];
	int n = 0;

	a->n_sentences++;
	if (!is_text(s))
		return;
	for (size_t at = 0; at < s.n;) {
		size_t begin = at;
		while (at < s.n && is_letter(s.at[at]))
			at++;
		if (at > begin && n == MAX_WORDS)
			return;
		if (at > begin)
			words[n++] = (struct span){s.at + begin, at - begin};
		at += at == begin;
	}
	if (n < LEAST_WORDS || words[n - 1].at + words[n - 1].n != s.at + s.n - 1)
		return;
	ask_order(a, s, words, n);
	ask_cloze(a, words, n);
	ask_last(a, words, n);
	ask_copy(a, s, words, n);
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

/* Sets that the text gives nothing for, beside others. */
static void say_missing(const struct asker *a, const struct dataset *d)
{
	for (int set = 0; set < N_SETS; set++) {
		bool counts = set == CLOZE || set == LAST;
		if (!a->found[set].n && counts)
			warning("%s: split %s: no question of the set %s: its words have %d letters at least, and stand %ld "
				"times in training (--least)", d->folder, d->splits[a->o->split].name, set_name[set],
				LEAST_LETTERS, a->o->least);
		else if (!a->found[set].n)
			warning("%s: split %s: no question of the set %s", d->folder, d->splits[a->o->split].name,
				set_name[set]);
	}
}

/* At most n of each set, by chance but in the order of the text. */
static void take(const struct asker *a, struct questions *q)
{
	for (int set = 0; set < N_SETS; set++) {
		const struct questions *found = &a->found[set];
		struct permutation p;
		if (found->n)
			permutation_init(&p, (uint64_t)found->n, a->o->seed, (uint32_t)set);
		for (long i = 0; i < found->n; i++)
			if ((long)permutation_at(&p, (uint64_t)i) < a->o->n)
				questions_add(q, &found->list[i]);
	}
}

int data_ask(const struct dataset *d, const struct ask_options *o, struct questions *q)
{
	struct asker a = {.o = o};
	int ret = 0;

	*q = (struct questions){0};
	if (d->splits[o->split].row)
		return error("%s: holds rows of examples, no text to ask about", d->folder);
	if (words_scan(d, SPLIT_TRAIN, o->train_tokens, count_word, &a))
		ret = -1;
	if (!ret) {
		rank_words(&a);
		ret = ask_split(&a, d) || drop_expected(&a, d) ? -1 : 0;
	}
	if (!ret)
		take(&a, q);
	if (!ret && !q->n)
		ret = error("%s: split %s: no sentence to ask about, of %ld: it must have 6 to 64 words, and be UTF-8",
			d->folder, d->splits[o->split].name, a.n_sentences);
	if (!ret)
		say_missing(&a, d);
	for (int set = 0; set < N_SETS; set++)
		questions_release(&a.found[set]);
	words_release(&a.words);
	words_release(&a.pairs);
	words_release(&a.fronts);
	free(a.ranks);
	return ret;
}
