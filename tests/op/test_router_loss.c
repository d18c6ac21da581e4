/*
 * Losses of routers (router_loss, noisy_load, reinforce) in cases small enough to know the answer, on all
 * devices that are there, and the way in which a small step down each moves the router.
 */
#include "base/cpu.h"
#include "op/choose.h"
#include "op/noisy_load.h"
#include "op/reinforce.h"
#include "op/router_loss.h"
#include "op/score.h"
#include "pieces.h"

enum { N = 32, E = 4, K = 2 };

/* Scores of these logits, and the losses of N tokens that choose the K best. */
static void losses(struct arena *a, const struct device *d, const double *logits, struct call *score,
	struct call *loss)
{
	static const struct score_attr softmax = {SCORE_SOFTMAX, 1};
	static const struct choose_attr two = {.k = K};
	static const struct router_loss_attr group = {.group_tokens = N};
	struct tensor *logit = masters(a, d, N, E, logits);

	*score = call(a, &op_score, d, &softmax, (struct tensor *[SCORE_N_IN]){logit});
	struct call choose = call(a, &op_choose, d, &two, (struct tensor *[CHOOSE_N_IN]){score->out[0]});
	*loss = call(a, &op_router_loss, d, &group, (struct tensor *[ROUTER_LOSS_N_IN]){logit,
		score->out[0], choose.out[0]});
}

/* Each expert is chosen as often: the two best are neighbours. */
static void even(struct arena *a, const struct device *d)
{
	double logits[N * E] = {0}, h = 0, p[2] = {exp(2), 1};
	struct call score, loss;

	for (int t = 0; t < N; t++)
		logits[t * E + t % E] = logits[t * E + (t + 1) % E] = 2;
	losses(a, d, logits, &score, &loss);
	for (int k = 0; k < 2; k++)
		h -= 2 * p[k] / (2 * exp(2) + 2) * log(p[k] / (2 * exp(2) + 2));
	expect_values(&loss, loss.out[ROUTER_LOSS_BALANCE], "balance", (double[]){1}, 1e-6);
	expect_values(&loss, loss.out[ROUTER_LOSS_IMPORTANCE], "importance", (double[]){0}, 1e-6);
	expect_values(&loss, loss.out[ROUTER_LOSS_H_MEAN], "h_mean", (double[]){log(E)}, 1e-6);
	expect_values(&loss, loss.out[ROUTER_LOSS_H_TOKEN], "h_token", &h, 1e-6);
	expect_values(&loss, loss.out[ROUTER_LOSS_Z], "z",
		(double[]){pow(log(2 * exp(2) + 2), 2)}, 1e-5);
}

static void test_losses_at_uniform(void **state)
{
	(void)state;
	on_devices(even);
}

/* Tokens prefer expert 0, and the last expert is nobody's. */
static void uneven_logits(double *logits)
{
	for (int i = 0; i < N * E; i++)
		logits[i] = 0.3 * noise(i) + (i % E == 0 ? 1 : i % E == E - 1 ? -1 : 0);
}

/* One small step down weight * output: what becomes of the output and of the last expert's mean score. */
struct step {
	double before, after, p_before, p_after;
};

static double mean_of_last(const struct call *score)
{
	double sum = 0;

	for (int t = 0; t < N; t++)
		sum += get(score->run.device, score->out[0], t * E + E - 1) / N;
	return sum;
}

static struct step descend(struct arena *a, const struct device *d, int out, double weight)
{
	double logits[N * E];
	struct call score, loss;
	struct step s;

	uneven_logits(logits);
	losses(a, d, logits, &score, &loss);
	s.before = get(d, loss.out[out], 0);
	s.p_before = mean_of_last(&score);
	backward(&loss, out, one(a, d, weight));
	score.run.d_in[0] = loss.d_in[ROUTER_LOSS_LOGIT_BTE];
	score.run.add = ~0u;
	backward(&score, 0, loss.d_in[ROUTER_LOSS_S_BTE]);
	for (int i = 0; i < N * E; i++)
		logits[i] -= 0.5 * N * get(d, score.run.d_in[0], i);
	losses(a, d, logits, &score, &loss);
	s.after = get(d, loss.out[out], 0);
	s.p_after = mean_of_last(&score);
	return s;
}

/* Entropy of the mean is subtracted from the loss: added it would drive all tokens to one expert. */
static void signs(struct arena *a, const struct device *d)
{
	struct step balance = descend(a, d, ROUTER_LOSS_BALANCE, 0.1),
		importance = descend(a, d, ROUTER_LOSS_IMPORTANCE, 0.1),
		mean = descend(a, d, ROUTER_LOSS_H_MEAN, -0.1),
		wrong = descend(a, d, ROUTER_LOSS_H_MEAN, 0.1),
		token = descend(a, d, ROUTER_LOSS_H_TOKEN, 0.1), z = descend(a, d, ROUTER_LOSS_Z, 0.1);

	assert_true(balance.p_after > balance.p_before && balance.after < balance.before);
	assert_true(importance.p_after > importance.p_before && importance.after < importance.before);
	assert_true(mean.p_after > mean.p_before && mean.after > mean.before);
	assert_true(wrong.p_after < wrong.p_before && wrong.after < wrong.before);
	assert_true(token.after < token.before);
	assert_true(z.after < z.before);
}

