//! Idle motion: breathing, blinks, glances, sway, and nods with the stress of the speech.
//!
//! Decides these motions from a seed, the time and the loudness of the audio. Reads no clock: times are passed in.

use fastrand::Rng;

use crate::face::Pose;
use crate::time::SampleIndex;

/// Length of a blink in seconds: closing, then opening. Both lids move together: a lag of 6 ms or more shows a wink in the one
/// frame of 40 ms that falls into the closing.
const SHUTTING_S: f32 = 0.07;
const OPENING_S: f32 = 0.15;
/// A glance brings no blink sooner than this after the last one.
const BLINK_REST_S: f32 = 1.2;
/// Seconds between blinks.
const BLINK_GAP_S: std::ops::Range<f32> = 1.8..5.5;
/// Seconds between glances.
const GLANCE_GAP_S: std::ops::Range<f32> = 0.9..3.2;
/// Duration of a glance in seconds: a constant, and a part in proportion to its reach.
const GLANCE_S: f32 = 0.03;
const GLANCE_REACH_S: f32 = 0.06;
/// Glances of at least this reach come with a blink, as in people.
const FAR: f32 = 0.25;
/// Seconds in which the lids and the head follow the eyes.
const LIDS_FOLLOW_S: f32 = 0.08;
const HEAD_FOLLOWS_S: f32 = 0.3;
/// Time constant in seconds with which a muscle follows the stress of the speech. Head and brows follow two in series.
const STRESS_FOLLOWS_S: f32 = 0.1;
/// Phases of a breath in seconds: in, out, and a pause.
const BREATH_IN_S: f32 = 1.5;
const BREATH_OUT_S: f32 = 2.25;
const BREATH_S: f32 = BREATH_IN_S + BREATH_OUT_S + 0.45;

/// The idle motion of one avatar.
#[derive(Debug)]
pub struct IdleMotion {
    rng: Rng,
    now_s: f32,
    blink_at_s: f32,
    rested_at_s: f32,
    glance_at_s: f32,
    glance: Glance,
    /// Gaze direction that lids and head have reached; they follow the eyes.
    lids_gaze: [f32; 2],
    head_gaze: [f32; 2],
    phases: [f32; 6],
    loudness: f32,
    stress: f32,
    /// Stress after each of the two muscles in series; the second moves head and brows.
    nod: [f32; 2],
    hair: Spring,
    yaw_before: f32,
}

/// A movement of the eyes from one direction to another.
#[derive(Debug, Default)]
struct Glance {
    start_s: f32,
    from: [f32; 2],
    to: [f32; 2],
}

/// A mass on a spring, damped slightly less than critically, so that hair swings once.
#[derive(Debug, Default)]
struct Spring {
    place: f32,
    speed: f32,
}

