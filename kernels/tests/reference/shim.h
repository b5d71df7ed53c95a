// What CUDA sources need to be compiled as C++ and run on the CPU, one thread after another.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

#define __device__ static
#define __global__

struct Axes {
    unsigned x, y, z;
};
static Axes blockIdx, threadIdx, blockDim;

// Halves by their definition, as older compilers have no type for them.
static inline float half_to_float(unsigned short bits) {
    int exponent = bits >> 10 & 31, digits = bits & 1023;
    double size = exponent == 31 ? (digits ? NAN : INFINITY)
                  : exponent == 0 ? std::ldexp(digits, -24)
                                  : std::ldexp(1024 + digits, exponent - 25);
    return (float)(bits & 0x8000 ? -size : size);
}
static inline unsigned short float_to_half(float value) {
    unsigned short sign = std::signbit(value) ? 0x8000 : 0;
    double size = std::fabs((double)value);
    if (std::isnan(value)) return 0x7fff;
    if (size >= 65520.0) return sign | 0x7c00;
    int exponent = size == 0.0 ? -14 : std::ilogb(size);
    if (exponent < -14) exponent = -14;
    // To the nearest, ties to even. 1024 more digits than there are carry into the exponent.
    int digits = (int)std::nearbyint(std::ldexp(size, 10 - exponent));
    return sign | (unsigned short)(((exponent + 14) << 10) + digits);
}
static inline int __float_as_int(float value) {
    int bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline float __int_as_float(int bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
static inline int atomicMax(int *place, int value) {
    int before = *place;
    if (value > before) *place = value;
    return before;
}

// Calls a kernel with arguments whose places are given.
template <typename... A, size_t... I>
static void call(void (*kernel)(A...), const void *const *places, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A> *)places[I]...);
}

// All threads of a grid: blocks x, y, z, then threads of a block x, y, z.
template <typename... A> static void run(void (*kernel)(A...), const void *const *places, const unsigned *grid) {
    blockDim = {grid[3], grid[4], grid[5]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++)
                for (threadIdx.z = 0; threadIdx.z < grid[5]; threadIdx.z++)
                    for (threadIdx.y = 0; threadIdx.y < grid[4]; threadIdx.y++)
                        for (threadIdx.x = 0; threadIdx.x < grid[3]; threadIdx.x++)
                            call(kernel, places, std::index_sequence_for<A...>());
}

#define ENTRY(name)                                                                                                     \
    extern "C" void run_##name(const void *const *places, const unsigned *grid) { run(name, places, grid); }
