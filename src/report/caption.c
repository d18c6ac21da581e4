#include "report/caption.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *caption_seeds(const struct study *s, char *buffer, int *most)
{
	int least = s->n_runs, largest = 0;

	for (int i = 0; i < s->n_arms; i++) {
		least = s->arms[i].n < least ? s->arms[i].n : least;
		largest = s->arms[i].n > largest ? s->arms[i].n : largest;
	}
	if (least == largest)
		snprintf(buffer, 32, "%d seed%s", largest, largest == 1 ? "" : "s");
	else
		snprintf(buffer, 32, "%d to %d seeds", least, largest);
	if (most)
		*most = largest;
	return buffer;
}

/* --- learning rates -------------------------------------------------------------------------- */

static const char rate_key[] = "train.lr";

/* Who chose a rate: the words of study_rate_choice(), and what they mean where they stand. */
static const struct {
	const char *word, *text;
} choices[] = {
	{"tuned", "tuned by trials of their own"},
	{"paper", "the paper's"},
	{"untuned", "untuned"},
};

/* "mamba 0.002, moe_mamba 0.001": those chosen so; only the rate if all have the same. */
static int list_rates(struct study *s, const char *choice, struct str *out)
{
	double first = arm_number(&s->arms[0], rate_key);
	bool same = true;
	int n = 0;

	for (int i = 0; i < s->n_arms; i++)
		same = same && !(fabs(arm_number(&s->arms[i], rate_key) - first) > 0) &&
			!strcmp(study_rate_choice(s, &s->arms[i]), choice);
	for (int i = 0; i < s->n_arms; i++) {
		const struct arm *v = &s->arms[i];
		if (strcmp(study_rate_choice(s, v), choice))
			continue;
		if (n == 0 || !same)
			str_add_item(out, "%s%s%.4g", same ? "" : v->label, same ? "" : " ", arm_number(v, rate_key));
		n++;
	}
	return n;
}

/* A sweep of trials varies the rate: nothing is chosen yet. */
static void learning_rates(struct study *s, struct str *out)
{
	const char *between = " Learning rates: ";

	if (study_is_trials(s))
		return;
	for (int i = 0; i < (int)ARRAY_SIZE(choices); i++) {
		struct str rates;
		str_init(&rates);
		if (list_rates(s, choices[i].word, &rates)) {
			str_printf(out, "%s%s (%s)", between, choices[i].text, rates.text);
			between = "; ";
		}
		str_release(&rates);
	}
	if (*between == ';')
		str_add(out, ".");
}

/* --- the whole ------------------------------------------------------------------------------- */

void caption_facts(struct study *s, struct str *out)
{
	const struct run_data *r = &s->runs[0];
	const char *context = run_text(r, "train.context"), *split = run_text(r, "eval.split");
	char seeds[32];

	str_printf(out, "%s of each configuration.", caption_seeds(s, seeds, NULL));
	if (context)
		str_printf(out, " Context of %s tokens, evaluation on the split %s.", context,
			split ? split : "val");
	learning_rates(s, out);
}

/* The rule is the first of the notes; not every figure follows it. */
static bool is_rule(const struct study *s, const char *text)
{
	size_t n = strlen(s->rule->name);

	return str_starts(text, "rule ") && !strncmp(text + 5, s->rule->name, n) &&
		text[5 + n] == ':';
}

static void sentences(const struct study *s, enum note_kind kind, bool with_rule,
	const char *between, struct str *out)
{
	for (int i = 0; i < s->notes.n; i++) {
		const struct note *n = &s->notes.items[i];
		if (n->kind != kind || (!with_rule && is_rule(s, n->text)))
			continue;
		str_add(out, between);
		note_sentence(n, out);
	}
}

void caption_of_figure(struct study *s, const struct chart *c, struct str *out)
{
	sentences(s, NOTE_STAMP, true, "", out);
	str_add(out, out->length ? " " : "");
	note_sentence(&(struct note){NOTE_PLAIN, c->headline}, out);
	str_add(out, " ");
	note_sentence(&(struct note){NOTE_PLAIN, c->marks}, out);
	str_add(out, " ");
	caption_facts(s, out);
	sentences(s, NOTE_PLAIN, !c->ruleless, " ", out);
	sentences(s, NOTE_WARNING, true, "\n\n", out);
	str_add(out, "\n");
}
