// PCM to log-mel, in two launches for the portrait and four for Whisper: power of each bin, the logarithms of the bands, the
// largest value, and clamping to a range below it.

// The sample at `at`, reflected at both ends without repeating the end sample.
__device__ inline float reflected(const float *pcm, int at, int count) {
    if (at < 0) at = -at;
    if (at >= count) at = 2 * (count - 1) - at;
    return at < 0 || at >= count ? 0.0f : pcm[at];
}

// `twiddles` holds cosines, then negative sines, of all `fft` fractions of a circle. One thread computes one bin of one frame.
extern "C" __global__ void mel_power(const float *pcm, const float *hann, const float *twiddles, float *power, u32 samples,
                                     u32 frames, u32 window, u32 hop, u32 fft, u32 lead) {
    u32 bin = thread_x(), frame = thread_y(), bins = fft / 2 + 1;
    if (bin >= bins || frame >= frames) return;
    float real = 0.0f, imaginary = 0.0f;
    int start = (int)(frame * hop) - (int)lead;
    u32 angle = 0;
    for (u32 n = 0; n < window; n++) {
        float value = hann[n] * reflected(pcm, start + (int)n, (int)samples);
        real += value * twiddles[angle];
        imaginary += value * twiddles[fft + angle];
        angle += bin;
        if (angle >= fft) angle -= fft;
    }
    power[frame * bins + bin] = real * real + imaginary * imaginary;
}

__device__ inline float band_sum(const float *power, const float *weights, u32 frame, u32 band, u32 bins) {
    float sum = 0.0f;
    for (u32 bin = 0; bin < bins; bin++) sum += weights[band * bins + bin] * power[frame * bins + bin];
    return sum;
}

// For the portrait: rows of bands, natural logarithms, the floor is added.
extern "C" __global__ void mel_natural(const float *power, const float *weights, float *out, u32 frames, u32 bins,
                                       u32 bands, float floor) {
    u32 band = thread_x(), frame = thread_y();
    if (band >= bands || frame >= frames) return;
    out[frame * bands + band] = logf(band_sum(power, weights, frame, band, bins) + floor);
}

// For Whisper: rows of frames, decimal logarithms, clamped to the floor. The first thread initialises `max_key`.
extern "C" __global__ void mel_decimal(const float *power, const float *weights, float *out, int *max_key, u32 frames,
                                       u32 bins, u32 bands, float floor) {
    u32 band = thread_x(), frame = thread_y();
    if (band == 0 && frame == 0) *max_key = (int)0x80000000;
    if (band >= bands || frame >= frames) return;
    float sum = band_sum(power, weights, frame, band, bins);
    out[band * frames + frame] = log10f(sum < floor ? floor : sum);
}

// A key whose order among integers is the value's order among floats.
__device__ inline int to_ordered(float value) {
    int bits = __float_as_int(value);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
}

__device__ inline float from_ordered(int key) { return __int_as_float(key < 0 ? key ^ 0x7fffffff : key); }

// One thread reduces one frame.
extern "C" __global__ void mel_max(const float *out, int *max_key, u32 frames, u32 bands) {
    u32 frame = thread_x();
    if (frame >= frames) return;
    int most = to_ordered(out[frame]);
    for (u32 band = 1; band < bands; band++) {
        int key = to_ordered(out[band * frames + frame]);
        if (key > most) most = key;
    }
    atomicMax(max_key, most);
}

extern "C" __global__ void mel_clamp(float *out, const int *max_key, u32 values, float range) {
    u32 at = thread_x();
    if (at >= values) return;
    float least = from_ordered(*max_key) - range, value = out[at];
    out[at] = ((value < least ? least : value) + 4.0f) / 4.0f;
}
