//! An animator that computes 25 frames at a time, a second behind the audio: as a diffusion model on a GPU does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use visage::audio::AudioPacket;
use visage::media::{PcmBlock, VideoFrame};
use visage::model::{Animator, Cadence, FramePoll, ModelError, Pack};
use visage::session::{NewAnimator, Outgoing, OutgoingMedia, SessionCommand};
use visage::telemetry::{Loss, Marks};
use visage::time::{Rate, SampleIndex, Wall};

use crate::{LevelFace, Rig, SentItems, loud_and_bright, portrait, rig, speech_packets};

const FRAME: u64 = 640;
const WINDOW_FRAMES: u64 = 25;
const WINDOW: u64 = FRAME * WINDOW_FRAMES;
const LOOK_AHEAD: u64 = 32_000;

/// The virtual clock, and how long each window is computed.
#[derive(Clone)]
struct Device {
    now: Arc<Mutex<Instant>>,
    cost: fn(u64) -> Duration,
}

impl Device {
    fn now(&self) -> Instant {
        *self.now.lock().expect("a clock")
    }
}

struct Window {
    number: u64,
    levels: Vec<f32>,
    submitted: Instant,
    /// When the device started with it.
    started: Option<Instant>,
}

impl Window {
    fn end(&self) -> SampleIndex {
        SampleIndex((self.number + 1) * WINDOW)
    }
}

/// Frames as bright as their audio is loud, computed window by window on a device that computes one at a time.
struct Windowed {
    device: Device,
    blocks: VecDeque<f32>,
    next_window: u64,
    windows: VecDeque<Window>,
    pushed: SampleIndex,
    /// When the device finished or discarded its last window.
    free_at: Instant,
    /// The audio before this was discarded.
    rest_until: SampleIndex,
}

impl Windowed {
    fn new(device: Device) -> Self {
        let (blocks, windows, free_at) = (VecDeque::new(), VecDeque::new(), device.now());
        Self {
            device,
            blocks,
            next_window: 0,
            windows,
            pushed: SampleIndex::ZERO,
            free_at,
            rest_until: SampleIndex::ZERO,
        }
    }

    /// Advances the device to the present: it starts a window when it has finished the previous one.
    fn run_device(&mut self) {
        let now = self.device.now();
        for window in &mut self.windows {
            let start = *window.started.get_or_insert_with(|| window.submitted.max(self.free_at));
            let done = start + (self.device.cost)(window.number);
            if done > now {
                return;
            }
            self.free_at = self.free_at.max(done);
        }
    }

    /// Discards the windows that end before `at`, including the one being computed.
    fn discard_before(&mut self, at: SampleIndex) {
        let is_running = |window: &Window| window.started.is_some() && !self.is_done(window);
        if self.windows.iter().any(|window| window.end() <= at && is_running(window)) {
            self.free_at = self.device.now();
        }
        self.windows.retain(|window| window.end() > at);
    }

    fn is_done(&self, window: &Window) -> bool {
        window.started.is_some_and(|start| start + (self.device.cost)(window.number) <= self.device.now())
    }
}

