//! What became of the packets that we sent, as the receiver tells it: how much of them comes through, and whether they wait
//! in a queue on the way (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! A machine: time is given. Decides what the feedback says, not what is done about it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::rtp::rtcp::Twcc;

/// Packets remembered: some seconds of them.
const MAX_PACKETS: usize = 2_048;
/// Losses are counted over packets sent within this time,
const LOSS_WINDOW: Duration = Duration::from_secs(1);
/// and what comes through over packets that received within this time.
const ACKED_WINDOW: Duration = Duration::from_millis(500);
/// The min_delay of so many packets, that were sent within this time, tells how long the queue is: jitter delays some of
/// them, a queue all.
const MIN_DELAY_OF: (usize, Duration) = (16, Duration::from_millis(250));
/// The min_delay packets of so many baselines tell how long the way takes without a queue; clocks drift little meanwhile.
const BASELINE_WINDOWS: usize = 6;
const BASELINE_WINDOW: Duration = Duration::from_secs(5);

/// What the feedback says about the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathStats {
    /// Bits a second that come through.
    pub acked_bitrate_bps: u64,
    /// The share of the packets of the last second that was lost, 0 to 1.
    pub loss_ratio: f64,
    /// The share of those that received which something sent later overtook, 0 to 1: no queue does that.
    pub reordered_ratio: f64,
    /// How long packets wait in a queue on the way.
    pub queuing_delay: Duration,
}

/// Packets and what was heard of them.
#[derive(Debug)]
pub struct TwccHistory {
    epoch: Instant,
    sent: VecDeque<Sent>,
    newest: u64,
    baselines: VecDeque<(Instant, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    bytes: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Pending,
    Lost,
    /// On the receiver's clock, which begins anywhere.
    Received(Instant),
}

impl TwccHistory {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let newest = u64::from(u16::MAX);
        Self { epoch: now, sent: VecDeque::new(), newest, baselines: VecDeque::new() }
    }

    /// A packet left, under this number of the transport.
    pub fn on_sent(&mut self, sequence: u16, bytes: usize, now: Instant) {
        let step = u64::from(sequence.wrapping_sub(self.newest as u16));
        if step != 1 {
            self.sent.clear();
        }
        self.newest += step;
        if self.sent.len() == MAX_PACKETS {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { at: now, bytes, outcome: Outcome::Pending });
    }

    /// Takes feedback; none if it says nothing about packets that are remembered.
    pub fn on_feedback(&mut self, feedback: &Twcc, now: Instant) -> Option<PathStats> {
        let oldest = (self.newest + 1).checked_sub(self.sent.len() as u64)?;
        for (number, _, received) in feedback.clone().into_iter(self.epoch, self.newest.into()) {
            let place = number.checked_sub(oldest).and_then(|place| usize::try_from(place).ok());
            let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) else { continue };
            sent.outcome = match (sent.outcome, received) {
                (Outcome::Received(_), _) => continue,
                (_, Some(received)) => Outcome::Received(received),
                (_, None) => Outcome::Lost,
            };
        }
        self.path_stats(now)
    }

    fn path_stats(&mut self, now: Instant) -> Option<PathStats> {
        let queuing_delay = self.queuing_delay(now)?;
        let known = || self.sent.iter().rev().filter(|sent| !matches!(sent.outcome, Outcome::Pending));
        let newest = known().next()?.at;
        let recent = || known().take_while(|sent| newest.saturating_duration_since(sent.at) < LOSS_WINDOW);
        let lost = recent().filter(|sent| matches!(sent.outcome, Outcome::Lost)).count();
        let last = recent().filter_map(Sent::received_at).max()?;
        let is_new = |received: Instant| last.saturating_duration_since(received) < ACKED_WINDOW;
        let bytes: usize = recent().filter(|sent| sent.received_at().is_some_and(is_new)).map(|sent| sent.bytes).sum();
        let acked_bitrate_bps = bytes as u64 * 8_000 / ACKED_WINDOW.as_millis() as u64;
        let loss_ratio = lost as f64 / recent().count() as f64;
        Some(PathStats {
            acked_bitrate_bps,
            loss_ratio,
            reordered_ratio: reordered_ratio(recent().filter_map(Sent::received_at)),
            queuing_delay,
        })
    }

    /// How much longer the min_delay of the newest packets delays than the min_delay of the last half a minute.
    fn queuing_delay(&mut self, now: Instant) -> Option<Duration> {
        let received = self.sent.iter().rev().filter_map(|sent| Some((sent.at, sent.received_at()?)));
        let since_epoch = |at: Instant| at.saturating_duration_since(self.epoch).as_secs_f64();
        let (most, within) = MIN_DELAY_OF;
        let newest = received.clone().next()?.0;
        let received = received.take_while(|(at, _)| newest.saturating_duration_since(*at) < within).take(most);
        let delays = received.map(|(at, received)| since_epoch(received) - since_epoch(at));
        let min_delay = delays.reduce(f64::min)?;
        match self.baselines.back_mut().filter(|(began, _)| now.saturating_duration_since(*began) < BASELINE_WINDOW) {
            Some((_, least)) => *least = least.min(min_delay),
            None => self.baselines.push_back((now, min_delay)),
        }
        self.baselines.drain(..self.baselines.len().saturating_sub(BASELINE_WINDOWS));
        let least = self.baselines.iter().map(|(_, least)| *least).reduce(f64::min)?;
        Some(Duration::from_secs_f64((min_delay - least).max(0.0)))
    }
}

/// Of packets from the newest to the oldest, the share that received after a newer one.
fn reordered_ratio(received: impl Iterator<Item = Instant>) -> f64 {
    let (mut all, mut late, mut soonest) = (0_u32, 0_u32, None::<Instant>);
    for at in received {
        late += u32::from(soonest.is_some_and(|soonest| at > soonest));
        soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
        all += 1;
    }
    f64::from(late) / f64::from(all.max(1))
}

impl Sent {
    fn received_at(&self) -> Option<Instant> {
        match self.outcome {
            Outcome::Received(received) => Some(received),
            Outcome::Pending | Outcome::Lost => None,
        }
    }
}
