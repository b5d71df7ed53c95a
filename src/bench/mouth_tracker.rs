//! Measures mouth motion in decoded video.
//!
//! Decides which part of the frame is the mouth, for any avatar: the cells that change much during speech and little in silence.

use std::time::Duration;

use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::recording::{Frame, Recording, VideoPacket, frames};

/// Side of the square cells over which luma is averaged, in pixels.
const CELL: usize = 8;

/// A decoded frame, reduced to the mean luma of its cells.
#[derive(Clone, Debug)]
pub struct LumaFrame {
    /// Its RTP timestamp and arrival.
    pub frame: Frame,
    /// Mean luma of each cell, row by row.
    pub cells: Vec<f32>,
}

/// Decodes the video of a recording. Frames that cannot be decoded are left out.
///
/// # Errors
/// If the decoder cannot be created.
pub fn decode_frames(recording: &Recording) -> Result<Vec<LumaFrame>, openh264::Error> {
    let mut decoder = Decoder::new()?;
    let mut decoded = Vec::new();
    for frame in frames(&recording.video) {
        let packets: Vec<&VideoPacket> =
            recording.video.iter().filter(|packet| i64::from(packet.rtp.0) == frame.ticks & 0xffff_ffff).collect();
        if let Ok(Some(image)) = decoder.decode(&annex_b(&packets)) {
            let (width, height) = image.dimensions();
            let cells = cell_means(image.y(), image.strides().0, width, height);
            decoded.push(LumaFrame { frame, cells });
        }
    }
    Ok(decoded)
}

fn cell_means(luma: &[u8], stride: usize, width: usize, height: usize) -> Vec<f32> {
    let mean = |x: usize, y: usize| {
        let rows = (y..y + CELL).map(|row| &luma[row * stride + x..row * stride + x + CELL]);
        rows.flatten().map(|v| f32::from(*v)).sum::<f32>() / (CELL * CELL) as f32
    };
    let columns = width / CELL;
    (0..columns * (height / CELL)).map(|n| mean(n % columns * CELL, n / columns * CELL)).collect()
}

/// Depacketises an access unit (RFC 6184: single NAL units, STAP-A, FU-A) into Annex B format.
fn annex_b(packets: &[&VideoPacket]) -> Vec<u8> {
    let origin = packets.first().map_or(0, |packet| packet.sequence);
    let mut ordered: Vec<_> =
        packets.iter().map(|p| (p.sequence.wrapping_sub(origin).cast_signed(), &p.payload)).collect();
    ordered.sort_by_key(|(offset, _)| *offset);
    ordered.dedup_by_key(|(offset, _)| *offset);
    let mut unit = Vec::new();
    ordered.into_iter().for_each(|(_, payload)| append_payload(&mut unit, payload));
    unit
}

fn append_payload(unit: &mut Vec<u8>, payload: &[u8]) {
    const START_CODE: [u8; 4] = [0, 0, 0, 1];
    match payload {
        [head, rest @ ..] if head & 0x1f == 24 => {
            let mut rest = rest;
            while let [high, low, tail @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
                unit.extend_from_slice(&START_CODE);
                unit.extend_from_slice(&tail[..length]);
                rest = &tail[length..];
            }
        }
        [indicator, head, rest @ ..] if indicator & 0x1f == 28 => {
            if head & 0x80 != 0 {
                unit.extend_from_slice(&START_CODE);
                unit.push(indicator & 0xe0 | head & 0x1f);
            }
            unit.extend_from_slice(rest);
        }
        whole => {
            unit.extend_from_slice(&START_CODE);
            unit.extend_from_slice(whole);
        }
    }
}

/// The cells of the mouth: the twelve that change most between consecutive frames of `speaking`, less twice their change in
/// `silent`.
#[must_use]
pub fn mouth_cells(speaking: &[&LumaFrame], silent: &[&LumaFrame]) -> Vec<usize> {
    let (speech, silence) = (activity(speaking), activity(silent));
    let mut ranked: Vec<usize> = (0..speech.len().min(silence.len())).collect();
    ranked.sort_by(|a, b| (speech[*b] - 2.0 * silence[*b]).total_cmp(&(speech[*a] - 2.0 * silence[*a])));
    ranked.truncate(12);
    ranked
}

