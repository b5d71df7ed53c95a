//! What a face does besides speaking: it breathes, blinks, looks about, sways, and stresses what it says.
//!
//! Decides small motions from a seed, the moment and how loud the voice is. No clock: moments are given.

use fastrand::Rng;

use crate::picture::Pose;
use crate::time::SampleIndex;

/// Length of a blink in seconds: shutting, then opening.
const SHUTTING_S: f32 = 0.07;
const OPENING_S: f32 = 0.15;
/// Seconds between blinks.
const BLINK_GAP_S: std::ops::Range<f32> = 1.8..5.5;
/// Seconds between glances.
const GLANCE_GAP_S: std::ops::Range<f32> = 0.9..3.2;
/// Seconds a glance takes to get there.
const GLANCE_S: f32 = 0.06;
const BREATH_S: f32 = 4.2;

/// The small motions of one face.
#[derive(Debug)]
pub struct Life {
    rng: Rng,
    now_s: f32,
    blink_at_s: f32,
    glance_at_s: f32,
    gaze: [f32; 2],
    gaze_aim: [f32; 2],
    phases: [f32; 6],
    loudness: f32,
    stress: f32,
    hair: Spring,
    yaw_before: f32,
}

/// A mass on a spring, critically damped a little less than fully, so that hair swings once.
#[derive(Debug, Default)]
struct Spring {
    place: f32,
    speed: f32,
}

impl Life {
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
            gaze: [0.0; 2],
            gaze_aim: [0.0; 2],
            phases,
            loudness: 0.0,
            stress: 0.0,
            hair: Spring::default(),
            yaw_before: 0.0,
        }
    }

    /// The voice was cut off: the face is at rest at once.
    pub fn hush(&mut self) {
        self.loudness = 0.0;
        self.stress = 0.0;
    }

    /// Moves on to `at` and writes everything but the mouth into `pose`. `voice` is the loudness of the moment, 0 to 1.
    pub fn live(&mut self, at: SampleIndex, voice: f32, pose: &mut Pose) {
        let now_s = at.since_start().as_secs_f32();
        let step_s = (now_s - self.now_s).clamp(0.0, 0.2);
        self.now_s = now_s;
        pose.seconds = now_s;
        self.listen(voice, step_s);
        self.breathe(pose);
        self.blink(pose);
        self.glance(step_s, pose);
        self.sway(step_s, pose);
        self.emote(pose);
    }

    fn listen(&mut self, voice: f32, step_s: f32) {
        let rise = (voice - self.loudness).max(0.0);
        self.loudness += (voice - self.loudness) * (step_s / 0.25).min(1.0);
        self.stress += rise * 0.5 - self.stress * (step_s / 0.45).min(1.0);
        self.stress = self.stress.clamp(0.0, 1.0);
    }

    fn breathe(&self, pose: &mut Pose) {
        let phase = self.now_s / BREATH_S * std::f32::consts::TAU + self.phases[0];
        pose.breath = 0.5 - 0.5 * phase.cos();
    }

    fn blink(&mut self, pose: &mut Pose) {
        let since = self.now_s - self.blink_at_s;
        if since > SHUTTING_S + OPENING_S {
            // One blink in six is a double one.
            let gap = if self.rng.u8(..6) == 0 { 0.12 } else { between(&mut self.rng, BLINK_GAP_S) };
            self.blink_at_s = self.now_s + gap;
        }
        let shut = if since < 0.0 {
            0.0
        } else if since < SHUTTING_S {
            smooth(since / SHUTTING_S)
        } else {
            1.0 - smooth((since - SHUTTING_S) / OPENING_S)
        };
        pose.set("eyeBlinkLeft", shut);
        pose.set("eyeBlinkRight", shut);
    }

    fn glance(&mut self, step_s: f32, pose: &mut Pose) {
        if self.now_s > self.glance_at_s {
            self.glance_at_s = self.now_s + between(&mut self.rng, GLANCE_GAP_S);
            // Mostly at the viewer, now and then aside.
            let reach = if self.rng.u8(..3) == 0 { 0.42 } else { 0.09 };
            self.gaze_aim =
                [self.rng.f32().mul_add(2.0, -1.0) * reach, self.rng.f32().mul_add(2.0, -1.0) * reach * 0.6];
        }
        let share = (step_s / GLANCE_S).min(1.0);
        for (gaze, aim) in self.gaze.iter_mut().zip(self.gaze_aim) {
            *gaze += (aim - *gaze) * share;
        }
        look(self.gaze, pose);
    }

    fn sway(&mut self, step_s: f32, pose: &mut Pose) {
        let wave = |hz: f32, phase: f32| (self.now_s * hz * std::f32::consts::TAU + phase).sin();
        let lively = 0.75 + self.loudness * 0.9;
        let [_, a, b, c, d, e] = self.phases;
        pose.yaw_degrees = lively * (2.1 * wave(0.11, a) + 1.1 * wave(0.27, b)) + self.gaze[0] * 2.2;
        pose.pitch_degrees = lively * (0.9 * wave(0.17, c) + 0.4 * wave(0.41, a)) + self.stress * 2.4 - self.gaze[1];
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
        pose.set("browInnerUp", self.stress * 0.35);
        pose.set("browOuterUpLeft", self.stress * 0.28);
        pose.set("browOuterUpRight", self.stress * 0.24);
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
        let mut life = Life::new(seed);
        let frame = |n: u64| {
            let mut pose = Pose::default();
            life.live(SampleIndex(n * 640), 0.0, &mut pose);
            pose
        };
        (0..frames).map(frame).collect()
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
}