impl IdleMotion {
    /// Every seed gives another motion.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let phases = std::array::from_fn(|_| rng.f32() * std::f32::consts::TAU);
        Self {
            blink_at_s: 0.6 + rng.f32() * 2.0,
            glance_at_s: 0.5 + rng.f32(),
            rng,
            now_s: 0.0,
            rested_at_s: 0.0,
            glance: Glance::default(),
            lids_gaze: [0.0; 2],
            head_gaze: [0.0; 2],
            phases,
            loudness: 0.0,
            stress: 0.0,
            nod: [0.0; 2],
            hair: Spring::default(),
            yaw_before: 0.0,
        }
    }

    /// Speech was interrupted: nods and stress end at once.
    pub fn reset(&mut self) {
        self.loudness = 0.0;
        self.stress = 0.0;
        self.nod = [0.0; 2];
    }

    /// Advances to `at` and writes everything but the mouth into `pose`. `loudness` is that of the current audio, 0 to 1.
    pub fn advance(&mut self, at: SampleIndex, loudness: f32, pose: &mut Pose) {
        let now_s = at.since_start().as_secs_f32();
        let step_s = (now_s - self.now_s).clamp(0.0, 0.2);
        self.now_s = now_s;
        pose.seconds = now_s;
        self.follow_loudness(loudness, step_s);
        self.breathe(pose);
        self.glance(step_s, pose);
        self.blink(pose);
        self.sway(step_s, pose);
        self.emote(pose);
    }

    fn follow_loudness(&mut self, loudness: f32, step_s: f32) {
        let rise = (loudness - self.loudness).max(0.0);
        self.loudness += (loudness - self.loudness) * (step_s / 0.25).min(1.0);
        self.stress += rise * 0.5 - self.stress * (step_s / 0.45).min(1.0);
        self.stress = self.stress.clamp(0.0, 1.0);
        // Speech may start abruptly; a head cannot.
        let aims = [self.stress, self.nod[0]];
        follow(&mut self.nod, aims, step_s / STRESS_FOLLOWS_S);
    }

    fn breathe(&self, pose: &mut Pose) {
        let at_s = (self.now_s + self.phases[0] / std::f32::consts::TAU * BREATH_S) % BREATH_S;
        pose.breath = smooth(at_s / BREATH_IN_S) - smooth((at_s - BREATH_IN_S) / BREATH_OUT_S);
    }

    fn blink(&mut self, pose: &mut Pose) {
        if self.now_s - self.blink_at_s > SHUTTING_S + OPENING_S {
            // One blink in six is a double one.
            let gap = if self.rng.u8(..6) == 0 { 0.12 } else { between(&mut self.rng, BLINK_GAP_S) };
            self.blink_at_s = self.now_s + gap;
            self.rested_at_s = self.now_s + BLINK_REST_S;
        }
        // The upper lid follows the eye down.
        let droop = (-self.lids_gaze[1]).max(0.0) * 0.3;
        let since_s = self.now_s - self.blink_at_s;
        let shut = smooth(since_s / SHUTTING_S) - smooth((since_s - SHUTTING_S) / OPENING_S);
        for lid in ["eyeBlinkLeft", "eyeBlinkRight"] {
            pose.set(lid, shut + droop * (1.0 - shut));
        }
    }

    fn glance(&mut self, step_s: f32, pose: &mut Pose) {
        if self.now_s > self.glance_at_s {
            self.glance_at_s = self.now_s + between(&mut self.rng, GLANCE_GAP_S);
            self.begin_glance();
        }
        let gaze = self.glance.at(self.now_s);
        follow(&mut self.lids_gaze, gaze, step_s / LIDS_FOLLOW_S);
        follow(&mut self.head_gaze, gaze, step_s / HEAD_FOLLOWS_S);
        look(gaze, pose);
    }

    fn begin_glance(&mut self) {
        // Mostly at the viewer, sometimes aside.
        let reach = if self.rng.u8(..3) == 0 { 0.42 } else { 0.09 };
        let to = [self.rng.f32().mul_add(2.0, -1.0) * reach, self.rng.f32().mul_add(2.0, -1.0) * reach * 0.6];
        self.glance = Glance { start_s: self.now_s, from: self.glance.at(self.now_s), to };
        if self.glance.reach() > FAR && self.now_s > self.rested_at_s && self.now_s < self.blink_at_s {
            self.blink_at_s = self.now_s;
        }
    }

    fn sway(&mut self, step_s: f32, pose: &mut Pose) {
        let wave = |hz: f32, phase: f32| (self.now_s * hz * std::f32::consts::TAU + phase).sin();
        let lively = 0.75 + self.loudness * 0.9;
        let [_, a, b, c, d, e] = self.phases;
        pose.yaw_degrees = lively * (2.1 * wave(0.11, a) + 1.1 * wave(0.27, b)) + self.head_gaze[0] * 2.2;
        pose.pitch_degrees =
            lively * (0.9 * wave(0.17, c) + 0.4 * wave(0.41, a)) + self.nod[1] * 2.4 - self.head_gaze[1];
        pose.roll_degrees = lively * (1.1 * wave(0.09, d) + 0.5 * wave(0.23, e));
        let speed = (pose.yaw_degrees - self.yaw_before) / step_s.max(0.01);
        self.yaw_before = pose.yaw_degrees;
        pose.lag = self.hair.follow(-speed * 0.05, step_s).clamp(-1.0, 1.0);
    }

    fn emote(&self, pose: &mut Pose) {
        let wave = (self.now_s * 0.07 * std::f32::consts::TAU + self.phases[3]).sin();
        let smile = 0.14 + 0.07 * wave;
        // During speech the network moves the mouth.
        let rest = 1.0 - self.loudness.min(1.0) * 0.7;
        for side in ["mouthSmileLeft", "mouthSmileRight"] {
            pose.set(side, pose.weight(side).max(smile * rest));
        }
        pose.set("browInnerUp", self.nod[1] * 0.4);
        pose.set("browOuterUpLeft", self.nod[1] * 0.32);
        pose.set("browOuterUpRight", self.nod[1] * 0.28);
    }
}

