// Blends a face crop into an image, three planes each, with edges that fade over `feather` pixels. What reaches beyond the
// image is clipped.

// The crop's opacity at a pixel that is `edge` pixels from its nearest edge.
__device__ inline float alpha(u32 edge, u32 feather) {
    if (edge >= feather) return 1.0f;
    float t = ((float)edge + 0.5f) / (float)feather;
    return t * t * (3.0f - 2.0f * t);
}

template <typename T>
__device__ inline void paste(const T *face, T *image, u32 face_width, u32 face_height, u32 width, u32 height, int left,
                             int top, u32 feather) {
    u32 x = thread_x(), y = thread_y(), plane = thread_z();
    if (x >= face_width || y >= face_height || plane >= 3) return;
    int to_x = left + (int)x, to_y = top + (int)y;
    if (to_x < 0 || to_y < 0 || to_x >= (int)width || to_y >= (int)height) return;
    u32 across = at_most(x, face_width - 1 - x), down = at_most(y, face_height - 1 - y);
    T *place = image + (plane * height + (u32)to_y) * width + (u32)to_x;
    float under = get(*place), over = get(face[(plane * face_height + y) * face_width + x]);
    put(place, under + alpha(at_most(across, down), feather) * (over - under));
}

#define PASTE(name, T)                                                                                                  \
    extern "C" __global__ void name(const T *face, T *image, u32 face_width, u32 face_height, u32 width, u32 height,  \
                                    int left, int top, u32 feather) {                                                   \
        paste(face, image, face_width, face_height, width, height, left, top, feather);                               \
    }

PASTE(paste_f32, float)
PASTE(paste_f16, Half)
