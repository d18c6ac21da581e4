/*
 * GPUs of this machine for workers, as NVIDIA's nvidia-smi tells (a program beside the driver, so the
 * supervisor itself takes no GPU's memory). Only those that CUDA_VISIBLE_DEVICES leaves to this process.
 * Each worker sees one: the one with fewest workers of ours, of those the one with most memory free; so
 * a GPU that somebody else's process fills comes last.
 */
#ifndef SUPERVISE_GPUS_H
#define SUPERVISE_GPUS_H

enum { GPUS_MAX = 64 };

struct gpu {
	char uuid[64];			/* as CUDA_VISIBLE_DEVICES takes it */
	char name[64];
	double bytes, free_bytes;	/* of memory */
};

/* Gives how many there are; 0 where nvidia-smi is missing or names none. */
int gpus_list(struct gpu list[GPUS_MAX]);

/*
 * The GPU for the next worker that needs so many bytes; -1: none has that much free and no worker of
 * ours that would end. workers: ours on each GPU.
 */
int gpus_choose(const struct gpu *list, const int *workers, int n, double bytes);

#endif
