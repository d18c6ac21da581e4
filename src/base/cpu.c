#include "base/cpu.h"

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cgroup.h"
#include "base/error.h"

/*
 * What OpenBLAS (0.3.21, x86-64) takes of the address space for each thread: once when the library is
 * loaded, for all cores that it sees, and once more for each thread that multiplies. Where it cannot
 * have it, it asks again without end. THREAD_BYTES adds a stack and what else a thread begins with.
 */
enum { BLAS_MIB = 129, THREAD_MIB = BLAS_MIB + 24, FREE_MIB = 32 };

static bool has_room(double mib)
{
	size_t bytes = (size_t)mib << 20;
	void *room = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return room != MAP_FAILED && !munmap(room, bytes);
}

/* As OpenBLAS counts: the affinity mask, or fewer by these variables. */
__attribute__((no_sanitize_address, no_sanitize_undefined)) static long threads_at_load(char **env)
{
	static const char name[] = "NUM_THREADS=";
	cpu_set_t set;
	long n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

	for (; *env; env++) {
		const char *at = strstr(*env, name);
		long asked = at && (at == *env + strlen("OPENBLAS_") || at == *env + strlen("OMP_")) ?
			strtol(at + strlen(name), NULL, 10) : 0;
		n = asked > 0 && asked < n ? asked : n;
	}
	return n;
}

/* Before the libraries' own initialisation. */
__attribute__((no_sanitize_address, no_sanitize_undefined)) static void check_space_to_load(int argc,
	char **argv, char **env)
{
	static const char line[] = "moelab: fatal: the address space is too small (ulimit -v): for each "
		"core 129 MiB of it go to OpenBLAS; raise it, or set OMP_NUM_THREADS\n";

	(void)argc, (void)argv;
	if (!has_room((double)threads_at_load(env) * BLAS_MIB + FREE_MIB)) {
		ssize_t told = write(STDERR_FILENO, line, sizeof line - 1);
		(void)told;
		_exit(EXIT_ENVIRONMENT);
	}
}

__attribute__((section(".preinit_array"), used)) static void (*const first_of_all)(int, char **,
	char **) = check_space_to_load;

/* Internal to OpenBLAS's dynamic builds, so weak: absent in single-core builds. */
extern void gotoblas_dynamic_quit(void) __attribute__((weak));
extern void gotoblas_dynamic_init(void) __attribute__((weak));

static const char *const core_variable = "OPENBLAS_CORETYPE";

/* Core types by what they need, best first. SkylakeX also serves later AVX-512 processors: the
   special cores for them are slower on products of our shapes. */
static const char *best_core(void)
{
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
		return "SkylakeX";
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
	return NULL;
}

/* A core that uses less than the processor has: any pre-AVX2 core where AVX2 exists, and an AVX2
   core where AVX-512 exists. */
int blas_core_suspect(void)
{
	static const char *const avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
	static const char *const avx2[] = {"Haswell", "Zen", "Excavator"};
	const char *best = best_core(), *core = blas_core();

	if (!best)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(avx512); i++)
		if (!strcasecmp(core, avx512[i]))
			return 0;
	if (!strcmp(best, "SkylakeX"))
		return 1;
	for (size_t i = 0; i < ARRAY_SIZE(avx2); i++)
		if (!strcasecmp(core, avx2[i]))
			return 0;
	return 1;
}

/* Largest difference between BLAS and plain loops over a few shapes, edges included. */
static double product_error(void)
{
	enum { N = 70 };
	static float a[N * N], b[N * N], c[N * N];
	double worst = 0;

	for (int i = 0; i < N * N; i++) {
		a[i] = (float)((i * 37) % 101 - 50) / 50.0f;
		b[i] = (float)((i * 53) % 97 - 48) / 48.0f;
	}
	for (int n = 5; n <= N; n += 13) {
		cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, a, N, b, N, 0, c, N);
		for (int i = 0; i < n; i++)
			for (int j = 0; j < n; j++) {
				double sum = 0;
				for (int k = 0; k < n; k++)
					sum += (double)a[i * N + k] * b[j * N + k];
				worst = fmax(worst, fabs(sum - c[i * N + j]));
			}
	}
	return worst;
}

