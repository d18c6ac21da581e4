/* Kernels with a fault of choice, for the test of the emulator. */
#ifndef EMULATOR_FAULTS_H
#define EMULATOR_FAULTS_H

#ifdef __cplusplus
extern "C" {
#endif

enum fault {
	SOUND,
	NO_WAIT,		/* reads what an asynchronous copy brings */
	NEVER_WAITED,		/* ends before a copy has arrived */
	NO_BARRIER,		/* reads what another thread wrote */
	UNEVEN_BARRIER,		/* that not all threads come to */
	OTHER_BARRIER,		/* than most threads come to */
	MISSING_LANE,		/* of a shuffle */
	OTHER_MASK,
	OTHER_COLLECTIVE,
	MASK_WITHOUT_ITSELF,
	NO_SYNCWARP,		/* reads what another lane wrote */
	SYNCWARP_ALONE,		/* reads what another warp wrote */
	PLAIN_AND_ATOMIC,	/* accesses to a counter */
	SAME_HALF,		/* of a word, written by two threads */
	BEYOND_SHARED,		/* reads one float further than there are */
	BEYOND_DEVICE,
	OF_THE_HOST,		/* memory */
	MISALIGNED,		/* copy */
	MISALIGNED_VECTOR,	/* read of four floats */
	MISALIGNED_MATRIX,	/* row of an ldmatrix */
	MATRIX_OF_THE_DEVICE,	/* memory, for an ldmatrix */
	MATRIX_NOT_WRITTEN,	/* by whoever reads it: no barrier in front of an ldmatrix */
	NO_PROXY_FENCE,		/* between copies and a product of a warpgroup */
	NO_WGMMA_FENCE,
	NO_WGMMA_WAIT,
	OTHER_OPERANDS,		/* than the other lanes of the product */
	OTHER_DESCRIPTOR,	/* than the emulator plays */
	OPERAND_COPIED,		/* to, before the product is done */
	SAME_PLACE,		/* for results of all blocks */
	TOO_MUCH_SHARED,	/* memory, without leave */
	TOO_MANY_THREADS,
	N_FAULTS
};

/* Within each block's `threads` numbers: to[i] = from[i + 1] + from[(i ^ 1) + 1], modulo them. */
int faults_launch(enum fault fault, float *to, const float *from, int n_blocks, int threads);

#ifdef __cplusplus
}
#endif

#endif
