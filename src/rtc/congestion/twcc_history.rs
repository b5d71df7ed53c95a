//! History of sent packets and of the receiver's feedback about them: acknowledged bitrate, loss, reordering, queuing delay
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! A state machine: time is passed in. Decides what the feedback means, not the reaction to it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::rtp::rtcp::Twcc;

/// Packets kept: about 8 s at 2.5 Mbit/s. The oldest is dropped.
const MAX_PACKETS: usize = 2_048;
/// Loss and reordering are counted over packets sent within this time,
const LOSS_WINDOW: Duration = Duration::from_secs(1);
/// and the acknowledged bitrate over packets received within this time.
const ACKED_WINDOW: Duration = Duration::from_millis(500);
/// The minimum one-way delay of this many packets, sent within this time, minus the baseline is the queuing delay: jitter
/// delays some of them, a queue delays all.
const MIN_DELAY_OF: (usize, Duration) = (16, Duration::from_millis(250));
/// The baseline is the minimum one-way delay over this many windows. At 200 ppm two clocks part by 6 ms meanwhile.
const BASELINE_WINDOWS: usize = 6;
const BASELINE_WINDOW: Duration = Duration::from_secs(5);

/// State of the path according to the feedback.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathStats {
    /// Acknowledged bitrate in bits per second.
    pub acked_bitrate_bps: u64,
    /// Share of the packets of the last second that was lost, 0 to 1.
    pub loss_ratio: f64,
    /// Share of received packets that arrived after a packet sent later, 0 to 1. No queue does that.
    pub reordered_ratio: f64,
    /// How long packets wait in a queue on the path.
    pub queuing_delay: Duration,
}

/// Sent packets and their feedback.
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
    /// On the receiver's clock, which has an unknown offset.
    Received(Instant),
}

impl TwccHistory {
    /// An empty history.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let newest = u64::from(u16::MAX);
        Self { epoch: now, sent: VecDeque::new(), newest, baselines: VecDeque::new() }
    }

    /// A packet was sent with this transport-wide sequence number.
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

    /// Takes feedback; `None` if it is about packets that are not kept.
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

    /// How long packets wait in a queue on the path.
    ///
    /// The one-way delay of a packet is a constant (propagation, and the unknown offset between the two clocks), plus jitter,
    /// plus the time in a queue. Jitter differs from packet to packet and is sometimes close to zero, so the minimum over some
    /// packets is nearly free of it; a queue delays every packet. The constant is the same minimum while nothing queued: the
    /// least of the last half minute. For example, if the newest 16 packets took 131 to 240 ms, and the quickest of the last
    /// half minute took 31 ms, the queue is 100 ms long.
    fn queuing_delay(&mut self, now: Instant) -> Option<Duration> {
        let delay_s = self.min_delay_s()?;
        self.update_baseline(delay_s, now);
        let baseline_s = self.baselines.iter().map(|(_, least_s)| *least_s).reduce(f64::min)?;
        Some(Duration::from_secs_f64((delay_s - baseline_s).max(0.0)))
    }

    /// Minimum one-way delay of the newest received packets in seconds, including the offset between the clocks.
    fn min_delay_s(&self) -> Option<f64> {
        let received = || self.sent.iter().rev().filter_map(|sent| Some((sent.at, sent.received_at()?)));
        let since_epoch = |at: Instant| at.saturating_duration_since(self.epoch).as_secs_f64();
        let (count, within) = MIN_DELAY_OF;
        let newest = received().next()?.0;
        let recent =
            received().take_while(|(sent_at, _)| newest.saturating_duration_since(*sent_at) < within).take(count);
        recent.map(|(sent_at, received_at)| since_epoch(received_at) - since_epoch(sent_at)).reduce(f64::min)
    }

    /// Keeps the least delay of each of the last windows.
    fn update_baseline(&mut self, delay_s: f64, now: Instant) {
        match self.baselines.back_mut().filter(|(began, _)| now.saturating_duration_since(*began) < BASELINE_WINDOW) {
            Some((_, least_s)) => *least_s = least_s.min(delay_s),
            None => self.baselines.push_back((now, delay_s)),
        }
        self.baselines.drain(..self.baselines.len().saturating_sub(BASELINE_WINDOWS));
    }
}

/// Of packets from the newest to the oldest, the share that arrived after a newer one.
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
