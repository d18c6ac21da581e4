/* moelab doctor: what of this machine and its programs would spoil results or speed. */
#include <cblas.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/options.h"
#include "measure/rate.h"
#include "supervise/gpus.h"
#include "train/build_info.h"
#include "train/products.h"

extern const struct cmd cmd_doctor;

/* One line of the report; remedy NULL: all is well. Returns the number of things wrong. */
static int report(const char *what, const char *found, const char *remedy)
{
	printf("%-4s %-10s %s\n", remedy ? "BAD" : "ok", what, found);
	if (remedy)
		printf("%-15s -> %s\n", "", remedy);
	return remedy != NULL;
}

static int check_processor(void)
{
	char name[128], text[256], memory[32];

	snprintf(text, sizeof text, "%s, %d cores, %s", cpu_name(name, sizeof name), cpu_cores(),
		str_bytes(cpu_memory_bytes(), memory));
	return report("processor", text, NULL);
}

static int check_blas(void)
{
	char text[512];
	double one, all;
	int bad = 0;

	snprintf(text, sizeof text, "%s, core %s", blas_config(), blas_core());
	bad += report("BLAS", text, blas_core_suspect() ? "the core is below what the processor has: unset "
		"OPENBLAS_CORETYPE, or set it to SkylakeX or Haswell" : NULL);
	bad += report("BLAS build", openblas_get_parallel() == 2 ? "OpenMP" : "not OpenMP",
		openblas_get_parallel() == 2 ? NULL : "install libopenblas-openmp-dev and build again: other "
		"builds start threads of their own inside ours");
	cpu_threads(1);
	one = rate_gemm(&device_list[CPU]);
	cpu_threads(0);
	all = rate_gemm(&device_list[CPU]);
	snprintf(text, sizeof text, "%.0f GFLOP/s on one thread, %.0f on %d; copy %.1f GB/s", one / 1e9,
		all / 1e9, cpu_cores(), rate_copy(&device_list[CPU]) / 1e9);
	return bad + report("rates", text, all < 1.3 * one && cpu_cores() > 1
		? "threads do not help: is the machine busy?" : NULL);
}

/* SQLite before 3.51.3 (3.50.7, 3.44.6) can lose commits with several writers in WAL mode. moelab has
   one writer by design, so this is no fault, but worth knowing for other users of the file. */
static int check_sqlite(void)
{
	int v = sqlite3_libversion_number();
	bool fixed = v >= 3051003 || (v >= 3050007 && v < 3051000) || (v >= 3044006 && v < 3045000);
	char text[160];

	snprintf(text, sizeof text, "%s%s", sqlite3_libversion(), fixed ? "" : " (has the WAL-reset bug; "
		"harmless with moelab's single writer)");
	return report("SQLite", text, NULL);
}

static int check_gnuplot(void)
{
	FILE *f = popen("gnuplot --version 2>/dev/null", "r");
	char text[128] = "";
	bool there = f && fgets(text, sizeof text, f);

	if (f)
		pclose(f);
	text[strcspn(text, "\n")] = '\0';
	return report("gnuplot", there ? text : "not found", there ? NULL
		: "plots need it: apt-get install gnuplot-nox");
}

/* What each GPU has free; one that somebody fills is no fault, but slow. */
static void report_gpu_memory(void)
{
	struct gpu list[GPUS_MAX];
	int n = gpus_list(list);

	for (int i = 0; i < n; i++) {
		char text[160], all[32], left[32];
		snprintf(text, sizeof text, "%s, %s free of %s", list[i].name,
			str_bytes(list[i].free_bytes, left), str_bytes(list[i].bytes, all));
		report("GPU memory", text, NULL);
	}
}

static int check_gpu(void)
{
	const struct device *bf16 = &device_list[CUDA], *f32 = &device_list[CUDA_F32];
	const char *missing = device_missing(bf16);
	char text[160];

	if (missing) {
		bool wanted = path_exists("/dev/nvidia0") || path_exists("/dev/nvidiactl");
		return report("GPU", missing, wanted ? "there is an NVIDIA device: make CUDA=1, and a "
			"driver as new as the CUDA toolkit" : NULL);
	}
	report("GPU", products_library(bf16), NULL);
	report_gpu_memory();
	snprintf(text, sizeof text, "%.0f TFLOP/s in bf16, %.0f in float32; copy %.0f GB/s",
		rate_gemm(bf16) / 1e12, rate_gemm(f32) / 1e12, rate_copy(bf16) / 1e9);
	return report("GPU rates", text, NULL);
}

static int check_disk(void)
{
	char text[64], free_bytes[32];
	double bytes = path_free_bytes(".");

	snprintf(text, sizeof text, "%s free here", str_bytes(bytes, free_bytes));
	return report("disk", text, bytes < 1e9 ? "checkpoints need room: make some" : NULL);
}

static int run(int argc, char **argv)
{
	const struct option_row rows[] = {{0}};
	struct arguments a;
	int ret = options_parse(&cmd_doctor, rows, argc, argv, &a), bad = 0;

	if (ret != GO_ON)
		return ret;
	if (a.n_words + a.n_overrides)
		return error("doctor takes no arguments, only options"), EXIT_USAGE;
	printf("moelab %s\n", build_commit);
	bad += check_processor() + check_blas() + check_sqlite() + check_gnuplot() + check_gpu() +
		check_disk();
	return bad ? EXIT_ENVIRONMENT : EXIT_DONE;
}

const struct cmd cmd_doctor = {
	.name = "doctor",
	.arguments = "",
	.help = "checks BLAS, SQLite, gnuplot, GPU and disk, and says how to mend what is wrong",
	.run = run,
};
