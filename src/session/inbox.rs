//! The input of a running session: audio packets, commands and the latest requests of its viewers, from any thread,
//! without waiting.
//!
//! Decides what is dropped when a session cannot keep up: the oldest packet, the newest command. Requests are values without a
//! queue: the latest counts.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;

use super::speech::SpeechSource;
use crate::adapt::AudioPlan;
use crate::audio::AudioPacket;
use crate::media::Utterance;
use crate::model::Animator;
use crate::telemetry::{Counters, Loss};

/// 2.5 s of audio packets: more than the jitter buffer holds.
const PACKETS: usize = 128;
/// A session polls its commands fifty times a second.
const COMMANDS: usize = 32;

/// A command to a session.
#[derive(Debug)]
pub enum SessionCommand {
    /// Speak this source in place of the current one.
    Speak(SpeechSource),
    /// Discard the current speech and the microphone audio received so far. Audio that the microphone sends from now on is
    /// played.
    Interrupt,
    /// Swap the avatar.
    SwapAvatar(NewAnimator),
}

/// An animator that is passed to a session.
pub struct NewAnimator(pub Box<dyn Animator>);

impl fmt::Debug for NewAnimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewAnimator")
    }
}

/// The command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of {COMMANDS} commands is full")]
pub struct CommandQueueFull;

/// The input of one session. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    packets: ArrayQueue<(AudioPacket, Utterance)>,
    commands: ArrayQueue<(SessionCommand, Utterance)>,
    utterance: AtomicU64,
    /// Locked while the utterance number is raised, so that number and command are queued together. Sessions never lock it.
    raising: Mutex<()>,
    requested: Requested,
    has_ended: AtomicBool,
    counters: Arc<Counters>,
}

/// The requests of the viewers; the latest value counts.
#[derive(Debug, Default)]
struct Requested {
    watching: AtomicUsize,
    has_backlog: AtomicBool,
    needs_keyframe: AtomicBool,
    /// 0: unchanged.
    bitrate_bps: AtomicU32,
    audio: Mutex<Option<AudioPlan>>,
}

/// Whether the viewers that determine the frame rate have room for another frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// They have room.
    Clear,
    /// Too many of their frames wait for the network.
    Full,
}

impl Inbox {
    /// An empty inbox; dropped items are counted in `counters`.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        Self(Arc::new(Shared {
            packets: ArrayQueue::new(PACKETS),
            commands: ArrayQueue::new(COMMANDS),
            utterance: AtomicU64::new(0),
            raising: Mutex::new(()),
            requested: Requested::default(),
            has_ended: AtomicBool::new(false),
            counters,
        }))
    }

    /// Queues a packet of the newest utterance; if the queue is full, drops the oldest.
    pub fn push_packet(&self, packet: AudioPacket) {
        if self.0.packets.force_push((packet, self.utterance())).is_some() {
            self.0.counters.lose(Loss::OverflowPacket);
        }
    }

    /// Takes a command and returns the utterance that it belongs to. `Speak` and `Interrupt` raise the utterance number at
    /// once, whatever the session is doing; a command that is refused raises nothing.
    ///
    /// # Errors
    /// If too many commands wait.
    pub fn push_command(&self, command: SessionCommand) -> Result<Utterance, CommandQueueFull> {
        if !matches!(command, SessionCommand::Speak(_) | SessionCommand::Interrupt) {
            return self.queue(command, self.utterance());
        }
        let _turn = self.0.raising.lock().unwrap_or_else(PoisonError::into_inner);
        let raised = self.queue(command, self.utterance().next())?;
        self.0.utterance.store(raised.0, Ordering::Release);
        Ok(raised)
    }

    fn queue(&self, command: SessionCommand, utterance: Utterance) -> Result<Utterance, CommandQueueFull> {
        self.0.commands.push((command, utterance)).map_err(|_refused| {
            self.0.counters.lose(Loss::RefusedCommand);
            CommandQueueFull
        })?;
        Ok(utterance)
    }

    /// The number of the newest utterance; everything older is discarded.
    #[must_use]
    pub fn utterance(&self) -> Utterance {
        Utterance(self.0.utterance.load(Ordering::Acquire))
    }

    /// Sets how many viewers can be sent frames. Without any a session plays audio, but neither renders nor encodes.
    pub fn set_watching(&self, viewers: usize) {
        self.0.requested.watching.store(viewers, Ordering::Release);
    }

    /// Whether any viewer can be sent frames.
    #[must_use]
    pub fn has_viewer(&self) -> bool {
        self.0.requested.watching.load(Ordering::Acquire) > 0
    }

    /// Sets whether the session may begin another frame.
    pub fn set_backlog(&self, backlog: Backlog) {
        self.0.requested.has_backlog.store(backlog == Backlog::Full, Ordering::Release);
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.0.requested.has_backlog.load(Ordering::Acquire)
    }

    /// Requests a keyframe. All requests before the next keyframe are answered by it.
    pub fn request_keyframe(&self) {
        self.0.requested.needs_keyframe.store(true, Ordering::Release);
    }

    pub(super) fn take_keyframe_request(&self) -> bool {
        self.0.requested.needs_keyframe.swap(false, Ordering::AcqRel)
    }

    /// Sets the target bitrate of the video in bits per second.
    pub fn set_bitrate(&self, bits_per_second: u32) {
        self.0.requested.bitrate_bps.store(bits_per_second, Ordering::Release);
    }

    /// The bitrate, if it was set since the last call.
    pub(super) fn take_bitrate(&self) -> Option<u32> {
        Some(self.0.requested.bitrate_bps.swap(0, Ordering::AcqRel)).filter(|bps| *bps > 0)
    }

    /// Sets the audio plan.
    pub fn set_audio_plan(&self, plan: AudioPlan) {
        *self.0.requested.audio.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// The plan, if it was set since the last call.
    pub(super) fn take_audio_plan(&self) -> Option<AudioPlan> {
        self.0.requested.audio.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the session: its worker drops it at the next tick, its viewers' connections are closed.
    pub fn end(&self) {
        self.0.has_ended.store(true, Ordering::Release);
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }

    pub(super) fn poll_packet(&self) -> Option<(AudioPacket, Utterance)> {
        self.0.packets.pop()
    }

    pub(super) fn poll_command(&self) -> Option<(SessionCommand, Utterance)> {
        self.0.commands.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_command_does_not_raise_the_utterance_number() {
        let inbox = Inbox::new(Arc::new(Counters::default()));
        let taken = (0..COMMANDS + 8).filter(|_| inbox.push_command(SessionCommand::Interrupt).is_ok()).count();
        assert_eq!((taken, inbox.utterance()), (COMMANDS, Utterance(COMMANDS as u64)));
        let newest = std::iter::from_fn(|| inbox.poll_command()).last().map(|(_, utterance)| utterance);
        assert_eq!(newest, Some(inbox.utterance()));
        assert_eq!(inbox.0.counters.snapshot().of(Loss::RefusedCommand), 8);
    }

    #[test]
    fn the_latest_request_counts_and_is_taken_once() {
        let inbox = Inbox::new(Arc::default());
        (0..100).for_each(|n| inbox.set_bitrate(1000 + n));
        (0..100).for_each(|_| inbox.request_keyframe());
        assert_eq!((inbox.take_bitrate(), inbox.take_bitrate()), (Some(1099), None));
        assert_eq!((inbox.take_keyframe_request(), inbox.take_keyframe_request()), (true, false));
    }
}
