//! Looks at pictures: finds where a face moves when it speaks, and says how much it moves in each frame.
//!
//! Knows nothing of avatars: the mouth is where the picture changes much while there is speech and little while there is none.

use std::time::Duration;

use bytes::Bytes;
use openh264::decoder::Decoder;
use openh264::formats::YUVSource;

use super::recording::{Frame, Recording, VideoPacket, frames};

/// Side of the squares in which brightness is averaged, in pixels.
const CELL: usize = 8;

/// A frame as brightness of cells.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When and where on the line it was.
    pub frame: Frame,
    /// Mean luma of each cell, row by row.
    pub cells: Vec<f32>,
}

/// Decodes the pictures of a tape; those that do not decode are left out.
///
/// # Errors
/// If there is no decoder.
pub fn watch(tape: &Recording) -> Result<Vec<Seen>, openh264::Error> {
    let mut decoder = Decoder::new()?;
    let mut seen = Vec::new();
    for frame in frames(&tape.video) {
        let packets: Vec<&VideoPacket> =
            tape.video.iter().filter(|packet| i64::from(packet.rtp.0) == frame.ticks & 0xffff_ffff).collect();
        if let Ok(Some(picture)) = decoder.decode(&annex_b(&packets)) {
            let (width, height) = picture.dimensions();
            let cells = cells(picture.y(), picture.strides().0, width, height);
            seen.push(Seen { frame, cells });
        }
    }
    Ok(seen)
}

fn cells(luma: &[u8], stride: usize, width: usize, height: usize) -> Vec<f32> {
    let mean = |x: usize, y: usize| {
        let rows = (y..y + CELL).map(|row| &luma[row * stride + x..row * stride + x + CELL]);
        rows.flatten().map(|v| f32::from(*v)).sum::<f32>() / (CELL * CELL) as f32
    };
    let columns = width / CELL;
    (0..columns * (height / CELL)).map(|n| mean(n % columns * CELL, n / columns * CELL)).collect()
}

/// The access unit of a frame's packets (RFC 6184: single units, aggregates, fragments), with start codes.
fn annex_b(packets: &[&VideoPacket]) -> Vec<u8> {
    let origin = packets.first().map_or(0, |packet| packet.sequence);
    let mut sorted: Vec<&Bytes> = Vec::new();
    let mut order: Vec<_> =
        packets.iter().map(|p| (p.sequence.wrapping_sub(origin).cast_signed(), &p.payload)).collect();
    order.sort_by_key(|(step, _)| *step);
    order.dedup_by_key(|(step, _)| *step);
    sorted.extend(order.into_iter().map(|(_, payload)| payload));
    let mut unit = Vec::new();
    sorted.into_iter().for_each(|payload| append(&mut unit, payload));
    unit
}

fn append(unit: &mut Vec<u8>, payload: &[u8]) {
    const START: [u8; 4] = [0, 0, 0, 1];
    match payload {
        [head, rest @ ..] if head & 0x1f == 24 => {
            let mut rest = rest;
            while let [high, low, tail @ ..] = rest {
                let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
                unit.extend_from_slice(&START);
                unit.extend_from_slice(&tail[..length]);
                rest = &tail[length..];
            }
        }
        [indicator, head, rest @ ..] if indicator & 0x1f == 28 => {
            if head & 0x80 != 0 {
                unit.extend_from_slice(&START);
                unit.push(indicator & 0xe0 | head & 0x1f);
            }
            unit.extend_from_slice(rest);
        }
        whole => {
            unit.extend_from_slice(&START);
            unit.extend_from_slice(whole);
        }
    }
}

/// The cells of the mouth: the twelve in which consecutive pictures of `speaking` usually differ most, beyond those of `quiet`.
#[must_use]
pub fn mouth(speaking: &[&Seen], quiet: &[&Seen]) -> Vec<usize> {
    let (spoken, still) = (unrest(speaking), unrest(quiet));
    let mut ranked: Vec<usize> = (0..spoken.len().min(still.len())).collect();
    ranked.sort_by(|a, b| (spoken[*b] - 2.0 * still[*b]).total_cmp(&(spoken[*a] - 2.0 * still[*a])));
    ranked.truncate(12);
    ranked
}

/// For each cell, the median difference of consecutive pictures: a blink is over before it counts.
fn unrest(seen: &[&Seen]) -> Vec<f32> {
    let count = seen.first().map_or(0, |first| first.cells.len());
    let pairs = || seen.windows(2).filter(|pair| pair.iter().all(|one| one.cells.len() == count));
    (0..count).map(|cell| median(pairs().map(|pair| (pair[0].cells[cell] - pair[1].cells[cell]).abs()))).collect()
}

fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut values: Vec<f32> = values.collect();
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// How far the mouth is from `rest` in a picture: mean difference of its cells.
#[must_use]
pub fn distance(seen: &Seen, rest: &[f32], mouth: &[usize]) -> f32 {
    let differences = mouth.iter().filter_map(|cell| Some((seen.cells.get(*cell)? - rest.get(*cell)?).abs()));
    differences.sum::<f32>() / mouth.len().max(1) as f32
}

/// The median picture.
#[must_use]
pub fn rest(seen: &[&Seen]) -> Vec<f32> {
    let count = seen.first().map_or(0, |first| first.cells.len());
    (0..count).map(|cell| median(seen.iter().filter_map(|one| one.cells.get(cell).copied()))).collect()
}

/// What speech makes of a face: the cells in which every spell of speech differs from its quiet the same way, and by how much.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    way: Vec<(usize, f32)>,
}

impl Opening {
    /// Learns it from spells: brightness at rest in speech and in quiet. A head that sways differs now this way, now that.
    #[must_use]
    pub fn learn(spells: &[[Vec<f32>; 2]]) -> Self {
        let count = spells.iter().flatten().map(Vec::len).min().unwrap_or(0);
        let steady = |cell: usize| {
            let ways = || spells.iter().map(|[speaking, quiet]| speaking[cell] - quiet[cell]);
            let least = ways().map(f32::abs).fold(f32::MAX, f32::min);
            let is_one_way = ways().all(|way| way > 0.0) || ways().all(|way| way < 0.0);
            (cell, if is_one_way { least.copysign(ways().sum()) } else { 0.0 })
        };
        let mut way: Vec<(usize, f32)> = (0..count).map(steady).collect();
        way.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        way.truncate(12);
        way.retain(|(_, way)| *way != 0.0);
        Self { way }
    }

    /// How far a mouth is on its way from `rest` (0) to speech (about 1); none if speech was never seen to move it.
    #[must_use]
    pub fn of(&self, seen: &Seen, rest: &[f32]) -> Option<f32> {
        let length: f32 = self.way.iter().map(|(_, way)| way * way).sum();
        let gone = |(cell, way): &(usize, f32)| Some((seen.cells.get(*cell)? - rest.get(*cell)?) * way);
        let gone: f32 = self.way.iter().map(gone).sum::<Option<f32>>()?;
        (length > 0.0).then(|| gone / length)
    }
}

/// The pictures that arrived between two moments.
#[must_use]
pub fn between(seen: &[Seen], from: Duration, to: Duration) -> Vec<&Seen> {
    seen.iter().filter(|one| one.frame.arrived >= from && one.frame.arrived < to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mouth_is_where_speech_moves_and_quiet_does_not() {
        let seen = |value: &dyn Fn(usize) -> f32| Seen {
            frame: Frame { ticks: 0, arrived: Duration::ZERO, length_bytes: 0, is_whole: true },
            cells: (0..40).map(value).collect(),
        };
        // Cells 5 to 16 speak; cell 30 (an eye) moves as much all the time.
        let at = |n: usize, open: f32| {
            seen(&move |c| {
                if (5..17).contains(&c) {
                    open * (n % 2) as f32
                } else if c == 30 {
                    20.0 * (n % 2) as f32
                } else {
                    0.0
                }
            })
        };
        let (loud, quiet): (Vec<Seen>, Vec<Seen>) =
            ((0..10).map(|n| at(n, 9.0)).collect(), (0..10).map(|n| at(n, 0.0)).collect());
        let mut found = mouth(&loud.iter().collect::<Vec<_>>(), &quiet.iter().collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (5..17).collect::<Vec<_>>());
    }

    #[test]
    fn fragments_and_aggregates_become_units_again() {
        let mut unit = Vec::new();
        append(&mut unit, &[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]);
        append(&mut unit, &[0x7c, 0x85, 7]);
        append(&mut unit, &[0x7c, 0x45, 8]);
        assert_eq!(unit, [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 7, 8]);
    }

    #[test]
    fn what_every_spell_has_in_common_is_the_mouth_and_a_swaying_head_is_not() {
        let spells = [[vec![9.0, 60.0, 20.0], vec![9.0, 20.0, 40.0]], [vec![8.0, 55.0, 50.0], vec![9.0, 22.0, 30.0]]];
        let opening = Opening::learn(&spells);
        assert_eq!(opening.way, [(1, 33.0)]);
        let frame = Frame { ticks: 0, arrived: Duration::ZERO, length_bytes: 0, is_whole: true };
        let open = Seen { frame, cells: vec![0.0, 53.0, 90.0] };
        assert_eq!(opening.of(&open, &[0.0, 20.0, 0.0]), Some(1.0));
        assert_eq!(Opening::default().of(&open, &[]), None);
    }
}
