/*
 * Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"). A number is a pure function of (seed, stream, step, index), so
 * results do not depend on threads, order or resumption. stream = hash_u64(name of the parameter
 * or operator). Inline and free of library calls: kernels of every device use the same source.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

#ifdef __CUDACC__
#define RNG_FN static inline __host__ __device__
#else
#define RNG_FN static inline
#endif

struct rng_block {
	uint32_t word[4];
};

struct rng_key {
	uint64_t seed, stream;
	uint32_t step;
};

/* The bare generator, as in the paper: ten rounds on counter c with key (k0, k1). */
RNG_FN struct rng_block rng_philox(struct rng_block c, uint32_t k0, uint32_t k1)
{
	for (int round = 0; round < 10; round++) {
		uint64_t p0 = (uint64_t)0xD2511F53u * c.word[0];
		uint64_t p1 = (uint64_t)0xCD9E8D57u * c.word[2];
		struct rng_block next = {{(uint32_t)(p1 >> 32) ^ c.word[1] ^ k0, (uint32_t)p1,
			(uint32_t)(p0 >> 32) ^ c.word[3] ^ k1, (uint32_t)p0}};
		c = next;
		k0 += 0x9E3779B9u;
		k1 += 0xBB67AE85u;
	}
	return c;
}

/* Block i of the sequence named by key: the seed is Philox's key, all else its counter. */
RNG_FN struct rng_block rng_block(struct rng_key key, uint64_t i)
{
	uint64_t stream = key.stream ^ ((i >> 32) * 0x9E3779B97F4A7C15u);
	struct rng_block c = {{(uint32_t)i, key.step, (uint32_t)stream, (uint32_t)(stream >> 32)}};

	return rng_philox(c, (uint32_t)key.seed, (uint32_t)(key.seed >> 32));
}

/* Uniform in (0, 1) from words 0 and 1 (half = 0) or 2 and 3 (half = 1). 52 bits, so that adding half
   a step is exact and 1 is never reached. */
RNG_FN double rng_uniform(struct rng_block b, int half)
{
	uint64_t bits = ((uint64_t)b.word[2 * half] << 32) | b.word[2 * half + 1];

	return ((double)(bits >> 12) + 0.5) * 0x1p-52;
}

#endif
