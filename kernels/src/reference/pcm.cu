// 16-bit samples to floats: `scale` is the gain over 32768.

extern "C" __global__ void pcm_to_f32(const short *pcm, float *out, u32 samples, float scale) {
    u32 at = thread_x();
    if (at < samples) out[at] = (float)pcm[at] * scale;
}