static void switch_core(const char *core)
{
	gotoblas_dynamic_quit();
	if (core)
		setenv(core_variable, core, 1);
	else
		unsetenv(core_variable);
	gotoblas_dynamic_init();
}

void blas_start(char **argv)
{
	static const char *const tried = "MOELAB_BLAS_TRIED";	/* stops a second re-exec */
	char before[64];
	double error;
	int threads;

	if (getenv(core_variable) || !blas_core_suspect())
		return;
	snprintf(before, sizeof before, "%s", blas_core());
	if (!gotoblas_dynamic_quit || !gotoblas_dynamic_init) {
		if (!argv || getenv(tried))
			return;
		setenv(core_variable, best_core(), 1);
		setenv(tried, "1", 1);
		execv("/proc/self/exe", argv);
		unsetenv(core_variable);
		return;
	}
	if (!has_room(THREAD_MIB + FREE_MIB))
		return;		/* OpenBLAS would ask for its buffer for ever; who computes is told by cpu_check_space() */
	switch_core(best_core());
	threads = omp_get_max_threads();
	omp_set_num_threads(1);		/* threads begun here would be there before anybody blocks signals */
	error = product_error();
	omp_set_num_threads(threads);
	if (!(error < 1e-4)) {
		warning("OpenBLAS core %s gives wrong products here; staying with %s", best_core(),
			before);
		switch_core(NULL);
		return;
	}
	verbose("OpenBLAS took this processor for %s; switched to %s", before, blas_core());
}

void cpu_wait_briefly(char **argv)
{
	static const char *const spins = "3000";	/* about 0.05 ms */

	if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
		return;
	setenv("GOMP_SPINCOUNT", spins, 1);
	execv("/proc/self/exe", argv);
}

const char *blas_core(void)
{
	return openblas_get_corename();
}

const char *blas_config(void)
{
	return openblas_get_config();
}

const char *cpu_name(char *buffer, int size)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[512];

	snprintf(buffer, (size_t)size, "unknown processor");
	while (f && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');
		if (colon && !strncmp(line, "model name", 10)) {
			line[strcspn(line, "\n")] = '\0';
			snprintf(buffer, (size_t)size, "%s", colon + 2);
			break;
		}
	}
	if (f)
		fclose(f);
	return buffer;
}

static struct cgroup own_cgroup(void)
{
	struct cgroup c;

	cgroup_read("/sys/fs/cgroup", "/proc/self/cgroup", &c);
	return c;
}

int cpu_cores(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);

	return (int)fmax(1, fmin(n, floor(own_cgroup().cores)));
}

void cpu_threads(int n)
{
	omp_set_dynamic(0);
	omp_set_num_threads(n > 0 ? n : cpu_cores());
}

void cpu_check_space(double bytes)
{
	int n = omp_get_max_threads();
	double need = n * THREAD_MIB + FREE_MIB + bytes / (1 << 20);

	if (!has_room(need))
		die("the address space is too small (ulimit -v): %.0f MiB more are needed, %d of them for "
			"OpenBLAS in each of %d threads; raise it, or take fewer threads", need, BLAS_MIB, n);
}

/* guest time is part of user time, and steal is what the host gave to others. */
double cpu_busy_s(void)
{
	FILE *f = fopen("/proc/stat", "re");
	double user, nice, system, idle, wait, irq, soft_irq, steal, busy = NAN;

	if (f && fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &wait,
		&irq, &soft_irq, &steal) == 8)
		busy = (user + nice + system + irq + soft_irq + steal) / (double)sysconf(_SC_CLK_TCK);
	if (f)
		fclose(f);
	return busy;
}

double cpu_memory_bytes(void)
{
	return fmin((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE),
		own_cgroup().memory_bytes);
}

double cpu_free_memory_bytes(void)
{
	return fmin(1024 * keyed_number("/proc/meminfo", "MemAvailable"), own_cgroup().free_bytes);
}

double cpu_peak_rss_bytes(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_maxrss * 1024.0;
}
