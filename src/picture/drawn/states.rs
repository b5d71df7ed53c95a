//! From ARKit weights to the states of a rig: which outline moves how far.
//!
//! Decides the rules that are not linear: blinks, smiling eyes, gaze, a mouth that closes.

use super::format::{ParamsFile, RigFile};
use super::rig::{ByName, RigError, format_error};
use super::warp::smoothstep;
use crate::picture::{ARKIT_NAMES, Pose, arkit_index};

/// The states of all groups under one numbering, and what moves them.
#[derive(Debug)]
pub(super) struct StateTable {
    numbers: ByName<ByName<usize>>,
    count: usize,
    /// For each ARKit shape: states and shares.
    arkit: Vec<Vec<(usize, f32)>>,
    /// States of the mouth whose sum is limited.
    limited: Vec<usize>,
    mouth_sum_max: f32,
    rules: Rules,
}

/// Numbers and states of the rules.
#[derive(Debug)]
struct Rules {
    eyes: [EyeStates; 2],
    half_at: f32,
    look_down_to_blink: f32,
    smile_eye: [f32; 3],
    iris_wide_scale: f32,
    close_to_mbp: f32,
    tongue_minus_jaw: f32,
    mbp: Option<usize>,
    ears: [Option<usize>; 2],
}

#[derive(Debug)]
struct EyeStates {
    half: Option<usize>,
    closed: Option<usize>,
    smile: Option<usize>,
    dampened: Vec<usize>,
}

/// What a pose makes of a rig.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    /// A weight for each state.
    pub states: Vec<f32>,
    /// For each eye (the subject's left first): offset of the iris as a share of the rig's reach, and its scale.
    pub irises: [([f32; 2], f32); 2],
    /// 0 to 1.
    pub jaw: f32,
}

const SIDES: [&str; 2] = ["Left", "Right"];

impl StateTable {
    pub(super) fn new(file: &RigFile) -> Result<Self, RigError> {
        let mut numbers: ByName<ByName<usize>> = ByName::new();
        let mut count = 0;
        for shape in file.shapes.values() {
            let group = numbers.entry(shape.group.clone()).or_default();
            for state in shape.states.keys() {
                group.entry(state.clone()).or_insert_with(|| {
                    count += 1;
                    count - 1
                });
            }
        }
        let number = |group: &str, state: &str| numbers.get(group).and_then(|states| states.get(state)).copied();
        let mut arkit = vec![Vec::new(); ARKIT_NAMES.len()];
        for (name, groups) in &file.arkit {
            let index = arkit_index(name).ok_or_else(|| format_error(format!("no ARKit shape \"{name}\"")))?;
            for (group, states) in groups {
                arkit[index].extend(states.iter().filter_map(|(state, share)| Some((number(group, state)?, *share))));
            }
        }
        let is_limited = |name: &str| !name.ends_with("_L") && !name.ends_with("_R") && !name.starts_with("mouth_");
        let mouth = numbers.get("mouth").into_iter().flatten();
        let limited = mouth.filter(|(name, _)| is_limited(name)).map(|(_, state)| *state).collect();
        let rules = Rules::new(&file.params, &number);
        Ok(Self { rules, arkit, limited, count, mouth_sum_max: file.params.mouth_sum_max, numbers })
    }

    /// The number of a state.
    pub(super) fn number(&self, group: &str, state: &str) -> Option<usize> {
        self.numbers.get(group)?.get(state).copied()
    }

    /// What `pose` makes of the rig.
    pub(super) fn resolve(&self, pose: &Pose, resolved: &mut Resolved) {
        resolved.states.clear();
        resolved.states.resize(self.count, 0.0);
        let mut weights = pose.weights;
        self.rules.soften_mouth(pose, &mut weights);
        for (moves, weight) in self.arkit.iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
            moves.iter().for_each(|(state, share)| resolved.states[*state] += share * weight);
        }
        self.rules.close_mouth(pose, &mut resolved.states);
        self.limit_mouth(&mut resolved.states);
        for eye in 0..2 {
            resolved.irises[eye] = self.rules.move_eye(eye, pose, &mut resolved.states);
            self.rules.twitch(eye, pose, &mut resolved.states);
        }
        resolved.jaw = pose.weight("jawOpen").clamp(0.0, 1.0);
    }

    fn limit_mouth(&self, states: &mut [f32]) {
        let sum: f32 = self.limited.iter().map(|state| states[*state].max(0.0)).sum();
        if sum > self.mouth_sum_max {
            self.limited.iter().for_each(|state| states[*state] *= self.mouth_sum_max / sum);
        }
    }
}

