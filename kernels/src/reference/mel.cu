// Sound to log-mel, in three or four launches on one stream: power of each bin, the bands' logarithms, and for Whisper the
// loudest value and the range below it.

// The sample at `at`, mirrored at both ends without repeating the end itself.
__device__ inline float mirrored(const float *pcm, int at, int count) {
    if (at < 0) at = -at;
    if (at >= count) at = 2 * (count - 1) - at;
    return at < 0 || at >= count ? 0.0f : pcm[at];
}

// `turn` holds cosines and then sines of all `fft` parts of a circle. A thread reckons one bin of one frame.
extern "C" __global__ void mel_power(const float *pcm, const float *hann, const float *turn, float *power, u32 samples,
                                     u32 frames, u32 window, u32 hop, u32 fft, u32 lead) {
    u32 bin = thread_x(), frame = thread_y(), bins = fft / 2 + 1;
    if (bin >= bins || frame >= frames) return;
    float real = 0.0f, imaginary = 0.0f;
    int start = (int)(frame * hop) - (int)lead;
    u32 angle = 0;
    for (u32 n = 0; n < window; n++) {
        float value = hann[n] * mirrored(pcm, start + (int)n, (int)samples);
        real += value * turn[angle];
        imaginary += value * turn[fft + angle];
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

// The portrait's: frame after frame, natural logarithms, a floor that is added.
extern "C" __global__ void mel_natural(const float *power, const float *weights, float *out, u32 frames, u32 bins,
                                       u32 bands, float floor) {
    u32 band = thread_x(), frame = thread_y();
    if (band >= bands || frame >= frames) return;
    out[frame * bands + band] = logf(band_sum(power, weights, frame, band, bins) + floor);
}

// Whisper's: band after band, decimal logarithms, a floor that is kept to. The first thread sets `loudest` to the least.
extern "C" __global__ void mel_decimal(const float *power, const float *weights, float *out, int *loudest, u32 frames,
                                       u32 bins, u32 bands, float floor) {
    u32 band = thread_x(), frame = thread_y();
    if (band == 0 && frame == 0) *loudest = (int)0x80000000;
    if (band >= bands || frame >= frames) return;
    float sum = band_sum(power, weights, frame, band, bins);
    out[band * frames + frame] = log10f(sum < floor ? floor : sum);
}

// A number that is ordered among integers as the value is among floats.
__device__ inline int ordered(float value) {
    int bits = __float_as_int(value);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
}

__device__ inline float unordered(int key) { return __int_as_float(key < 0 ? key ^ 0x7fffffff : key); }

// A thread looks at one frame.
extern "C" __global__ void mel_loudest(const float *out, int *loudest, u32 frames, u32 bands) {
    u32 frame = thread_x();
    if (frame >= frames) return;
    int most = ordered(out[frame]);
    for (u32 band = 1; band < bands; band++) {
        int key = ordered(out[band * frames + frame]);
        if (key > most) most = key;
    }
    atomicMax(loudest, most);
}

extern "C" __global__ void mel_range(float *out, const int *loudest, u32 values, float below) {
    u32 at = thread_x();
    if (at >= values) return;
    float least = unordered(*loudest) - below, value = out[at];
    out[at] = ((value < least ? least : value) + 4.0f) / 4.0f;
}
