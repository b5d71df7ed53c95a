// The prelude of every source: half precision and thread indices.
//
// Includes no header, so that NVRTC alone is enough. Multiplications and additions are not contracted (--fmad=false), so that a
// kernel and its reference implementation agree bit for bit wherever only +, -, * and / are used.

typedef unsigned char u8;
typedef unsigned u32;

struct Half {
    unsigned short bits;
};

#ifdef __CUDACC__
__device__ inline float half_to_float(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline unsigned short float_to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ inline float get(float value) { return value; }
__device__ inline float get(Half value) { return half_to_float(value.bits); }
__device__ inline void put(float *place, float value) { *place = value; }
__device__ inline void put(Half *place, float value) { place->bits = float_to_half(value); }

// The index of this thread along each axis.
__device__ inline u32 thread_x() { return blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline u32 thread_y() { return blockIdx.y * blockDim.y + threadIdx.y; }
__device__ inline u32 thread_z() { return blockIdx.z * blockDim.z + threadIdx.z; }

__device__ inline float clamp(float value, float low, float high) {
    // NaN becomes `low`.
    return value > low ? (value < high ? value : high) : low;
}
__device__ inline u32 at_most(u32 value, u32 most) { return value < most ? value : most; }
