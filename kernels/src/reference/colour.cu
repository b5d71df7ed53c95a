// Planar RGB in [-1, 1] to I420 or NV12. One thread computes Cb and Cr of two by two pixels, and their luma. At odd borders it
// averages the pixels that there are.

struct Colours {
    float red, blue, luma_scale, luma_offset, chroma_scale;
};

template <typename T> __device__ inline float unit(T value) { return clamp((get(value) + 1.0f) * 0.5f, 0.0f, 1.0f); }

__device__ inline u8 byte(float value) { return (u8)floorf(clamp(value, 0.0f, 255.0f) + 0.5f); }

template <typename T>
__device__ inline void to_yuv(const T *rgb, u8 *yuv, u32 width, u32 height, Colours by, u32 step, u32 red_at) {
    u32 left = thread_x() * 2, top = thread_y() * 2;
    if (left >= width || top >= height) return;
    u32 size = width * height, half_width = (width + 1) / 2;
    float blues = 0.0f, reds = 0.0f, count = 0.0f;
    for (u32 y = top; y < at_most(top + 2, height); y++) {
        for (u32 x = left; x < at_most(left + 2, width); x++) {
            u32 at = y * width + x;
            float r = unit(rgb[at]), g = unit(rgb[size + at]), b = unit(rgb[2 * size + at]);
            float luma = by.red * r + (1.0f - by.red - by.blue) * g + by.blue * b;
            yuv[at] = byte(by.luma_offset + by.luma_scale * luma);
            blues += (b - luma) / (2.0f * (1.0f - by.blue));
            reds += (r - luma) / (2.0f * (1.0f - by.red));
            count += 1.0f;
        }
    }
    u32 at = size + (thread_y() * half_width + thread_x()) * step;
    yuv[at] = byte(128.0f + by.chroma_scale * (blues / count));
    yuv[at + red_at] = byte(128.0f + by.chroma_scale * (reds / count));
}

#define TO_YUV(name, T, step, red_at)                                                                                   \
    extern "C" __global__ void name(const T *rgb, u8 *yuv, u32 width, u32 height, float red, float blue,                \
                                    float luma_scale, float luma_offset, float chroma_scale) {                          \
        Colours by = {red, blue, luma_scale, luma_offset, chroma_scale};                                                \
        to_yuv(rgb, yuv, width, height, by, step, red_at);                                                              \
    }

TO_YUV(rgb_f32_to_i420, float, 1, ((width + 1) / 2) * ((height + 1) / 2))
TO_YUV(rgb_f16_to_i420, Half, 1, ((width + 1) / 2) * ((height + 1) / 2))
TO_YUV(rgb_f32_to_nv12, float, 2, 1)
TO_YUV(rgb_f16_to_nv12, Half, 2, 1)
