/* What a thread does together with others: barriers, a warp's collectives, atomics. */
#ifndef EMULATED_WARP_H
#define EMULATED_WARP_H

#include "emulator.h"

/* A function whose accesses are not watched: the meaning of an instruction. */
#define __unwatched__ __attribute__((no_sanitize("thread"), optimize("O3")))

extern "C" {
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
}

constexpr int warpSize = 32;

/* What all lanes gave: [l] is lane l's, until the next collective. */
template <typename given>
struct emulated_warp {
	const char (*at)[EMULATOR_GIVEN];

	__unwatched__ emulated_warp(unsigned mask, const char *what, const given &mine)
	{
		const emulator_collective c = {what, mask, &mine, sizeof mine, false};

		static_assert(sizeof mine <= EMULATOR_GIVEN, "more than a lane gives");
		at = emulator_collect(&c, __builtin_return_address(0));
	}

	__unwatched__ const given &operator[](int lane) const
	{
		return *(const given *)at[lane];
	}
};

/* ---- barriers ---------------------------------------------------------------------------------- */

__forceinline__ void __syncthreads()
{
	emulator_barrier("__syncthreads", 0);
}

__forceinline__ int __syncthreads_or(int x)
{
	return emulator_barrier("__syncthreads_or", x) != 0;
}

__forceinline__ int __syncthreads_and(int x)
{
	return emulator_barrier("__syncthreads_and", !x) == 0;
}

__forceinline__ int __syncthreads_count(int x)
{
	return emulator_barrier("__syncthreads_count", x);
}

__forceinline__ void __syncwarp(unsigned mask = ~0u)
{
	emulator_syncwarp(mask);
}

__forceinline__ void __threadfence() {}
__forceinline__ void __threadfence_block() {}

/* ---- shuffles: within each `width` lanes --------------------------------------------------------- */

template <typename T>
__forceinline__ T emulated_shuffle(unsigned mask, const char *what, T v, int from)
{
	emulator_shuffle(mask, what, &v, sizeof v, from);
	return v;
}

#define EMULATED_SHUFFLES(type) \
	__forceinline__ type __shfl_sync(unsigned mask, type v, int from, int width = 32) \
	{ \
		int first = emulator_lane() & -width; \
		return emulated_shuffle(mask, "__shfl_sync", v, first + (from & (width - 1))); \
	} \
	__forceinline__ type __shfl_up_sync(unsigned mask, type v, unsigned by, int width = 32) \
	{ \
		int l = emulator_lane(), from = l - (int)by; \
		return emulated_shuffle(mask, "__shfl_up_sync", v, from < (l & -width) ? l : from); \
	} \
	__forceinline__ type __shfl_down_sync(unsigned mask, type v, unsigned by, int width = 32) \
	{ \
		int l = emulator_lane(), from = l + (int)by, end = (l & -width) + width; \
		return emulated_shuffle(mask, "__shfl_down_sync", v, from < end ? from : l); \
	} \
	__forceinline__ type __shfl_xor_sync(unsigned mask, type v, int by, int width = 32) \
	{ \
		int l = emulator_lane(), from = l ^ by, end = (l & -width) + width; \
		return emulated_shuffle(mask, "__shfl_xor_sync", v, from < end ? from : l); \
	}

EMULATED_SHUFFLES(int)
EMULATED_SHUFFLES(unsigned)
EMULATED_SHUFFLES(long)
EMULATED_SHUFFLES(unsigned long)
EMULATED_SHUFFLES(long long)
EMULATED_SHUFFLES(unsigned long long)
EMULATED_SHUFFLES(float)
EMULATED_SHUFFLES(double)

/* ---- votes, matches, sums ------------------------------------------------------------------------ */

__forceinline__ unsigned __ballot_sync(unsigned mask, int x)
{
	return emulator_ballot(mask, "__ballot_sync", x);
}

