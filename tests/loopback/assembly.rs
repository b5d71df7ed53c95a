//! Frames from packets, as a browser assembles them.
//!
//! A frame is complete when all packets from its start to its marker are there. A keyframe is shown as soon as it is complete,
//! and what is older is dropped; any other frame only directly after its predecessor (RFC 6184, sections 5.6 to 5.8).

use std::collections::BTreeMap;

use str0m::rtp::RtpHeader;

/// One H.264 packet.
struct Part {
    time: u32,
    is_last: bool,
    payload: Vec<u8>,
}

/// A frame that can be decoded.
pub struct Whole {
    pub time: u32,
    pub is_key: bool,
    /// Annex B.
    pub bytes: Vec<u8>,
}

/// Packets that wait for others.
#[derive(Default)]
pub struct Assembly {
    parts: BTreeMap<u64, Part>,
    newest: u64,
    shown_to: Option<u64>,
}

const SINGLE: u8 = 1;
const KEY: u8 = 5;
const SETS: u8 = 7;
const SEVERAL: u8 = 24;
const FRAGMENT: u8 = 28;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

impl Assembly {
    /// Takes a packet, or the original in a retransmission.
    pub fn take(&mut self, header: &RtpHeader, sequence: u16, payload: &[u8]) {
        let forth = sequence.wrapping_sub(self.newest as u16).cast_signed();
        let sequence = self.newest.wrapping_add_signed(i64::from(forth));
        if payload.is_empty() || self.shown_to.is_some_and(|shown| sequence <= shown) {
            return;
        }
        self.newest = self.newest.max(sequence);
        let part = Part { time: header.timestamp, is_last: header.marker, payload: payload.to_vec() };
        self.parts.entry(sequence).or_insert(part);
    }

    /// The next frame that can be decoded.
    pub fn next(&mut self) -> Option<Whole> {
        let follows = self.shown_to.and_then(|shown| self.whole(shown + 1));
        let starts = || self.parts.iter().filter(|(_, part)| begins_key(&part.payload)).map(|(sequence, _)| *sequence);
        let (first, last) = follows.or_else(|| starts().find_map(|start| self.whole(start)))?;
        self.shown_to = Some(last);
        let rest = self.parts.split_off(&(last + 1));
        let parts = std::mem::replace(&mut self.parts, rest).split_off(&first);
        let time = parts.first_key_value()?.1.time;
        let bytes = parts.values().flat_map(|part| units(&part.payload)).collect();
        Some(Whole { time, is_key: begins_key(&parts.first_key_value()?.1.payload), bytes })
    }

    /// First and last packet of the frame that begins at `start`, if it is complete.
    fn whole(&self, start: u64) -> Option<(u64, u64)> {
        let first = self.parts.get(&start).filter(|part| begins(&part.payload))?;
        for (at, part) in (start..).zip(self.parts.range(start..)) {
            if *part.0 != at || part.1.time != first.time {
                return None;
            }
            if part.1.is_last {
                return Some((start, at));
            }
        }
        None
    }
}

fn begins_key(payload: &[u8]) -> bool {
    [SETS, SEVERAL].contains(&(payload[0] & 31))
}

fn begins(payload: &[u8]) -> bool {
    let is_first_fragment = || payload.get(1).is_some_and(|head| head & 0x80 != 0 && head & 31 == SINGLE);
    let kind = payload[0] & 31;
    begins_key(payload) || kind == SINGLE || kind == FRAGMENT && is_first_fragment()
}

/// The bytes that a payload adds to a frame.
fn units(payload: &[u8]) -> Vec<u8> {
    match payload[0] & 31 {
        SEVERAL => {
            let (mut rest, mut bytes) = (&payload[1..], Vec::new());
            while let Some((length, unit)) = rest.split_first_chunk() {
                let (unit, others) = unit.split_at(usize::from(u16::from_be_bytes(*length)));
                bytes.extend([&START_CODE, unit].concat());
                rest = others;
            }
            bytes
        }
        FRAGMENT if payload[1] & 0x80 != 0 => {
            [&START_CODE[..], &[payload[0] & 0xe0 | payload[1] & 31], &payload[2..]].concat()
        }
        FRAGMENT => payload[2..].to_vec(),
        SINGLE..=KEY | SETS..SEVERAL => [&START_CODE, payload].concat(),
        _ => Vec::new(),
    }
}
