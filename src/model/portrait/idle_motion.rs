//! What a face does besides speaking: it breathes, blinks, looks about, sways, and stresses what it says.
//!
//! Decides small motions from a seed, the moment and how loud the voice is. No clock: moments are given.

use fastrand::Rng;

use crate::face::Pose;
use crate::time::SampleIndex;

/// Length of a blink in seconds: shutting, then opening; one lid goes before the other.
const SHUTTING_S: f32 = 0.07;
const OPENING_S: f32 = 0.15;
const LID_LAG_S: std::ops::Range<f32> = 0.006..0.016;
/// No blink comes with a glance sooner than this after the last one.
const BLINK_REST_S: f32 = 1.2;
/// Seconds between blinks.
const BLINK_GAP_S: std::ops::Range<f32> = 1.8..5.5;
/// Seconds between glances.
const GLANCE_GAP_S: std::ops::Range<f32> = 0.9..3.2;
/// Seconds a glance takes to get there: a short one, and longer in proportion to its reach.
const GLANCE_S: f32 = 0.03;
const GLANCE_REACH_S: f32 = 0.06;
/// A reach that brings a blink along, as it does with people.
const FAR: f32 = 0.25;
/// Seconds in which the lids and the head follow the eyes.
const LIDS_FOLLOW_S: f32 = 0.08;
const HEAD_FOLLOWS_S: f32 = 0.3;
/// Seconds in which a muscle follows a stress of the voice; head and brows hang on two, one after the other.
const STRESS_FOLLOWS_S: f32 = 0.1;
/// A breath in seconds: in, out, and a rest.
const BREATH_IN_S: f32 = 1.5;
const BREATH_OUT_S: f32 = 2.25;
const BREATH_S: f32 = BREATH_IN_S + BREATH_OUT_S + 0.45;

/// The small motions of one face.
#[derive(Debug)]
pub struct IdleMotion {
    rng: Rng,
    now_s: f32,
    blink_at_s: f32,
    rested_at_s: f32,
    /// How much later than the blink each lid moves.
    lid_lags_s: [f32; 2],
    glance_at_s: f32,
    glance: Glance,
    /// Where lids and head are on their way after the eyes.
    lids_gaze: [f32; 2],
    head_gaze: [f32; 2],
    phases: [f32; 6],
    loudness: f32,
    stress: f32,
    /// What of the stress has reached the muscles; the second moves head and brows.
    nod: [f32; 2],
    hair: Spring,
    yaw_before: f32,
}

/// The eyes' way from one place to another.
#[derive(Debug, Default)]
struct Glance {
    start_s: f32,
    from: [f32; 2],
    to: [f32; 2],
}

/// A mass on a spring, critically damped a little less than fully, so that hair swings once.
#[derive(Debug, Default)]
struct Spring {
    place: f32,
    speed: f32,
}

impl IdleMotion {
    /// A life of its own for each seed.
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
            lid_lags_s: [0.0, LID_LAG_S.start],
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

    /// The voice was cut off: the face is at rest at once.
    pub fn reset(&mut self) {
        self.loudness = 0.0;
        self.stress = 0.0;
        self.nod = [0.0; 2];
    }

    /// Moves on to `at` and writes everything but the mouth into `pose`. `voice` is the loudness of the moment, 0 to 1.
    pub fn advance(&mut self, at: SampleIndex, voice: f32, pose: &mut Pose) {
        let now_s = at.since_start().as_secs_f32();
        let step_s = (now_s - self.now_s).clamp(0.0, 0.2);
        self.now_s = now_s;
        pose.seconds = now_s;
        self.listen(voice, step_s);
        self.breathe(pose);
        self.glance(step_s, pose);
        self.blink(pose);
        self.sway(step_s, pose);
        self.emote(pose);
    }