impl Glance {
    fn reach(&self) -> f32 {
        (self.to[0] - self.from[0]).hypot(self.to[1] - self.from[1])
    }

    fn at(&self, now_s: f32) -> [f32; 2] {
        let share = smooth((now_s - self.start_s) / (GLANCE_S + GLANCE_REACH_S * self.reach()));
        std::array::from_fn(|i| self.from[i] + (self.to[i] - self.from[i]) * share)
    }
}

impl Spring {
    fn follow(&mut self, aim: f32, step_s: f32) -> f32 {
        const STIFFNESS: f32 = 60.0;
        const DAMPING: f32 = 9.0;
        // Two half steps keep the spring stable at 25 steps a second.
        for _ in 0..2 {
            let half = step_s / 2.0;
            self.speed += ((aim - self.place) * STIFFNESS - self.speed * DAMPING) * half;
            self.place += self.speed * half;
        }
        self.place
    }
}

/// Writes the gaze as ARKit weights. x points to the right of the frame, y up, both -1 to 1. The subject's left is the right
/// of the frame.
fn look([x, y]: [f32; 2], pose: &mut Pose) {
    let (right, left, up, down) = (x.max(0.0), (-x).max(0.0), y.max(0.0), (-y).max(0.0));
    pose.set("eyeLookOutLeft", right);
    pose.set("eyeLookInRight", right);
    pose.set("eyeLookInLeft", left);
    pose.set("eyeLookOutRight", left);
    for (name, weight) in
        [("eyeLookUpLeft", up), ("eyeLookUpRight", up), ("eyeLookDownLeft", down), ("eyeLookDownRight", down)]
    {
        pose.set(name, weight);
    }
}

/// Moves `place` towards `aim` by `share` of the distance.
fn follow(place: &mut [f32; 2], aim: [f32; 2], share: f32) {
    place.iter_mut().zip(aim).for_each(|(place, aim)| *place += (aim - *place) * share.min(1.0));
}

fn smooth(share: f32) -> f32 {
    let share = share.clamp(0.0, 1.0);
    share * share * (3.0 - 2.0 * share)
}

