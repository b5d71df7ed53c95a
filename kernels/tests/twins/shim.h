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

static inline float half_to_float(unsigned short bits) {
    _Float16 value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}
static inline unsigned short float_to_half(float value) {
    _Float16 half = (_Float16)value;
    unsigned short bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
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
