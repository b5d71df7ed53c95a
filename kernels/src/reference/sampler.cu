// One step of Sonic's sampler for one window: both guidances combine the three predictions, then the latents advance by one
// Euler step. Latents are f32, frame by frame on a circle of `frames`; the window begins `shift` frames before `start`, and a
// frame that several windows cover becomes their mean.

// The clip's frame that is the window's frame `at`.
__device__ inline u32 frame_of(u32 start, u32 at, u32 shift, u32 frames) {
    return (start + at + frames - shift % frames) % frames;
}

template <typename T>
__device__ inline void guided_euler(const T *predicted, const float *latents, float *next, u32 values, u32 window,
                                    u32 frames, u32 start, u32 shift, float appearance, float audio, float latent_weight,
                                    float velocity_weight) {
    u32 value = thread_x(), first = thread_y(), row = window * values;
    if (value >= values || first >= at_most(window, frames)) return;
    // A window that is longer than the clip covers a frame more than once.
    for (u32 at = first; at < window; at += frames) {
        u32 place = frame_of(start, at, shift, frames) * values + value, from = at * values + value;
        float none = get(predicted[from]), image = get(predicted[row + from]), all = get(predicted[2 * row + from]);
        float v = none + appearance * (image - none) + audio * (all - image);
        float stepped = latent_weight * latents[place] + velocity_weight * v;
        u32 before = (start + at) / frames;
        next[place] = before == 0 ? stepped : (next[place] * (float)before + stepped) / (float)(before + 1);
    }
}

#define GUIDED_EULER(name, T)                                                                                           \
    extern "C" __global__ void name(const T *predicted, const float *latents, float *next, u32 values, u32 window,      \
                                    u32 frames, u32 start, u32 shift, float appearance, float audio, float latent_weight, \
                                    float velocity_weight) {                                                                       \
        guided_euler(predicted, latents, next, values, window, frames, start, shift, appearance, audio, latent_weight,  \
                     velocity_weight);    \
    }

GUIDED_EULER(guided_euler_f32, float)
GUIDED_EULER(guided_euler_f16, Half)

// The network's input for one window: three rows (unconditional, without audio, full) of frames, each the scaled latents
// followed by the portrait's latents, which are zero in the first row.
template <typename T>
__device__ inline void window_input(const float *latents, const float *portrait, T *sample, u32 values, u32 window,
                                    u32 frames, u32 start, u32 shift, float scale) {
    u32 value = thread_x(), at = thread_y();
    if (value >= values || at >= window) return;
    float scaled = latents[frame_of(start, at, shift, frames) * values + value] * scale;
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