    fn listen(&mut self, voice: f32, step_s: f32) {
        let rise = (voice - self.loudness).max(0.0);
        self.loudness += (voice - self.loudness) * (step_s / 0.25).min(1.0);
        self.stress += rise * 0.5 - self.stress * (step_s / 0.45).min(1.0);
        self.stress = self.stress.clamp(0.0, 1.0);
        // The voice may begin at once, a head may not.
        let aims = [self.stress, self.nod[0]];
        follow(&mut self.nod, aims, step_s / STRESS_FOLLOWS_S);
    }

    fn breathe(&self, pose: &mut Pose) {
        let at_s = (self.now_s + self.phases[0] / std::f32::consts::TAU * BREATH_S) % BREATH_S;
        pose.breath = smooth(at_s / BREATH_IN_S) - smooth((at_s - BREATH_IN_S) / BREATH_OUT_S);
    }

    fn blink(&mut self, pose: &mut Pose) {
        if self.now_s - self.blink_at_s > SHUTTING_S + OPENING_S + LID_LAG_S.end {
            // One blink in six is a double one.
            let gap = if self.rng.u8(..6) == 0 { 0.12 } else { between(&mut self.rng, BLINK_GAP_S) };
            self.plan_blink(self.now_s + gap);
            self.rested_at_s = self.now_s + BLINK_REST_S;
        }
        // A lid rests on the eye: it goes down with it.
        let droop = (-self.lids_gaze[1]).max(0.0) * 0.3;
        for (name, lag_s) in ["eyeBlinkLeft", "eyeBlinkRight"].into_iter().zip(self.lid_lags_s) {
            let since_s = self.now_s - self.blink_at_s - lag_s;
            let shut = smooth(since_s / SHUTTING_S) - smooth((since_s - SHUTTING_S) / OPENING_S);
            pose.set(name, shut + droop * (1.0 - shut));
        }
    }