fn between(rng: &mut Rng, range: std::ops::Range<f32>) -> f32 {
    range.start + rng.f32() * (range.end - range.start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poses(seed: u64, frames: u64) -> Vec<Pose> {
        poses_each(640, seed, frames)
    }

    fn poses_each(samples: u64, seed: u64, count: u64) -> Vec<Pose> {
        let mut motion = IdleMotion::new(seed);
        let moment = |n: u64| {
            let mut pose = Pose::default();
            motion.advance(SampleIndex(n * samples), 0.0, &mut pose);
            pose
        };
        (0..count).map(moment).collect()
    }

    /// Lengths of the runs of consecutive poses for which `does` holds.
    fn lengths(poses: &[Pose], does: impl Fn(&Pose, &Pose) -> bool) -> Vec<usize> {
        let pairs: Vec<bool> = poses.windows(2).map(|pair| does(&pair[0], &pair[1])).collect();
        pairs.split(|does| !does).map(<[bool]>::len).filter(|length| *length > 0).collect()
    }

    #[test]
    fn there_are_ten_to_thirty_blinks_a_minute_and_each_closes_the_eye() {
        let poses = poses(7, 1500);
        let is_shut = |pose: &Pose| pose.weight("eyeBlinkLeft") > 0.6;
        let blinks = poses.windows(2).filter(|pair| !is_shut(&pair[0]) && is_shut(&pair[1])).count();
        assert!((10..=30).contains(&blinks), "{blinks} blinks");
    }

    #[test]
    fn an_hour_of_motion_stays_within_the_limits_of_the_rigs() {
        for pose in poses(3, 90_000) {
            assert!(pose.yaw_degrees.abs() < 8.0 && pose.pitch_degrees.abs() < 5.0 && pose.roll_degrees.abs() < 4.0);
            assert!(pose.lag.abs() <= 1.0 && pose.weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_motion() {
        assert_eq!(poses(5, 500), poses(5, 500));
        assert_ne!(poses(5, 500), poses(6, 500));
    }

    #[test]
    fn both_lids_move_together_so_that_no_frame_shows_a_wink() {
        let apart = |pose: &Pose| (pose.weight("eyeBlinkLeft") - pose.weight("eyeBlinkRight")).abs();
        let farthest = poses_each(16, 4, 60_000).iter().map(apart).fold(0.0, f32::max);
        assert!(farthest < 0.01, "the lids are {farthest} apart");
    }

    #[test]
    fn lids_shut_faster_than_they_open() {
        let poses = poses_each(16, 4, 60_000);
        let [shutting, opening] = [1.0, -1.0].map(|way| {
            let moves = |a: &Pose, b: &Pose| (b.weight("eyeBlinkLeft") - a.weight("eyeBlinkLeft")) * way > 0.004;
            let lengths = lengths(&poses, moves);
            lengths.iter().sum::<usize>() as f32 / lengths.len() as f32
        });
        assert!((40.0..80.0).contains(&shutting), "shutting takes {shutting} ms");
        assert!(opening > 1.5 * shutting, "opening takes {opening} ms, shutting {shutting}");
    }

    #[test]
    fn glances_take_80_ms_and_the_head_follows() {
        let poses = poses_each(16, 9, 120_000);
        let aside = |pose: &Pose| pose.weight("eyeLookOutLeft") - pose.weight("eyeLookInLeft");
        let glances = lengths(&poses, |a, b| (aside(b) - aside(a)).abs() > 0.0);
        assert!(glances.len() > 30 && glances.iter().all(|ms| (25..=80).contains(ms)), "{glances:?}");
        let nods = poses.windows(81).map(|moment| (moment[80].yaw_degrees - moment[0].yaw_degrees).abs());
        assert!(nods.fold(0.0, f32::max) < 0.6);
    }

    #[test]
    fn breathing_out_is_slower_than_in_and_followed_by_a_pause() {
        let poses = poses(2, 90_000);
        let count = |does: fn(&f32) -> bool| {
            poses.windows(2).map(|pair| pair[1].breath - pair[0].breath).filter(does).count() as f32
        };
        let (rising, falling) = (count(|change| *change > 0.0), count(|change| *change < 0.0));
        assert!((1.35..1.65).contains(&(falling / rising)), "{rising} in, {falling} out");
        assert!(count(|change| *change == 0.0) / 90_000.0 > 0.07);
    }

    #[test]
    fn speech_after_silence_nods_smoothly() {
        let pitches = |voice: f32| -> Vec<f32> {
            let mut motion = IdleMotion::new(1);
            let moment = |n: u64| {
                let mut pose = Pose::default();
                motion.advance(SampleIndex(n * 640), if n < 50 { 0.0 } else { voice }, &mut pose);
                pose.pitch_degrees
            };
            (0..75).map(moment).collect()
        };
        let nod: Vec<f32> = pitches(1.0).iter().zip(pitches(0.0)).map(|(loud, silent)| loud - silent).collect();
        let fastest = nod.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
        let deepest = nod.iter().copied().fold(0.0, f32::max);
        assert!(fastest < 0.6 && deepest > 0.6, "{fastest} degrees in a frame, {deepest} in all");
    }

    #[test]
    fn long_glances_come_with_blinks() {
        let poses = poses(8, 30_000);
        let aside = |pose: &Pose| pose.weight("eyeLookOutLeft") - pose.weight("eyeLookInLeft");
        let far: Vec<usize> = (1..29_990).filter(|&n| (aside(&poses[n]) - aside(&poses[n - 1])).abs() > 0.25).collect();
        let blinked = far.iter().filter(|&&n| poses[n - 1..n + 4].iter().any(|pose| pose.weight("eyeBlinkLeft") > 0.6));
        let share = blinked.count() as f32 / far.len() as f32;
        assert!(far.len() > 30 && share > 0.5, "{share} of {}", far.len());
    }
}
