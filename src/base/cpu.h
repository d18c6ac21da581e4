/*
 * What the processor and its BLAS can do, set up once before the first product.
 *
 * Debian 12's OpenBLAS takes recent processors for the oldest core it knows and then runs five
 * times too slow. blas_start() picks the best core the processor supports, in place, checks its
 * products against plain loops, and goes back with a warning if they differ. A core chosen by the
 * user or the environment (OPENBLAS_CORETYPE) stands.
 */
#ifndef BASE_CPU_H
#define BASE_CPU_H

void blas_start(char **argv);	/* before any BLAS call and any thread; argv: for a re-exec if the
				   library cannot switch in place */
const char *blas_core(void);	/* the core in use: "SkylakeX", "Haswell", ... */
const char *blas_config(void);	/* the library's own description of its build */
int blas_core_suspect(void);	/* 1: the core is below what the processor has */
const char *cpu_name(char *buffer, int size);
/*
 * First of all in a program. A thread of OpenMP that waits for others spins, by default for milliseconds,
 * and on a core that it shares it takes the time from the very thread it waits for. Here it spins for as
 * long as waking it would take, and sleeps. The library reads that when a program begins, so the program
 * is started once more; what the user has set (OMP_WAIT_POLICY, GOMP_SPINCOUNT) stands. Children
 * inherit it.
 */
void cpu_wait_briefly(char **argv);
int cpu_cores(void);		/* cores this process may use: affinity mask, quota of its control group
				   rounded down; at least 1 */
void cpu_threads(int n);	/* OpenMP threads of our loops; <= 0: all cores */
/* Fatal where the address space (ulimit -v) does not hold so many bytes and what OpenBLAS takes for
   each of these threads: it would try again without end. Before the first product. */
void cpu_check_space(double bytes);
double cpu_busy_s(void);	/* processor seconds of all programs since boot; NAN: unknown */
double cpu_memory_bytes(void);	/* physical memory, or the limit of the control group */
double cpu_free_memory_bytes(void);	/* of it, what a new process can have without swapping */
double cpu_peak_rss_bytes(void);

#endif
