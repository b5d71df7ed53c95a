//! What became of the packets that we sent, as the receiver tells it: how much of them comes through, and whether they wait
//! in a queue on the way (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! A machine: time is given. Decides what the feedback says, not what is done about it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::rtp::rtcp::Twcc;

/// Packets remembered: some seconds of them.
const MOST: usize = 2_048;
/// Losses are counted over packets sent within this time,
const LOSS_WINDOW: Duration = Duration::from_secs(1);
/// and what comes through over packets that came within this time.
const CARRIED_WINDOW: Duration = Duration::from_millis(500);
/// The quickest of so many packets, that were sent within this time, tells how long the queue is: jitter delays some of
/// them, a queue all.
const QUICKEST_OF: (usize, Duration) = (16, Duration::from_millis(250));
/// The quickest packets of so many stretches tell how long the way takes without a queue; clocks drift little meanwhile.
const STRETCHES: usize = 6;
const STRETCH: Duration = Duration::from_secs(5);

/// What the feedback says about the way out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Bits a second that come through.
    pub carried_bps: u64,
    /// The share of the packets of the last second that was lost, 0 to 1.
    pub lost_ratio: f64,
    /// The share of those that came which something sent later overtook, 0 to 1: no queue does that.
    pub overtaken_ratio: f64,
    /// How long packets wait in a queue on the way.
    pub queue: Duration,
}

/// Packets and what was heard of them.
#[derive(Debug)]
pub struct TwccHistory {
    zero: Instant,
    sent: VecDeque<Sent>,
    newest: u64,
    stretches: VecDeque<(Instant, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    bytes: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Unknown,
    Lost,
    /// On the receiver's clock, which begins anywhere.
    Came(Instant),
}

impl TwccHistory {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let newest = u64::from(u16::MAX);
        Self { zero: now, sent: VecDeque::new(), newest, stretches: VecDeque::new() }
    }

    /// A packet left, under this number of the transport.
    pub fn send(&mut self, sequence: u16, bytes: usize, now: Instant) {
        let step = u64::from(sequence.wrapping_sub(self.newest as u16));
        if step != 1 {
            self.sent.clear();
        }
        self.newest += step;
        if self.sent.len() == MOST {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { at: now, bytes, outcome: Outcome::Unknown });
    }

    /// Takes feedback; none if it says nothing about packets that are remembered.
    pub fn hear(&mut self, feedback: &Twcc, now: Instant) -> Option<View> {
        let oldest = (self.newest + 1).checked_sub(self.sent.len() as u64)?;
        for (number, _, came) in feedback.clone().into_iter(self.zero, self.newest.into()) {
            let place = number.checked_sub(oldest).and_then(|place| usize::try_from(place).ok());
            let Some(sent) = place.and_then(|place| self.sent.get_mut(place)) else { continue };
            sent.outcome = match (sent.outcome, came) {
                (Outcome::Came(_), _) => continue,
                (_, Some(came)) => Outcome::Came(came),
                (_, None) => Outcome::Lost,
            };
        }
        self.view(now)
    }

    fn view(&mut self, now: Instant) -> Option<View> {
        let queue = self.queue(now)?;
        let known = || self.sent.iter().rev().filter(|sent| !matches!(sent.outcome, Outcome::Unknown));
        let newest = known().next()?.at;
        let recent = || known().take_while(|sent| newest.saturating_duration_since(sent.at) < LOSS_WINDOW);
        let lost = recent().filter(|sent| matches!(sent.outcome, Outcome::Lost)).count();
        let last = recent().filter_map(Sent::came).max()?;
        let is_new = |came: Instant| last.saturating_duration_since(came) < CARRIED_WINDOW;
        let bytes: usize = recent().filter(|sent| sent.came().is_some_and(is_new)).map(|sent| sent.bytes).sum();
        let carried_bps = bytes as u64 * 8_000 / CARRIED_WINDOW.as_millis() as u64;
        let lost_ratio = lost as f64 / recent().count() as f64;
        Some(View { carried_bps, lost_ratio, overtaken_ratio: overtaken(recent().filter_map(Sent::came)), queue })
    }

    /// How much longer the quickest of the newest packets took than the quickest of the last half a minute.
    fn queue(&mut self, now: Instant) -> Option<Duration> {
        let came = self.sent.iter().rev().filter_map(|sent| Some((sent.at, sent.came()?)));
        let since_zero = |at: Instant| at.saturating_duration_since(self.zero).as_secs_f64();
        let (most, within) = QUICKEST_OF;
        let newest = came.clone().next()?.0;
        let came = came.take_while(|(at, _)| newest.saturating_duration_since(*at) < within).take(most);
        let took = came.map(|(at, came)| since_zero(came) - since_zero(at));
        let quickest = took.reduce(f64::min)?;
        match self.stretches.back_mut().filter(|(began, _)| now.saturating_duration_since(*began) < STRETCH) {
            Some((_, least)) => *least = least.min(quickest),
            None => self.stretches.push_back((now, quickest)),
        }
        self.stretches.drain(..self.stretches.len().saturating_sub(STRETCHES));
        let least = self.stretches.iter().map(|(_, least)| *least).reduce(f64::min)?;
        Some(Duration::from_secs_f64((quickest - least).max(0.0)))
    }
}

/// Of packets from the newest to the oldest, the share that came after a newer one.
fn overtaken(came: impl Iterator<Item = Instant>) -> f64 {
    let (mut all, mut late, mut soonest) = (0_u32, 0_u32, None::<Instant>);
    for at in came {
        late += u32::from(soonest.is_some_and(|soonest| at > soonest));
        soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
        all += 1;
    }
    f64::from(late) / f64::from(all.max(1))
}

impl Sent {
    fn came(&self) -> Option<Instant> {
        match self.outcome {
            Outcome::Came(came) => Some(came),
            Outcome::Unknown | Outcome::Lost => None,
        }
    }
}