/// For each cell, the median difference between consecutive frames. The median ignores a blink, which is short.
fn activity(frames: &[&LumaFrame]) -> Vec<f32> {
    let count = frames.first().map_or(0, |first| first.cells.len());
    let pairs = || frames.windows(2).filter(|pair| pair.iter().all(|frame| frame.cells.len() == count));
    (0..count).map(|cell| median(pairs().map(|pair| (pair[0].cells[cell] - pair[1].cells[cell]).abs()))).collect()
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Mean absolute difference between a frame and `rest` over the cells of the mouth.
#[must_use]
pub fn distance(frame: &LumaFrame, rest: &[f32], mouth: &[usize]) -> f32 {
    let differences = mouth.iter().filter_map(|cell| Some((frame.cells.get(*cell)? - rest.get(*cell)?).abs()));
    differences.sum::<f32>() / mouth.len().max(1) as f32
}

/// The median of each cell.
#[must_use]
pub fn median_frame(frames: &[&LumaFrame]) -> Vec<f32> {
    let count = frames.first().map_or(0, |first| first.cells.len());
    (0..count).map(|cell| median(frames.iter().filter_map(|frame| frame.cells.get(cell).copied()))).collect()
}

/// The change of luma that an open mouth causes: the cells that differ between speech and silence with the same sign in every
/// utterance, and by how much.
#[derive(Clone, Debug, Default)]
pub struct MouthOpening {
    change: Vec<(usize, f32)>,
}

impl MouthOpening {
    /// Derives it from the median frames in speech and in silence, one pair per utterance. The sign distinguishes the mouth from
    /// a swaying head, whose cells change now up, now down.
    #[must_use]
    pub fn from_pairs(pairs: &[[Vec<f32>; 2]]) -> Self {
        let count = pairs.iter().flatten().map(Vec::len).min().unwrap_or(0);
        let steady = |cell: usize| {
            let changes = || pairs.iter().map(|[speech, silence]| speech[cell] - silence[cell]);
            let least = changes().map(f32::abs).fold(f32::MAX, f32::min);
            let has_one_sign = changes().all(|change| change > 0.0) || changes().all(|change| change < 0.0);
            (cell, if has_one_sign { least.copysign(changes().sum()) } else { 0.0 })
        };
        let mut change: Vec<(usize, f32)> = (0..count).map(steady).collect();
        change.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        change.truncate(12);
        change.retain(|(_, change)| *change != 0.0);
        Self { change }
    }

    /// Opening of the mouth in `frame`: 0 at `rest`, about 1 in speech. `None` if speech changed no cell in the learning pairs.
    #[must_use]
    pub fn of(&self, frame: &LumaFrame, rest: &[f32]) -> Option<f32> {
        let length: f32 = self.change.iter().map(|(_, change)| change * change).sum();
        let product = |(cell, change): &(usize, f32)| Some((frame.cells.get(*cell)? - rest.get(*cell)?) * change);
        let projection: f32 = self.change.iter().map(product).sum::<Option<f32>>()?;
        (length > 0.0).then(|| projection / length)
    }
}

/// The frames that arrived between two instants.
#[must_use]
pub fn frames_between(frames: &[LumaFrame], from: Duration, to: Duration) -> Vec<&LumaFrame> {
    frames.iter().filter(|one| one.frame.arrived >= from && one.frame.arrived < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mouth_is_where_cells_change_in_speech_and_not_in_silence() {
        let frame = |value: &dyn Fn(usize) -> f32| LumaFrame {
            frame: Frame { ticks: 0, arrived: Duration::ZERO, length_bytes: 0, is_complete: true },
            cells: (0..40).map(value).collect(),
        };
        // Cells 5 to 16 are the mouth; cell 30 (an eye) changes as much all the time.
        let at = |n: usize, open: f32| {
            frame(&move |c| {
                if (5..17).contains(&c) {
                    open * (n % 2) as f32
                } else if c == 30 {
                    20.0 * (n % 2) as f32
                } else {
                    0.0
                }
            })
        };
        let (loud, quiet): (Vec<LumaFrame>, Vec<LumaFrame>) =
            ((0..10).map(|n| at(n, 9.0)).collect(), (0..10).map(|n| at(n, 0.0)).collect());
        let mut found = mouth_cells(&loud.iter().collect::<Vec<_>>(), &quiet.iter().collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (5..17).collect::<Vec<_>>());
    }

    #[test]
    fn fragments_and_aggregates_are_depacketised() {
        let mut unit = Vec::new();
        append_payload(&mut unit, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]);
        append_payload(&mut unit, &[0x7c, 0x85, 7]);
        append_payload(&mut unit, &[0x7c, 0x45, 8]);
        assert_eq!(unit, [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 7, 8]);
    }

    #[test]
    fn cells_that_change_alike_in_every_utterance_are_the_mouth_and_a_swaying_head_is_not() {
        let pairs = [[vec![9.0, 60.0, 20.0], vec![9.0, 20.0, 40.0]], [vec![8.0, 55.0, 50.0], vec![9.0, 22.0, 30.0]]];
        let opening = MouthOpening::from_pairs(&pairs);
        assert_eq!(opening.change, [(1, 33.0)]);
        let frame = Frame { ticks: 0, arrived: Duration::ZERO, length_bytes: 0, is_complete: true };
        let open = LumaFrame { frame, cells: vec![0.0, 53.0, 90.0] };
        assert_eq!(opening.of(&open, &[0.0, 20.0, 0.0]), Some(1.0));
        assert_eq!(MouthOpening::default().of(&open, &[]), None);
    }
}
