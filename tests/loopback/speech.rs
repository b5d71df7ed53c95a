//! The speech that the client sends: the page's samples as Opus packets.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use visage::codec::audio_file::decode_clip;
use visage::codec::{OpusDecoder, OpusEncoder};
use visage::media::BLOCK_OPUS_SAMPLES;

/// Opus packets of 20 ms, and their levels.
pub struct Speech {
    pub packets: Vec<Bytes>,
    pub levels: Vec<f32>,
}

impl Speech {
    /// Both samples of the page, each followed by a second of silence.
    pub fn of_page() -> Self {
        let quiet = [0.0; 48_000];
        let samples = ["hello.wav", "boat.wav"].map(|name| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/samples").join(name);
            let bytes = std::fs::read(path).expect("a sample of the page");
            decode_clip(&bytes, Duration::from_mins(1)).expect("sound").samples().to_vec()
        });
        let pcm: Vec<f32> = samples.iter().flat_map(|sample| sample.iter().chain(&quiet)).copied().collect();
        Self::of(&pcm)
    }

    fn of(pcm: &[f32]) -> Self {
        let mut encoder = OpusEncoder::new().expect("an encoder");
        let blocks: Vec<&[f32; BLOCK_OPUS_SAMPLES]> = pcm.as_chunks().0.iter().collect();
        let packets = blocks.iter().map(|block| encoder.encode(block).expect("a packet")).collect();
        Self { packets, levels: blocks.iter().map(|block| level(*block)).collect() }
    }
}

/// Root mean square.
pub fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// Levels of packets, one per 20 ms of their time, from (RTP time, packet) in any order, including duplicates and gaps.
pub fn levels_of(packets: &[(u64, Bytes)]) -> Vec<(u64, f32)> {
    let mut sorted = packets.to_vec();
    sorted.sort_by_key(|(at, _)| *at);
    sorted.dedup_by_key(|(at, _)| *at);
    let mut decoder = OpusDecoder::new().expect("a decoder");
    sorted.iter().map(|(at, packet)| (*at, level(decoder.decode(packet).expect("our own packet")))).collect()
}

/// Pearson correlation; 0 if one of the series is constant.
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |row: &[f32]| row.iter().sum::<f32>() / row.len().max(1) as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut cross, mut own_a, mut own_b) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b).map(|(x, y)| (x - mean_a, y - mean_b)) {
        cross += x * y;
        own_a += x * x;
        own_b += y * y;
    }
    if own_a * own_b > 0.0 { cross / (own_a * own_b).sqrt() } else { 0.0 }
}
