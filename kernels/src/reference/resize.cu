// Resizes planes into a rectangle of the target; outside of the rectangle the target becomes `fill`. Pixel centres are at
// half-integers. Bilinear interpolates the four nearest pixels, area averages the area that a target pixel covers.

struct Fit {
    u32 from_width, from_height, to_width, to_height, left, top, width, height;
};

// The two pixels around a sampling point, and the weight of the second.
struct Neighbours {
    u32 first, second;
    float weight;
};

__device__ inline Neighbours neighbours(u32 at, u32 length, u32 from_length) {
    float place = ((float)at + 0.5f) * ((float)from_length / (float)length) - 0.5f;
    place = clamp(place, 0.0f, (float)(from_length - 1));
    u32 first = (u32)place;
    Neighbours found = {first, at_most(first + 1, from_length - 1), place - (float)first};
    return found;
}

template <typename T> __device__ inline float bilinear(const T *plane, Fit fit, u32 x, u32 y) {
    Neighbours h = neighbours(x, fit.width, fit.from_width), v = neighbours(y, fit.height, fit.from_height);
    const T *above = plane + v.first * fit.from_width, *below = plane + v.second * fit.from_width;
    float a = get(above[h.first]) + h.weight * (get(above[h.second]) - get(above[h.first]));
    float b = get(below[h.first]) + h.weight * (get(below[h.second]) - get(below[h.first]));
    return a + v.weight * (b - a);
}

// The overlap of the pixel `at` with the interval from `low` to `high`.
__device__ inline float covered(u32 at, float low, float high) {
    float from = (float)at > low ? (float)at : low, to = (float)(at + 1) < high ? (float)(at + 1) : high;
    return to > from ? to - from : 0.0f;
}

template <typename T> __device__ inline float area(const T *plane, Fit fit, u32 x, u32 y) {
    float wide = (float)fit.from_width / (float)fit.width, high = (float)fit.from_height / (float)fit.height;
    float left = (float)x * wide, top = (float)y * high, right = (float)(x + 1) * wide, bottom = (float)(y + 1) * high;
    float sum = 0.0f, weights = 0.0f;
    for (u32 row = (u32)top; row < fit.from_height && (float)row < bottom; row++) {
        float down = covered(row, top, bottom);
        for (u32 column = (u32)left; column < fit.from_width && (float)column < right; column++) {
            float weight = down * covered(column, left, right);
            sum += weight * get(plane[row * fit.from_width + column]);
            weights += weight;
        }
    }
    return sum / weights;
}

#define RESIZE(name, T, filter)                                                                                         \
    extern "C" __global__ void name(const T *from, T *to, u32 planes, u32 from_width, u32 from_height, u32 to_width,    \
                                    u32 to_height, u32 left, u32 top, u32 width, u32 height, float fill) {              \
        Fit fit = {from_width, from_height, to_width, to_height, left, top, width, height};                             \
        u32 x = thread_x(), y = thread_y(), plane = thread_z();                                                         \
        if (x >= to_width || y >= to_height || plane >= planes) return;                                                 \
        bool inside = x >= left && x - left < width && y >= top && y - top < height;                                    \
        const T *source = from + plane * from_width * from_height;                                                      \
        float value = inside ? filter(source, fit, x - left, y - top) : fill;                                           \
        put(to + (plane * to_height + y) * to_width + x, value);                                                        \
    }

RESIZE(resize_bilinear_f32, float, bilinear)
RESIZE(resize_bilinear_f16, Half, bilinear)
RESIZE(resize_area_f32, float, area)
RESIZE(resize_area_f16, Half, area)
