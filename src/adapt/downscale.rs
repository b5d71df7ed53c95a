//! Downscaling of frames: each pixel is the average of the area that it covers.

use crate::media::{FrameSize, VideoFrame};

/// `frame` at `size`: the frame itself if it has that size, else an averaged copy in the buffer `scaled`.
/// A size larger than the frame counts as the frame's own.
pub fn shrink<'a>(frame: &'a VideoFrame, size: FrameSize, scaled: &'a mut Option<VideoFrame>) -> &'a VideoFrame {
    let full = frame.size();
    if size == full || size.width() > full.width() || size.height() > full.height() {
        return frame;
    }
    let small = match scaled.take() {
        Some(small) if small.size() == size => scaled.insert(small),
        _ => scaled.insert(VideoFrame::black(size)),
    };
    let (luma, blue, red) = frame.planes();
    let (small_luma, small_blue, small_red) = small.planes_mut();
    average(luma, full.width(), small_luma, size.width());
    average(blue, full.width() / 2, small_blue, size.width() / 2);
    average(red, full.width() / 2, small_red, size.width() / 2);
    small
}

/// Averages `from` (rows of `from_width`) into `to` (rows of `to_width`); both cover the same area.
fn average(from: &[u8], from_width: usize, to: &mut [u8], to_width: usize) {
    let (from_rows, to_rows) = (from.len() / from_width, to.len() / to_width);
    for (y, row) in to.chunks_exact_mut(to_width).enumerate() {
        let rows = span(y, to_rows, from_rows);
        for (x, out) in row.iter_mut().enumerate() {
            let columns = span(x, to_width, from_width);
            let count = (rows.len() * columns.len()) as u32;
            let of_row = |y: usize| &from[y * from_width..][columns.clone()];
            let sum: u32 = rows.clone().flat_map(of_row).map(|value| u32::from(*value)).sum();
            *out = ((sum + count / 2) / count) as u8;
        }
    }
}

/// The source positions that target position `at` of `count` covers, at least one.
fn span(at: usize, count: usize, from: usize) -> std::ops::Range<usize> {
    let start = at * from / count;
    start..((at + 1) * from).div_ceil(count).clamp(start + 1, from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_frame_stays_flat_at_every_step() {
        let mut frame = VideoFrame::black(FrameSize::square(512));
        frame.planes_mut().0.fill(200);
        for side in [256, 384, 510] {
            let mut scaled = None;
            let small = shrink(&frame, FrameSize::square(side), &mut scaled);
            assert!(small.planes().0.iter().all(|luma| *luma == 200), "side {side}");
        }
    }
}
