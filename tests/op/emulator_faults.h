/* A kernel with a fault of choice, for the test of the emulator. */
#ifndef EMULATOR_FAULTS_H
#define EMULATOR_FAULTS_H

#ifdef __cplusplus
extern "C" {
#endif

enum fault {
	SOUND,
	NO_WAIT,		/* reads what an asynchronous copy brings */
	NO_BARRIER,		/* reads what another thread wrote */
	UNEVEN_BARRIER,		/* that not all threads come to */
	MISSING_LANE,		/* of a shuffle */
	OTHER_MASK,
	BEYOND_SHARED,		/* reads one float further than there are */
	BEYOND_DEVICE,
	OF_THE_HOST,		/* memory */
	MISALIGNED,
	SAME_PLACE,		/* for results of all blocks */
	TOO_MUCH_SHARED,	/* memory, without leave */
	N_FAULTS
};

/* Within each block's `threads` numbers: to[i] = from[i + 1] + from[(i ^ 1) + 1], modulo them. */
int faults_launch(enum fault fault, float *to, const float *from, int n_blocks, int threads);

#ifdef __cplusplus
}
#endif

#endif
