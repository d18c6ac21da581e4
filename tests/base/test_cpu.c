/*
 * Clocks, threads and the set-up of BLAS. The core of OpenBLAS is chosen when a process starts, so
 * this program runs itself: "test_cpu core" sets BLAS up and prints the core, and whether it is right;
 * "test_cpu wait" asks for brief waiting, of which OpenMP tells what it took up.
 */
#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <time.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "test.h"

/* Largest relative difference between a product of BLAS and plain loops. */
static double product_error(void)
{
	enum { M = 33, N = 47, K = 129 };
	static float a[M * K], b[K * N], c[M * N];
	double worst = 0;

	for (int i = 0; i < M * K; i++)
		a[i] = (float)((i * 29) % 83 - 41) / 41.0f;
	for (int i = 0; i < K * N; i++)
		b[i] = (float)((i * 31) % 79 - 39) / 39.0f;
	cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, M, N, K, 1, a, K, b, N, 0, c, N);
	for (int i = 0; i < M; i++)
		for (int j = 0; j < N; j++) {
			double sum = 0;
			for (int k = 0; k < K; k++)
				sum += (double)a[i * K + k] * b[k * N + j];
			worst = fmax(worst, fabs(sum - c[i * N + j]) / (1 + fabs(sum)));
		}
	return worst;
}

static int print_core(char **argv)
{
	blas_start(argv);
	printf("%s %s %s\n", blas_core(), blas_core_suspect() ? "suspect" : "best",
		product_error() < 1e-4 ? "exact" : "wrong");
	return 0;
}

/* What this program prints with the variable set to core (NULL: unset). */
static void run_core(const char *core, char *name, char *verdict)
{
	char self[1024], command[1200], products[32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	FILE *f;

	assert_true(n > 0);
	self[n] = '\0';
	if (core)
		snprintf(command, sizeof command, "OPENBLAS_CORETYPE=%s '%s' core", core, self);
	else
		snprintf(command, sizeof command, "env -u OPENBLAS_CORETYPE '%s' core", self);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%63s %31s %31s", name, verdict, products), 3);
	assert_int_equal(pclose(f), 0);
	assert_string_equal(products, "exact");
}

static void test_core_is_mended(void **state)
{
	char name[64], verdict[32];

	(void)state;
	run_core(NULL, name, verdict);
	assert_string_equal(verdict, "best");
}

/* A core set by the user stands, also a slow one; it is seen to be slow. */
static void test_core_of_the_user_stands(void **state)
{
	char name[64], verdict[32];

	(void)state;
	if (!__builtin_cpu_supports("avx2"))
		skip();
	run_core("Nehalem", name, verdict);
	assert_string_equal(name, "Nehalem");
	assert_string_equal(verdict, "suspect");
}

/* What the last of the program's starts took up for waiting threads, with a variable set. */
static long spins_with(const char *variable)
{
	char self[1024], command[1200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	long spins = -1;
	FILE *f;

	assert_true(n > 0);
	self[n] = '\0';
	snprintf(command, sizeof command, "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose "
		"%s '%s' wait 2>&1 | sed -n \"s/.*GOMP_SPINCOUNT = '\\(.*\\)'/\\1/p\" | tail -n 1",
		variable, self);
	f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld", &spins), 1);
	assert_int_equal(pclose(f), 0);
	return spins;
}

static void test_waiting(void **state)
{
	(void)state;
	assert_int_equal(spins_with(""), 3000);
	assert_int_equal(spins_with("GOMP_SPINCOUNT=7"), 7);
	assert_int_equal(spins_with("OMP_WAIT_POLICY=passive"), 0);
	assert_true(spins_with("OMP_WAIT_POLICY=active") > 1e9);
}

static void test_processor(void **state)
{
	double busy = cpu_busy_s(), own = (double)clock() / CLOCKS_PER_SEC;
	char name[128];

	(void)state;
	assert_ptr_equal(cpu_name(name, sizeof name), name);
	assert_true(name[0] && !strchr(name, '\n'));
	while (clock() < (own + 0.2) * CLOCKS_PER_SEC)
		continue;
	assert_true(cpu_busy_s() - busy > 0.1);		/* ticks of a hundredth of a second */
	assert_true(cpu_memory_bytes() > 1e8);
	assert_true(cpu_peak_rss_bytes() > 1e5 && cpu_peak_rss_bytes() < cpu_memory_bytes());
	assert_non_null(strstr(blas_config(), "OpenBLAS"));
}

static void test_threads(void **state)
{
	(void)state;
	for (int n = 1; n <= 3; n++) {
		int got = 0;
		cpu_threads(n);
		#pragma omp parallel
		#pragma omp atomic
		got++;
		assert_int_equal(got, n);
	}
	cpu_threads(0);
	assert_int_equal(omp_get_max_threads(), cpu_cores());
}

static void test_clock(void **state)
{
	double start = clock_s(), slept;
	char iso[32];

	(void)state;
	usleep(20000);
	slept = clock_s() - start;
	assert_true(slept >= 0.02 && slept < 5);
	assert_true(clock_wall_s() > 1.7e9);
	assert_string_equal(clock_iso(0, iso), "1970-01-01T00:00:00Z");
	assert_string_equal(clock_iso(1709164799.9, iso), "2024-02-28T23:59:59Z");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_core_is_mended), TEST(test_core_of_the_user_stands), TEST(test_waiting),
		TEST(test_processor), TEST(test_threads), TEST(test_clock),
	};

	if (argc > 1 && !strcmp(argv[1], "core"))
		return print_core(argv);
	if (argc > 1 && !strcmp(argv[1], "wait"))
		return cpu_wait_briefly(argv), 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
