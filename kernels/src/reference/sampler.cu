// One step of Sonic's sampler for one window: the three predictions become one by both guidances, and the latents go one
// Euler step. Latents are of 32 bits and stand frame after frame on a circle of `frames`; the window's frames begin `shift`
// frames before `start`, and what several windows say about a frame becomes their mean.

// The frame on the circle at which the window's frame `at` stands.
__device__ inline u32 on_circle(u32 start, u32 at, u32 shift, u32 frames) {
    return (start + at + frames - shift % frames) % frames;
}

template <typename T>
__device__ inline void guided_euler(const T *predicted, const float *latents, float *next, u32 values, u32 window,
                                    u32 frames, u32 start, u32 shift, float appearance, float audio, float keep,
                                    float push) {
    u32 value = thread_x(), first = thread_y(), row = window * values;
    if (value >= values || first >= at_most(window, frames)) return;
    // A window that is longer than the circle comes to the same frame again.
    for (u32 at = first; at < window; at += frames) {
        u32 place = on_circle(start, at, shift, frames) * values + value, from = at * values + value;
        float none = get(predicted[from]), image = get(predicted[row + from]), all = get(predicted[2 * row + from]);
        float v = none + appearance * (image - none) + audio * (all - image);
        float went = keep * latents[place] + push * v;
        u32 before = (start + at) / frames;
        next[place] = before == 0 ? went : (next[place] * (float)before + went) / (float)(before + 1);
    }
}

#define GUIDED_EULER(name, T)                                                                                           \
    extern "C" __global__ void name(const T *predicted, const float *latents, float *next, u32 values, u32 window,      \
                                    u32 frames, u32 start, u32 shift, float appearance, float audio, float keep,        \
                                    float push) {                                                                       \
        guided_euler(predicted, latents, next, values, window, frames, start, shift, appearance, audio, keep, push);    \
    }

GUIDED_EULER(guided_euler_f32, float)
GUIDED_EULER(guided_euler_f16, Half)

// What the network is given for one window: three rows (nothing, image, all) of frames, each the scaled latents and then the
// portrait's, which the first row does not see.
template <typename T>
__device__ inline void window_input(const float *latents, const float *portrait, T *sample, u32 values, u32 window,
                                    u32 frames, u32 start, u32 shift, float scale) {
    u32 value = thread_x(), at = thread_y();
    if (value >= values || at >= window) return;
    float scaled = latents[on_circle(start, at, shift, frames) * values + value] * scale;
    for (u32 row = 0; row < 3; row++) {
        T *place = sample + (row * window + at) * 2 * values + value;
        put(place, scaled);
        put(place + values, row == 0 ? 0.0f : portrait[value]);
    }
}

#define WINDOW_INPUT(name, T)                                                                                           \
    extern "C" __global__ void name(const float *latents, const float *portrait, T *sample, u32 values, u32 window,     \
                                    u32 frames, u32 start, u32 shift, float scale) {                                    \
        window_input(latents, portrait, sample, values, window, frames, start, shift, scale);                           \
    }

WINDOW_INPUT(window_input_f32, float)
WINDOW_INPUT(window_input_f16, Half)