impl Animator for Windowed {
    fn cadence(&self) -> Cadence {
        Cadence::windowed(Rate::new(25, 1).expect("above zero"), LOOK_AHEAD, WINDOW_FRAMES as u32)
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.pushed = at + 320;
        self.blocks.push_back(block.level());
        if self.blocks.len() as u64 * 320 == WINDOW {
            let levels: Vec<f32> = self.blocks.drain(..).collect();
            let levels = levels.chunks(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
            self.windows.push_back(Window {
                number: self.next_window,
                levels,
                submitted: self.device.now(),
                started: None,
            });
            self.next_window += 1;
        }
        self.run_device();
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        self.discard_before(at);
        self.run_device();
        let level = match self.windows.front() {
            _ if at < self.rest_until => 0.0,
            Some(window) if self.is_done(window) => window.levels[(at.0 % WINDOW / FRAME) as usize],
            _ => return Ok(FramePoll::NotYet),
        };
        frame.planes_mut().0.fill((level * 255.0) as u8);
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {
        self.windows.clear();
        self.blocks.iter_mut().for_each(|level| *level = 0.0);
        self.rest_until = self.pushed;
    }
}

struct Live {
    rig: Rig,
    clock: Arc<Mutex<Instant>>,
    packets: Vec<AudioPacket>,
}

impl Live {
    /// A session of a windowed animator that hears 20 s of bursts.
    fn new(cost: fn(u64) -> Duration) -> Self {
        let clock = Arc::new(Mutex::new(Wall.now()));
        let rig = rig(Box::new(Windowed::new(Device { now: Arc::clone(&clock), cost })), 64);
        let packets = speech_packets(rig.start, 0.2, 20.0, 120.0);
        Self { rig, clock, packets }
    }

    /// What is sent until `seconds`, and at which tick.
    fn until(&mut self, seconds: f64) -> Vec<(Instant, Outgoing)> {
        let end = self.rig.start + Duration::from_secs_f64(seconds);
        let mut left = Vec::new();
        while self.rig.session.next_tick() < end {
            *self.clock.lock().expect("a clock") = self.rig.session.next_tick();
            let now = self.rig.step(&mut self.packets);
            left.extend(SentItems::take(&self.rig.sent).into_iter().map(|thing| (now, thing)));
        }
        left
    }

    fn lost(&self, loss: Loss) -> u64 {
        self.rig.meter.report().losses[loss.name()]
    }
}

fn is_video(outgoing: &Outgoing) -> bool {
    matches!(outgoing.media.value, OutgoingMedia::VideoFrame(_))
}

fn frame_times(left: &[(Instant, Outgoing)]) -> Vec<u64> {
    left.iter().filter(|(_, out)| is_video(out)).map(|(_, out)| out.media.at.0).collect()
}

/// Asserts that every frame has the clock of the audio of its time, and is sent at most `slack` after it.
fn assert_in_step(left: &[(Instant, Outgoing)], slack: Duration) {
    let frames = left.iter().filter(|(_, out)| is_video(out));
    for (shown, frame) in frames {
        let same = |(_, out): &&(Instant, Outgoing)| !is_video(out) && out.media.at == frame.media.at;
        let (heard, audio) = left.iter().find(same).expect("the audio of the frame's time");
        assert_eq!(audio.clock, frame.clock, "at {:?}", frame.media.at);
        assert!(*shown >= *heard && *shown - *heard <= slack, "{:?} after its audio", *shown - *heard);
    }
}

#[test]
fn windows_with_two_seconds_of_look_ahead_stay_in_step_with_the_audio() {
    let mut live = Live::new(|_window| Duration::from_millis(700));
    let left = live.until(12.0);
    assert_in_step(&left, Duration::ZERO);
    let times = frame_times(&left);
    assert!(times[0] == 0 && times.windows(2).all(|pair| pair[1] - pair[0] == FRAME), "a frame is missing");
    assert!((249..=251).contains(&times.len()), "{} frames in 10 s", times.len());
    let first = left.iter().find(|(_, out)| is_video(out)).expect("a frame").0 - live.rig.start;
    assert!((1980..=2000).contains(&first.as_millis()), "the first frame after {first:?}");
    let (loud, bright) = loud_and_bright(&left);
    assert!(bright.len() > 100, "{} bright frames", bright.len());
    // Each bright frame leaves within 40 ms of loud audio, and the bursts have the same length in both.
    let near = |at: &Instant| loud.iter().any(|heard| at.max(heard).duration_since(*at.min(heard)).as_millis() <= 40);
    assert!(bright.iter().all(near));
    assert!(
        (loud.len() / 2).abs_diff(bright.len()) < bright.len() / 10,
        "{} loud, {} bright",
        loud.len(),
        bright.len()
    );
    let report = live.rig.meter.report();
    assert_eq!((report.frames.dropped, live.lost(Loss::LateFrame)), (0, 0));
}

#[test]
fn a_late_window_loses_the_frames_whose_time_has_passed_before_they_are_encoded() {
    // Window 3 is complete at 4 s, due at 5 s and computed at 5.6 s.
    let mut live = Live::new(|window| Duration::from_millis(if window == 3 { 1600 } else { 300 }));
    let left = live.until(12.0);
    assert_in_step(&left, Duration::from_millis(40));
    let times = frame_times(&left);
    let missing: Vec<u64> = (0..times.len() as u64).map(|n| n * FRAME).filter(|at| !times.contains(at)).collect();
    assert!(missing.iter().all(|at| at / WINDOW == 3), "frames of other windows are missing: {missing:?}");
    assert!((14..=15).contains(&missing.len()), "{missing:?}");
    let frames = live.rig.meter.report().frames;
    assert_eq!((live.lost(Loss::LateFrame), frames.dropped), (missing.len() as u64, missing.len() as u64));
    assert_eq!(frames.due, (times.len() + missing.len()) as u64, "a frame was encoded and dropped");
}

#[test]
fn a_window_whose_time_has_passed_is_discarded() {
    // Window 3 would be complete at 6.5 s: it is discarded at 6 s, and window 4 follows at 6.3 s.
    let mut live = Live::new(|window| Duration::from_millis(if window == 3 { 2500 } else { 300 }));
    let times = frame_times(&live.until(12.0));
    let of = |window: u64| times.iter().filter(|at| **at / WINDOW == window).count();
    assert_eq!((of(2), of(3), of(5)), (25, 0, 25));
    assert!((17..=18).contains(&of(4)), "{} frames of the next window", of(4));
    assert_eq!(live.lost(Loss::LateFrame), (25 - of(3) + 25 - of(4)) as u64);
}

#[test]
fn an_interrupt_stops_audio_and_video_within_100_ms_although_two_seconds_are_queued() {
    let mut live = Live::new(|_window| Duration::from_millis(700));
    let before = live.until(7.02);
    live.rig.inbox.push_command(SessionCommand::Interrupt).expect("room for a command");
    let after = live.until(12.0);
    let asked = live.rig.start + Duration::from_secs_f64(7.02);
    let since = |at: &Instant| at.saturating_duration_since(asked).as_secs_f64();
    let (heard, seen) = loud_and_bright(&before);
    for last in [heard.last(), seen.last()] {
        assert!(last.is_some_and(|last| (asked - *last).as_secs_f64() < 0.5), "it spoke until the interrupt");
    }
    let (loud, bright) = loud_and_bright(&after);
    for times in [loud, bright] {
        let (old, new): (Vec<_>, Vec<_>) = times.iter().map(since).partition(|after_s| *after_s < 1.9);
        assert!(old.iter().all(|after_s| *after_s <= 0.1), "{old:?} of the old utterance");
        assert!(new.len() > 20, "speech from the microphone continues");
    }
    // The video does not freeze: the avatar idles at 25 frames a second.
    let rest = after.iter().filter(|(at, out)| is_video(out) && since(at) < 1.9).count();
    assert!((46..=48).contains(&rest), "{rest} frames in 1.9 s of rest");
    assert!(live.lost(Loss::StaleUtterance) >= 99, "{} blocks discarded", live.lost(Loss::StaleUtterance));
}

#[test]
fn a_swap_to_a_shorter_look_ahead_is_in_step_at_once() {
    let mut live = Live::new(|_window| Duration::from_millis(700));
    let before = live.until(6.0);
    let face = NewAnimator(Box::new(LevelFace::default()));
    live.rig.inbox.push_command(SessionCommand::SwapAvatar(face)).expect("room for a command");
    let after = live.until(9.0);
    let swapped = live.rig.start + Duration::from_secs_f64(6.0);
    let frames: Vec<_> = after.iter().filter(|(_, out)| is_video(out)).collect();
    assert!((75..=77).contains(&frames.len()), "{} frames in 3 s", frames.len());
    let newest = frame_times(&before).last().copied().expect("frames before");
    for (shown, frame) in &frames {
        let behind = shown.saturating_duration_since(live.rig.start).as_secs_f64() - frame.media.at.0 as f64 / 16_000.0;
        assert!(frame.media.at.0 > newest && behind < 0.15, "{behind} s behind");
    }
    let burst = after.iter().filter(|(at, out)| !is_video(out) && *at - swapped < Duration::from_millis(20)).count();
    assert!(burst <= 2, "{burst} blocks of audio at once");
    assert_in_step(&after, Duration::ZERO);
    assert!((90..=97).contains(&live.lost(Loss::TrimmedBlock)), "{}", live.lost(Loss::TrimmedBlock));
}

#[test]
fn the_portrait_has_its_look_ahead_of_80_ms_at_25_frames_a_second() {
    let cadence = portrait().animator("mira", 64).expect("mira").cadence();
    assert_eq!(cadence, Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280));
}