static void test_signs_of_losses(void **state)
{
	(void)state;
	on_devices(signs);
}

/* Two experts, one choice: the first is held against 0 and the second against 1. */
static void load_by_hand(struct arena *a, const struct device *d)
{
	static const struct noisy_load_attr attr = {1, 1, 1};
	const double zero[] = {0, 0}, noisy_logits[] = {1, 0};
	struct call c = call(a, &op_noisy_load, d, &attr, (struct tensor *[NOISY_LOAD_N_IN]){
		masters(a, d, 1, 2, zero), masters(a, d, 1, 2, noisy_logits)});
	double low = erfc(1 / sqrt(2)) / 2, m = (0.5 + low) / 2, V = pow((0.5 - low) / 2, 2);

	expect_values(&c, c.out[NOISY_LOAD_LOSS], "loss", (double[]){V / (m * m)}, 1e-6);
}

/* One small step down the loss of loads, noise held: the emptiest expert gains. */
static void load_sign(struct arena *a, const struct device *d)
{
	static const struct noisy_load_attr attr = {K, 0.5, N};
	static const struct score_attr softmax = {SCORE_SOFTMAX, 1};
	double logits[2][N * E], noisy_logits[N * E], loss[2], p[2];

	uneven_logits(logits[0]);
	for (int step = 0; step < 2; step++) {
		for (int i = 0; i < N * E; i++)
			noisy_logits[i] = logits[step][i] + noise(1000 + i) / 4;
		struct tensor *logit = masters(a, d, N, E, logits[step]);
		struct call c = call(a, &op_noisy_load, d, &attr, (struct tensor *[NOISY_LOAD_N_IN]){logit,
			masters(a, d, N, E, noisy_logits)});
		struct call score = call(a, &op_score, d, &softmax, (struct tensor *[SCORE_N_IN]){logit});
		loss[step] = get(d, c.out[0], 0);
		p[step] = mean_of_last(&score);
		backward(&c, 0, one(a, d, 0.1));
		for (int i = 0; i < N * E && step == 0; i++)
			logits[1][i] = logits[0][i] - 0.5 * N * (get(d, c.d_in[NOISY_LOAD_LOGIT_BTE], i) +
				get(d, c.d_in[NOISY_LOAD_NOISY_BTE], i));
	}
	assert_true(loss[1] < loss[0] && p[1] > p[0]);
}

static void test_loss_of_noisy_loads(void **state)
{
	(void)state;
	on_devices(load_by_hand);
	on_devices(load_sign);
}

/* Even scores of three experts: an expert gains logit by a token whose loss is below the baseline. */
static void policy(struct arena *a, const struct device *d)
{
	static const struct score_attr softmax = {SCORE_SOFTMAX, 1};
	const double zero[9] = {0}, expert[] = {0, 2, 1}, nll[] = {1, 3, 9}, b = 2.5;
	struct call score = call(a, &op_score, d, &softmax, (struct tensor *[SCORE_N_IN]){masters(a, d, 3, 3, zero)});
	struct call c = call(a, &op_reinforce, d, NULL, (struct tensor *[REINFORCE_N_IN]){score.out[0],
		ints(a, d, 3, 1, expert), filled(a, d, tensor_of(MASTER, 2, 1L, 3L), nll), one(a, d, b),
		filled(a, d, tensor_of(INDEX, 2, 1L, 3L), (double[]){0, 5, -1})});

	expect_values(&c, c.out[0], "loss", (double[]){(-1.5 + 0.5) * log(1 / 3.0) / 2}, 1e-6);
	backward(&c, 0, one(a, d, 2));
	backward(&score, 0, c.d_in[REINFORCE_S_BTE]);
	expect_values(&score, score.d_in[0], "dlogit", (double[]){-1.5 * 2 / 3, 0.5, 0.5,
		-0.5 / 3, -0.5 / 3, 0.5 * 2 / 3,  0, 0, 0}, 1e-5);
}

static void test_draws_are_taught_by_their_loss(void **state)
{
	(void)state;
	on_devices(policy);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_losses_at_uniform),
		cmocka_unit_test(test_signs_of_losses),
		cmocka_unit_test(test_loss_of_noisy_loads),
		cmocka_unit_test(test_draws_are_taught_by_their_loss),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
