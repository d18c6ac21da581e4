/* What a forecast sees of later values. */
#include "rig.h"

#include "base/cpu.h"

static void value_losses(struct rig *rig, double *nll)
{
	rig_loss(rig);
	graph_read_all(rig->g, "nll", nll);
}

/* A forecast sees later values by their mean and deviation alone: of values 1 and -1 two later ones change places,
   by which both stay what they are to the last bit. */
static void check_swap(const struct rig_case *c, enum device_id device)
{
	enum { CONTEXT = 144, AT = 97 };
	struct rig rig;
	double before[CONTEXT], after[CONTEXT];

	rig_open(&rig, c->spec, (struct rig_options){.device = device, .batch = 1, .context = CONTEXT});
	for (int t = 0; t < CONTEXT; t++)
		rig.tokens[t] = half_bits(t % 2 ? 1 : -1);
	value_losses(&rig, before);
	rig.tokens[AT] = half_bits(-1);
	rig.tokens[AT + 1] = half_bits(1);
	value_losses(&rig, after);
	for (int t = 0; t < AT / rig.model.patch * rig.model.patch; t++)
		if (before[t] != after[t])
			fail_msg("%s on %s: value %d changes what is said to value %d", c->name,
				device_list[device].name, AT, t);
	assert_true(before[CONTEXT - 4] != after[CONTEXT - 4]);
	rig_close(&rig);
}

static void test_swap(void **state)
{
	const enum device_id on[] = {REF, CPU, CUDA_F32};
	int n = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rig_cases); i++)
		for (size_t k = 0; rig_normalises(&rig_cases[i]) && k < ARRAY_SIZE(on); k++)
			if (!device_missing(&device_list[on[k]])) {
				check_swap(&rig_cases[i], on[k]);
				n++;
			}
	assert_true(n > 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_swap)};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
