//! A test network: packets that are lost, late, duplicated and reordered, on a virtual clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{AudioBlock, AudioPacket, AudioReceiver, BlockKind, Decode, Undecodable};
use crate::media::Utterance;
use crate::telemetry::LossCounts;
use crate::time::AudioRtpTime;

/// Decodes packets of `FF len/120 level` to that many samples of that level; the first one has the level of the packet before,
/// so that state of the decoder shows.
#[derive(Default)]
pub struct Fake {
    rings: Option<f32>,
}

impl Decode for Fake {
    fn samples(&self, packet: &[u8]) -> Option<usize> {
        (packet.len() == 3 && packet[0] == 0xff).then(|| usize::from(packet[1]) * 120)
    }

    fn decode(&mut self, packet: &[u8], samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        let count = self.samples(packet).ok_or(Undecodable { found: "garbage".to_owned() })?;
        let (level, first) = (f32::from(packet[2]) / 255.0, samples.len());
        samples.resize(first + count, level);
        samples[first] = self.rings.replace(level).unwrap_or(level);
        Ok(())
    }

    fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        self.samples(next).ok_or(Undecodable { found: "garbage".to_owned() })?;
        samples.resize(samples.len() + count, 0.0);
        Ok(())
    }

    fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) -> Result<(), Undecodable> {
        samples.resize(samples.len() + count, 0.0);
        Ok(())
    }

    fn reset(&mut self) {
        self.rings = None;
    }
}

/// What the network does to packets.
pub struct Impairments {
    pub loss_ratio: f64,
    pub double_ratio: f64,
    /// Each packet is late by up to this.
    pub jitter_ms: f64,
    /// How much slower the sender's clock is than the receiver's.
    pub slower_ppm: f64,
}

pub const CALM: Impairments = Impairments { loss_ratio: 0.0, double_ratio: 0.0, jitter_ms: 1.0, slower_ppm: 0.0 };

/// A sender, a network and a receiver.
pub struct Call {
    pub receiver: AudioReceiver<Fake>,
    pub start: Instant,
    pub impairments: Impairments,
    /// Packets of this many ms.
    pub packet_ms: u32,
    /// The sender's RTP time now.
    pub rtp: AudioRtpTime,
    pub sequence: u64,
    /// The utterance of packets that arrive from now on.
    pub utterance: Utterance,
    /// Duration of what the sender sent, in seconds of the receiver's clock.
    pub spoken_s: f64,
    random: fastrand::Rng,
    in_flight: BTreeMap<(Instant, u64), AudioPacket>,
    order: u64,
}

/// What was received in a part of a call.
#[derive(Debug, Default)]
pub struct Report {
    pub blocks: u64,
    pub voiced: u64,
    /// The largest sample, at 48 kHz.
    pub loudest: f32,
    /// From a packet's arrival to the tick that played it, in ms.
    pub delays_ms: Vec<f64>,
    /// Time between ticks, in ms.
    pub spacing_ms: Vec<f64>,
    pub losses: LossCounts,
}

impl Report {
    pub fn delay_percentile(&self, share: f64) -> f64 {
        let mut sorted = self.delays_ms.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(((sorted.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(f64::NAN)
    }
}

impl Call {
    pub fn new(impairments: Impairments) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs an arbitrary first instant")]
        let start = Instant::now();
        Self {
            receiver: AudioReceiver::new(Fake::default(), start),
            start,
            impairments,
            packet_ms: 20,
            rtp: AudioRtpTime::default().plus(u32::MAX - 100_000),
            sequence: 7,
            utterance: Utterance::default(),
            spoken_s: 0.0073,
            random: fastrand::Rng::with_seed(11),
            in_flight: BTreeMap::new(),
            order: 0,
        }
    }

    /// Sends one packet through the network.
    pub fn speak(&mut self, level: u8) {
        let samples = self.packet_ms * 48;
        self.spoken_s += f64::from(self.packet_ms) / 1000.0 * (1.0 + self.impairments.slower_ppm * 1e-6);
        let payload = Bytes::copy_from_slice(&[0xff, (samples / 120) as u8, level]);
        let (rtp, sequence) = (self.rtp, Some(self.sequence));
        self.rtp = rtp.plus(samples);
        self.sequence += 1;
        if self.random.f64() < self.impairments.loss_ratio {
            return;
        }
        let copies = if self.random.f64() < self.impairments.double_ratio { 2 } else { 1 };
        for _ in 0..copies {
            let late_s = 0.020 + self.random.f64() * self.impairments.jitter_ms / 1000.0;
            let arrived = self.start + Duration::from_secs_f64(self.spoken_s + late_s);
            self.post(AudioPacket { rtp, sequence, payload: payload.clone(), arrived });
        }
    }

    /// Sends a packet unchanged.
    pub fn post(&mut self, packet: AudioPacket) {
        self.order += 1;
        self.in_flight.insert((packet.arrived, self.order), packet);
    }

    /// The sender is silent for this long; its clock continues.
    pub fn pause(&mut self, ms: u32) {
        self.spoken_s += f64::from(ms) / 1000.0;
        self.rtp = self.rtp.plus(ms * 48);
    }

    /// Plays until the receiver reaches `seconds` on its clock.
    pub fn play_until(&mut self, seconds: f64) -> Report {
        let end = self.start + Duration::from_secs_f64(seconds);
        let mut report = Report::default();
        let mut last_tick: Option<Instant> = None;
        while self.receiver.next_tick() < end {
            let tick = self.receiver.next_tick();
            let first = self.in_flight.first_key_value().map(|((at, order), _)| (*at, *order));
            if let Some(key) = first.filter(|(at, _)| *at <= tick) {
                self.in_flight
                    .remove(&key)
                    .into_iter()
                    .for_each(|packet| self.receiver.push_packet(packet, self.utterance));
                continue;
            }
            let heard = self.receiver.tick(None);
            last_tick.iter().for_each(|last| report.spacing_ms.push((tick - *last).as_secs_f64() * 1000.0));
            last_tick = Some(tick);
            report.add(&heard, tick);
        }
        report.losses = self.receiver.losses();
        report
    }

    /// Sends and plays for this long.
    pub fn talk(&mut self, ms: u32) -> Report {
        (0..ms / self.packet_ms).for_each(|_| self.speak(40));
        self.play_until(self.spoken_s)
    }
}

impl Report {
    fn add(&mut self, heard: &AudioBlock, tick: Instant) {
        self.blocks += 1;
        self.loudest = heard.block.playback_48k.iter().fold(self.loudest, |most, sample| most.max(sample.abs()));
        if heard.kind == BlockKind::Voice {
            self.voiced += 1;
            let arrival = heard.newest_arrival.expect("received audio has a packet");
            assert!(arrival <= tick, "nothing is played before it arrives");
            self.delays_ms.push((tick - arrival).as_secs_f64() * 1000.0);
        }
    }
}