    fn plan_blink(&mut self, at_s: f32) {
        self.blink_at_s = at_s;
        let late = usize::from(self.rng.bool());
        self.lid_lags_s[late] = between(&mut self.rng, LID_LAG_S);
        self.lid_lags_s[1 - late] = 0.0;
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
        // Mostly at the viewer, now and then aside.
        let reach = if self.rng.u8(..3) == 0 { 0.42 } else { 0.09 };
        let to = [self.rng.f32().mul_add(2.0, -1.0) * reach, self.rng.f32().mul_add(2.0, -1.0) * reach * 0.6];
        self.glance = Glance { start_s: self.now_s, from: self.glance.at(self.now_s), to };
        if self.glance.reach() > FAR && self.now_s > self.rested_at_s && self.now_s < self.blink_at_s {
            self.plan_blink(self.now_s);
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
        // While speaking the mouth belongs to the words.
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

/// Gaze as ARKit says it; x to the right of the picture, y up, both -1 to 1. The subject's left is the picture's right.
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

/// Moves `place` on towards `aim` by a share of the way.
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
        let mut life = IdleMotion::new(seed);
        let moment = |n: u64| {
            let mut pose = Pose::default();
            life.advance(SampleIndex(n * samples), 0.0, &mut pose);
            pose
        };
        (0..count).map(moment).collect()
    }

    /// How many poses in a row do it, each time.
    fn lengths(poses: &[Pose], does: impl Fn(&Pose, &Pose) -> bool) -> Vec<usize> {
        let pairs: Vec<bool> = poses.windows(2).map(|pair| does(&pair[0], &pair[1])).collect();
        pairs.split(|does| !does).map(<[bool]>::len).filter(|length| *length > 0).collect()
    }

    #[test]
    fn a_minute_holds_ten_to_thirty_blinks_and_each_shuts_the_eye() {
        let poses = poses(7, 1500);
        let is_shut = |pose: &Pose| pose.weight("eyeBlinkLeft") > 0.6;
        let blinks = poses.windows(2).filter(|pair| !is_shut(&pair[0]) && is_shut(&pair[1])).count();
        assert!((10..=30).contains(&blinks), "{blinks} blinks");
    }

    #[test]
    fn an_hour_of_life_stays_within_the_limits_of_the_rigs() {
        for pose in poses(3, 90_000) {
            assert!(pose.yaw_degrees.abs() < 8.0 && pose.pitch_degrees.abs() < 5.0 && pose.roll_degrees.abs() < 4.0);
            assert!(pose.lag.abs() <= 1.0 && pose.weights.iter().all(|weight| (0.0..=1.0).contains(weight)));
        }
    }

    #[test]
    fn the_same_seed_lives_the_same_life() {
        assert_eq!(poses(5, 500), poses(5, 500));
        assert_ne!(poses(5, 500), poses(6, 500));
    }

    #[test]
    fn lids_shut_faster_than_they_open_and_one_goes_before_the_other() {
        let poses = poses_each(16, 4, 60_000);
        let [shutting, opening] = [1.0, -1.0].map(|way| {
            let moves = |a: &Pose, b: &Pose| (b.weight("eyeBlinkLeft") - a.weight("eyeBlinkLeft")) * way > 0.004;
            let lengths = lengths(&poses, moves);
            lengths.iter().sum::<usize>() as f32 / lengths.len() as f32
        });
        assert!((40.0..80.0).contains(&shutting), "shutting takes {shutting} ms");
        assert!(opening > 1.5 * shutting, "opening takes {opening} ms, shutting {shutting}");
        let apart = |pose: &Pose| (pose.weight("eyeBlinkLeft") - pose.weight("eyeBlinkRight")).abs();
        let farthest = poses.iter().map(apart).fold(0.0, f32::max);
        assert!((0.1..0.4).contains(&farthest), "{farthest}");
    }

    #[test]
    fn eyes_jump_within_80_ms_and_the_head_comes_after() {
        let poses = poses_each(16, 9, 120_000);
        let aside = |pose: &Pose| pose.weight("eyeLookOutLeft") - pose.weight("eyeLookInLeft");
        let glances = lengths(&poses, |a, b| (aside(b) - aside(a)).abs() > 0.0);
        assert!(glances.len() > 30 && glances.iter().all(|ms| (25..=80).contains(ms)), "{glances:?}");
        let nods = poses.windows(81).map(|moment| (moment[80].yaw_degrees - moment[0].yaw_degrees).abs());
        assert!(nods.fold(0.0, f32::max) < 0.6);
    }

    #[test]
    fn breath_goes_out_more_slowly_than_in_and_rests() {
        let poses = poses(2, 90_000);
        let count = |does: fn(&f32) -> bool| {
            poses.windows(2).map(|pair| pair[1].breath - pair[0].breath).filter(does).count() as f32
        };
        let (rising, falling) = (count(|change| *change > 0.0), count(|change| *change < 0.0));
        assert!((1.35..1.65).contains(&(falling / rising)), "{rising} in, {falling} out");
        assert!(count(|change| *change == 0.0) / 90_000.0 > 0.07);
    }

    #[test]
    fn a_word_out_of_silence_nods_without_a_jerk() {
        let pitches = |voice: f32| -> Vec<f32> {
            let mut life = IdleMotion::new(1);
            let moment = |n: u64| {
                let mut pose = Pose::default();
                life.advance(SampleIndex(n * 640), if n < 50 { 0.0 } else { voice }, &mut pose);
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
    fn far_glances_bring_blinks() {
        let poses = poses(8, 30_000);
        let aside = |pose: &Pose| pose.weight("eyeLookOutLeft") - pose.weight("eyeLookInLeft");
        let far: Vec<usize> = (1..29_990).filter(|&n| (aside(&poses[n]) - aside(&poses[n - 1])).abs() > 0.25).collect();
        let blinked = far.iter().filter(|&&n| poses[n - 1..n + 4].iter().any(|pose| pose.weight("eyeBlinkLeft") > 0.6));
        let share = blinked.count() as f32 / far.len() as f32;
        assert!(far.len() > 30 && share > 0.5, "{share} of {}", far.len());
    }
}