__forceinline__ int __any_sync(unsigned mask, int x)
{
	return emulator_ballot(mask, "__any_sync", x) != 0;
}

__forceinline__ int __all_sync(unsigned mask, int x)
{
	return emulator_ballot(mask, "__all_sync", x) == mask;
}

template <typename T>
__forceinline__ unsigned __match_any_sync(unsigned mask, T v)
{
	static_assert(sizeof v == 4 || sizeof v == 8, "a match of 4 or 8 bytes");
	return emulator_match(mask, &v, sizeof v);
}

#define EMULATED_REDUCE(type, name, by) \
	__forceinline__ type name(unsigned mask, type v) \
	{ \
		return (type)emulator_reduce(mask, #name, by, (type)-1 < (type)0, (unsigned)v); \
	}

EMULATED_REDUCE(int, __reduce_add_sync, '+')
EMULATED_REDUCE(unsigned, __reduce_add_sync, '+')
EMULATED_REDUCE(int, __reduce_min_sync, '<')
EMULATED_REDUCE(unsigned, __reduce_min_sync, '<')
EMULATED_REDUCE(int, __reduce_max_sync, '>')
EMULATED_REDUCE(unsigned, __reduce_max_sync, '>')
EMULATED_REDUCE(unsigned, __reduce_and_sync, '&')
EMULATED_REDUCE(unsigned, __reduce_or_sync, '|')
EMULATED_REDUCE(unsigned, __reduce_xor_sync, '^')

#undef EMULATED_REDUCE

/* ---- atomics: of integers alone, whose sums do not depend on the order ---------------------------- */

#define EMULATED_ATOMIC(type, name, value) \
	__unwatched__ inline type name(type *at, type x) \
	{ \
		emulator_atomic(at, sizeof *at); \
		type old = *at; \
		*at = value; \
		return old; \
	}

#define EMULATED_ATOMICS(type) \
	EMULATED_ATOMIC(type, atomicAdd, (type)(old + x)) \
	EMULATED_ATOMIC(type, atomicMin, old < x ? old : x) \
	EMULATED_ATOMIC(type, atomicMax, old < x ? x : old) \
	EMULATED_ATOMIC(type, atomicAnd, old & x) \
	EMULATED_ATOMIC(type, atomicOr, old | x) \
	EMULATED_ATOMIC(type, atomicXor, old ^ x) \
	EMULATED_ATOMIC(type, atomicExch, x) \
	__unwatched__ inline type atomicCAS(type *at, type expected, type x) \
	{ \
		emulator_atomic(at, sizeof *at); \
		type old = *at; \
		*at = old == expected ? x : old; \
		return old; \
	}

EMULATED_ATOMICS(int)
EMULATED_ATOMICS(unsigned)
EMULATED_ATOMICS(unsigned long long)
EMULATED_ATOMIC(int, atomicSub, (int)(old - x))
EMULATED_ATOMIC(unsigned, atomicSub, old - x)

#undef EMULATED_ATOMICS
#undef EMULATED_ATOMIC

/* ---- loads and stores with a hint ------------------------------------------------------------------ */

#define EMULATED_LOAD(name) \
	template <typename T> \
	__forceinline__ T name(const T *at) \
	{ \
		return *at; \
	}
#define EMULATED_STORE(name) \
	template <typename T> \
	__forceinline__ void name(T *at, T v) \
	{ \
		*at = v; \
	}

EMULATED_LOAD(__ldg)
EMULATED_LOAD(__ldca)
EMULATED_LOAD(__ldcg)
EMULATED_LOAD(__ldcs)
EMULATED_LOAD(__ldlu)
EMULATED_LOAD(__ldcv)
EMULATED_STORE(__stwb)
EMULATED_STORE(__stcg)
EMULATED_STORE(__stcs)
EMULATED_STORE(__stwt)

#undef EMULATED_LOAD
#undef EMULATED_STORE

#endif
