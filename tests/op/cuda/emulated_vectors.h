/* CUDA's vector types: of two and four, aligned to their size up to 16 bytes. */
#ifndef EMULATED_VECTORS_H
#define EMULATED_VECTORS_H

#define EMULATED_VECTORS(type, name) \
	struct alignas(2 * sizeof(type)) name##2 { \
		type x, y; \
	}; \
	struct name##3 { \
		type x, y, z; \
	}; \
	struct alignas(sizeof(type) < 4 ? 4 * sizeof(type) : 16) name##4 { \
		type x, y, z, w; \
	}; \
	inline name##2 make_##name##2(type x, type y) \
	{ \
		return {x, y}; \
	} \
	inline name##3 make_##name##3(type x, type y, type z) \
	{ \
		return {x, y, z}; \
	} \
	inline name##4 make_##name##4(type x, type y, type z, type w) \
	{ \
		return {x, y, z, w}; \
	}

EMULATED_VECTORS(char, char)
EMULATED_VECTORS(unsigned char, uchar)
EMULATED_VECTORS(short, short)
EMULATED_VECTORS(unsigned short, ushort)
EMULATED_VECTORS(int, int)
EMULATED_VECTORS(unsigned, uint)
EMULATED_VECTORS(float, float)
EMULATED_VECTORS(long long, longlong)
EMULATED_VECTORS(unsigned long long, ulonglong)
EMULATED_VECTORS(double, double)

#undef EMULATED_VECTORS

struct dim3 {
	unsigned x, y, z;

	constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#endif