impl Rules {
    fn new(params: &ParamsFile, number: &dyn Fn(&str, &str) -> Option<usize>) -> Self {
        let eye = |group: &str| EyeStates {
            half: number(group, "half"),
            closed: number(group, "closed"),
            smile: number(group, "smile"),
            dampened: ["squint", "wide"].into_iter().filter_map(|state| number(group, state)).collect(),
        };
        Self {
            eyes: [eye("eye_L"), eye("eye_R")],
            half_at: params.blink_keys.get(1).map_or(0.75, |key| key.0).clamp(0.05, 0.95),
            look_down_to_blink: params.look_down_to_blink,
            smile_eye: params.smile_eye,
            iris_wide_scale: params.iris_wide_scale,
            close_to_mbp: params.close_to_mbp,
            tongue_minus_jaw: params.tongue_minus_jaw,
            mbp: number("mouth", "mbp"),
            ears: [number("ear_L", "twitch"), number("ear_R", "twitch")],
        }
    }

    /// The jaw gives way to closing lips and the tongue; pucker and funnel share one mouth.
    fn soften_mouth(&self, pose: &Pose, weights: &mut [f32]) {
        let mut set = |name: &str, weight: f32| {
            if let Some(index) = arkit_index(name) {
                weights[index] = weight;
            }
        };
        let jaw = pose.weight("jawOpen") - pose.weight("mouthClose") - self.tongue_minus_jaw * pose.weight("tongueOut");
        set("jawOpen", jaw.max(0.0));
        let round = (pose.weight("mouthPucker") + pose.weight("mouthFunnel")).max(1.0);
        set("mouthPucker", pose.weight("mouthPucker") / round);
        set("mouthFunnel", pose.weight("mouthFunnel") / round);
    }

    fn close_mouth(&self, pose: &Pose, states: &mut [f32]) {
        if let Some(mbp) = self.mbp {
            states[mbp] += self.close_to_mbp * pose.weight("mouthClose").min(pose.weight("jawOpen"));
        }
    }

    /// Lids of one eye; gives the iris's offset and scale.
    fn move_eye(&self, eye: usize, pose: &Pose, states: &mut [f32]) -> ([f32; 2], f32) {
        let of = |name: &str| pose.weight(&format!("{name}{}", SIDES[eye]));
        let blink = (of("eyeBlink") + self.look_down_to_blink * of("eyeLookDown")).clamp(0.0, 1.0);
        let own = &self.eyes[eye];
        own.dampened.iter().for_each(|state| states[*state] *= 1.0 - blink);
        let [from, to, share] = self.smile_eye;
        let smile = smoothstep(from, to, of("cheekSquint").max(share * of("mouthSmile")));
        let (half, closed) = if blink < self.half_at {
            (blink / self.half_at, 0.0)
        } else {
            ((1.0 - blink) / (1.0 - self.half_at), (blink - self.half_at) / (1.0 - self.half_at))
        };
        let mut add = |state: Option<usize>, weight: f32| state.into_iter().for_each(|state| states[state] += weight);
        add(own.half, half);
        add(own.closed, closed * (1.0 - smile));
        add(own.smile, closed * smile);
        let out = of("eyeLookOut") - of("eyeLookIn");
        let across = if eye == 0 { out } else { -out };
        ([across, of("eyeLookDown") - of("eyeLookUp")], 1.0 + self.iris_wide_scale * of("eyeWide"))
    }

    /// Now and then an ear gives a twitch of 0.15 s: about once in seven seconds, each ear in its own time.
    fn twitch(&self, ear: usize, pose: &Pose, states: &mut [f32]) {
        let Some(state) = self.ears[ear] else { return };
        let second = pose.seconds + ear as f32 * 3.3;
        let turn = (second / 7.0).floor();
        // A cheap scatter of the turn's number over the seven seconds.
        let start = (turn * 12.9898).sin().abs() * 6.0;
        let since = second - turn * 7.0 - start;
        states[state] += (1.0 - (since / 0.075 - 1.0).abs()).max(0.0);
    }
}
