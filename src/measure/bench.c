#include "measure/bench.h"

#include <omp.h>
#include <string.h>

#include "base/cpu.h"
#include "base/str.h"
#include "measure/rate.h"
#include "train/build_info.h"

void bench_begin(struct bench *b)
{
	struct bench_report *r = &b->report;
	char cpu[128];

	bench_report_init(r);
	r->cpu = arena_strdup(&r->arena, cpu_name(cpu, sizeof cpu));
	r->blas_core = blas_core();
	r->git = build_commit;
	r->build = build_flags;
	r->device = b->device->name;
	r->threads = omp_get_max_threads();
}

void bench_end(struct bench *b)
{
	bench_report_release(&b->report);
}

void bench_ceilings(struct bench *b)
{
	if (b->gemm > 0)
		return;
	b->gemm = rate_gemm(b->device);
	b->copy = rate_copy(b->device);
	bench_report_add(&b->report, "ceiling", "matrix product", "", "flops_per_s", b->gemm);
	bench_report_add(&b->report, "ceiling", "copy", "", "bytes_per_s", b->copy);
}

int bench_keys(const struct bench *b, const char **all, const char *const *more, int n)
{
	memcpy(all, b->overrides, sizeof *all * (size_t)b->n_overrides);
	if (n)
		memcpy(all + b->n_overrides, more, sizeof *all * (size_t)n);
	return b->n_overrides + n;
}

bool bench_applies(const struct bench *b, const char *spec, const char *key)
{
	const char *keys[BENCH_MAX_OVERRIDES];
	int n = bench_keys(b, keys, NULL, 0);
	struct arena arena = {0};
	struct config config;
	bool found = !spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
		config_find(&config, key);

	arena_release(&arena);
	return found;
}

const char *bench_name(struct bench *b, const char *spec)
{
	struct str s;

	str_init(&s);
	str_add(&s, spec);
	for (int i = 0; i < b->n_overrides; i++)
		str_printf(&s, " %s", b->overrides[i]);
	return str_keep(&s, &b->report.arena);
}
