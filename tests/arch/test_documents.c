/*
 * Documents kept apart in whole architectures (data.reset_at_eot): what comes before the end of one changes nothing
 * behind it, and a document gives what it gives alone. The CPU's tests are done on GPUs too, as in test_arch.c.
 */
#include "rig_seen.h"

#include "base/cpu.h"

/* Tokens of a sequence: beyond two tiles of attention, or beyond one where all takes long. */
enum { LONG = ON_EMULATOR || UNDER_SANITIZERS ? 80 : 144, N_LOGITS = LONG * VOCAB };

/* Logits of the rig's tokens: VOCAB for each of LONG tokens. */
static void logits_of(struct rig *rig, double *logits)
{
	rig_loss(rig);
	graph_read_all(rig->g, "lm_head.logits", logits);
}

/* One sequence of two documents, the first ended by token `end`. */
static void open_documents(struct rig *rig, const struct rig_case *c, enum device_id device,
	bool reset, int end)
{
	rig_open(rig, c->spec, (struct rig_options){.device = device, .batch = 1, .context = LONG,
		.dropless = true, .logits = true, .documents = reset});
	for (int t = 0; t < LONG; t++)
		rig->tokens[t] = t == end ? VOCAB - 1 : (t * t + 5 * t) % (VOCAB - 1);
}

/* Rows of picked tokens move up when another document has fewer, and tiles with them: what is added up is the
   same, its order is not. Experts have as many rows as tokens chose them, and a product's bits may depend on their
   number. All else changes no bit. */
static double rounding(const struct rig_case *c, enum device_id device)
{
	bool picked = !strncmp(c->name, "mod", strlen("mod")), chosen = strstr(c->spec, "moe");

	if (device == REF)
		return picked ? 1e-12 : 0;
	return picked || chosen ? 1e-5 : 0;
}

/* Of each token the largest change of its logits when token `at` is another. */
static void changes_of(struct rig *rig, int at, double changes[LONG])
{
	static double before[N_LOGITS], after[N_LOGITS];

	logits_of(rig, before);
	rig->tokens[at] = (rig->tokens[at] + 1) % (VOCAB - 1);
	logits_of(rig, after);
	memset(changes, 0, LONG * sizeof *changes);
	for (int i = 0; i < N_LOGITS; i++) {
		double change = fabs(before[i] - after[i]);
		if (!(change <= changes[i / VOCAB]) && !isnan(changes[i / VOCAB]))
			changes[i / VOCAB] = change;
	}
}

/* First token from `from` on that changes by more than `limit`; LONG if none do. */
static int first_changed(const double changes[LONG], int from, double limit)
{
	int t = from;

	while (t < LONG && changes[t] <= limit)
		t++;
	return t;
}

static bool is_known(struct rig_seen *seen, const struct rig_case *c, enum device_id device)
{
	struct rig rig;
	bool known;

	open_documents(&rig, c, device, true, 1);
	known = rig_is_known(seen, rig.g, device);
	rig_close(&rig);
	return known;
}

/* Borders in and on the tiles of scan and attention; end of text belongs to what it ends. Without documents the
   test must see it; of GPUs the emulator need not show that. */
static void check_apart(const struct rig_case *c, enum device_id device)
{
	static struct rig_seen seen;
	const int ends[] = {1, 30, 63, 64, 127, 128};

	if (is_known(&seen, c, device))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i += device_is_host(&device_list[device]) && !UNDER_SANITIZERS ? 1 : 3)
		for (int reset = rig_spares(device); reset < 2; reset++) {
			struct rig rig;
			double changes[LONG];
			int end = ends[i], first;
			open_documents(&rig, c, device, reset, end);
			changes_of(&rig, end - 1, changes);
			assert_int_equal(first_changed(changes, end, rounding(c, device)), end);
			first = first_changed(changes, end + 1, rounding(c, device));
			if (first != (reset ? LONG : end + 1))
				fail_msg("%s on %s, reset %d, end of text at %d: token %d changes token %d",
					c->name, device_list[device].name, reset, end, end - 1, first);
			rig_close(&rig);
		}
}

static void test_documents_apart(void **state)
{
	for (const enum device_id *d = devices(); *d != N_DEVICES && rig_stands_alone(*state) &&
		!rig_reads_values(*state); d++)
		if (!is_bf16(*d))
			check_apart(*state, *d);
}

/* A document in the middle of a sequence has the logits that it has at the beginning of one. */
static void check_alone(const struct rig_case *c, enum device_id device, double limit)
{
	static double inside[N_LOGITS], alone[N_LOGITS];
	static struct rig_seen seen;
	const int ends[] = {2, 70, 63};

	if (is_known(&seen, c, device))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i += rig_spares(device) || UNDER_SANITIZERS ? 2 : 1) {
		struct rig rig;
		int first = ends[i] + 1;
		double error = 0;
		open_documents(&rig, c, device, true, ends[i]);
		logits_of(&rig, inside);
		memmove(rig.tokens, rig.tokens + first, (size_t)(LONG - first) * sizeof(int));
		logits_of(&rig, alone);
		for (int k = first * VOCAB; k < N_LOGITS; k++)
			error = fmax(error, fabs(inside[k] - alone[k - first * VOCAB]));
		if (!(error <= limit))
			fail_msg("%s on %s: a document from token %d on has logits that are off by %.2g",
				c->name, device_list[device].name, first, error);
		rig_close(&rig);
	}
}

static void test_document_alone(void **state)
{
	for (const enum device_id *d = devices(); *d != N_DEVICES && rig_stands_alone(*state) &&
		!rig_reads_values(*state); d++)
		if (!is_bf16(*d))
			check_alone(*state, *d, *d == REF ? 1e-12 : 1e-4);
}

int main(int argc, char **argv)
{
	static const struct rig_test each[] = {{"documents apart", test_documents_apart, false},
		{"document alone", test_document_alone, false}};

	(void)argc;
	blas_start(argv);
	return rig_run("documents", each, ARRAY_SIZE(each), NULL, 0);
}
