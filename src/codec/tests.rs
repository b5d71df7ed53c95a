//! Requirements of every video encoder.

use super::{EncodedFrame, FrameKind, VideoEncoder};
use crate::media::{FrameSize, VideoFrame};
use crate::time::Rate;

/// Side of the frames, unless stated otherwise.
pub const SIDE: u32 = 256;

pub fn size() -> FrameSize {
    FrameSize::square(SIDE)
}

pub fn fps() -> Rate {
    Rate::new(25, 1).expect("rate")
}

/// A bright moving bar on a gradient with noise.
pub fn frame(side: u32, n: usize) -> VideoFrame {
    let mut frame = VideoFrame::black(FrameSize::square(side));
    let side = side as usize;
    let mut random = fastrand::Rng::with_seed(n as u64);
    let (luma, blue, _) = frame.planes_mut();
    for (i, pixel) in luma.iter_mut().enumerate() {
        let (x, y) = (i % side, i / side);
        let bar = if x.abs_diff((n * 5) % side) < 12 { 90 } else { 0 };
        *pixel = 40 + (y * 80 / side) as u8 + bar + random.u8(0..6);
    }
    blue.fill(110);
    frame
}

pub fn encode(encoder: &mut dyn VideoEncoder, side: u32, n: usize, kind: FrameKind) -> EncodedFrame {
    encoder.encode(&frame(side, n), kind).expect("a frame")
}

pub fn bytes_of(encoder: &mut dyn VideoEncoder, frames: std::ops::Range<usize>) -> usize {
    frames.map(|n| encode(encoder, SIDE, n, FrameKind::Any).bytes.len()).sum()
}

pub fn a_keyframe_comes_on_request_only(encoder: &mut dyn VideoEncoder) {
    let ask = |n| if n == 120 { FrameKind::Key } else { FrameKind::Any };
    let keys: Vec<usize> = (0..200).filter(|n| encode(encoder, SIDE, *n, ask(*n)).is_key).collect();
    assert_eq!(keys, [0, 120]);
}

/// The target of `encoder` is 800 kbit/s.
pub fn the_bitrate_changes_without_a_keyframe(encoder: &mut dyn VideoEncoder) {
    let rich = bytes_of(encoder, 0..100);
    encoder.set_bitrate(150_000);
    let poor = bytes_of(encoder, 100..200);
    encoder.set_bitrate(1_600_000);
    let richer = bytes_of(encoder, 200..300);
    assert!(poor * 3 < rich && richer > rich, "{rich} {poor} {richer}");
    assert!(!encode(encoder, SIDE, 300, FrameKind::Any).is_key);
    let aim = 150_000 * 4 / 8;
    assert!(poor < aim * 3 / 2, "{poor} bytes in 4 s, wanted about {aim}");
}

/// `look` receives the first frame of each size.
pub fn another_size_starts_with_a_keyframe(encoder: &mut dyn VideoEncoder, mut look: impl FnMut(u32, &EncodedFrame)) {
    bytes_of(encoder, 0..3);
    for side in [384, 128, 256] {
        let first = encode(encoder, side, 0, FrameKind::Any);
        assert!(first.is_key, "{side}");
        look(side, &first);
        assert!(!encode(encoder, side, 1, FrameKind::Any).is_key);
    }
}
