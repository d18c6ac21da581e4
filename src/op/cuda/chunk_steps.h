/* What CUDA's kernels know of each token of a head in a chunk (op/cuda/chunk_steps.cuh). */
#ifndef OP_CUDA_CHUNK_STEPS_H
#define OP_CUDA_CHUNK_STEPS_H

enum { CHUNK_TOKENS = 64 };

struct chunk_steps_cuda {
	double sum[CHUNK_TOKENS];	/* of dt A, up to the token */
	float dt[CHUNK_TOKENS], slope[CHUNK_TOKENS];	/* of softplus; dt: the weight, if it is given */
	float own[CHUNK_TOKENS];	/* weight of a token's share at itself: dt, if it is not given */
	float enters[CHUNK_TOKENS];	/* how much is left of the state in front of the chunk */
	float leaves[CHUNK_TOKENS];	/* how much of the token's share is left behind the chunk */
	int from[CHUNK_TOKENS];		/* first token of the chunk that it sees */
};

#endif
