//! Maps ARKit weights to the state weights of a rig.
//!
//! Decides the rules that are not linear: blinks, smiling eyes, gaze, closing lips. Both eyes follow the same rule.

use super::error::{RigError, format_error};
use super::format::{ByName, ParamsFile, RigFile};
use super::warp::{smoothstep, within};
use crate::face::{ARKIT_NAMES, ArkitWeights, Pose, arkit_index};

/// All states under one numbering, and the rules that drive them.
#[derive(Debug)]
pub(super) struct ParameterTable {
    numbers: ByName<ByName<usize>>,
    count: usize,
    /// For each ARKit shape: the states that it drives, and by how much.
    arkit: Vec<Vec<(usize, f32)>>,
    /// Mouth states whose sum is limited.
    limited: Vec<usize>,
    params: ParamsFile,
    inputs: Inputs,
    mbp: Option<usize>,
    eyes: [Eye; 2],
    ears: [Option<usize>; 2],
}

/// Indices of the ARKit weights that the rules read.
#[derive(Debug)]
struct Inputs {
    jaw_open: usize,
    mouth_close: usize,
    tongue_out: usize,
    pucker: usize,
    funnel: usize,
}

/// An eye: indices of its ARKit weights, its lid states, its iris.
#[derive(Debug)]
struct Eye {
    blink: usize,
    /// Out, in, down, up.
    looks: [usize; 4],
    wide: usize,
    cheek: usize,
    smile: usize,
    /// Half closed, closed, closed in a smile.
    lids: [Option<usize>; 3],
    dampened: Vec<usize>,
    anchor: [f32; 2],
    /// Displacement of the iris in canvas units for a full look to the right and down.
    reach: [f32; 2],
}

/// Transform of an iris: scaled about its anchor, then translated.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Iris {
    anchor: [f32; 2],
    offset: [f32; 2],
    size: f32,
}

/// The rig's parameters for a pose.
#[derive(Clone, Debug, Default)]
pub(super) struct Resolved {
    /// Weight of each state.
    pub states: Vec<f32>,
    /// The subject's left eye first.
    pub irises: [Iris; 2],
    /// Jaw opening, 0 to 1.
    pub jaw: f32,
}

impl Iris {
    /// The position in which it was drawn.
    pub(super) const RESTING: Self = Self { anchor: [0.0; 2], offset: [0.0; 2], size: 1.0 };

    /// With a fraction of the displacement.
    pub(super) fn with_share(self, share: f32) -> Self {
        Self { offset: self.offset.map(|offset| offset * share), ..self }
    }

    pub(super) fn place(&self, at: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| self.anchor[axis] + (at[axis] - self.anchor[axis]) * self.size + self.offset[axis])
    }

    #[inline]
    pub(super) fn undo(&self, at: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| (at[axis] - self.anchor[axis] - self.offset[axis]) / self.size + self.anchor[axis])
    }
}

impl ParameterTable {
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
        let is_limited = |name: &str| !name.ends_with("_L") && !name.ends_with("_R") && !name.starts_with("mouth_");
        let mouth = numbers.get("mouth").into_iter().flatten();
        Ok(Self {
            arkit: arkit_table(file, &number)?,
            limited: mouth.filter(|(name, _)| is_limited(name)).map(|(_, state)| *state).collect(),
            params: file.params.clone(),
            inputs: Inputs::new(),
            mbp: number("mouth", "mbp"),
            eyes: [Eye::new(file, 0, &number)?, Eye::new(file, 1, &number)?],
            ears: [number("ear_L", "twitch"), number("ear_R", "twitch")],
            count,
            numbers,
        })
    }

    /// Index of a state.
    pub(super) fn number(&self, group: &str, state: &str) -> Option<usize> {
        self.numbers.get(group)?.get(state).copied()
    }

    /// Computes the rig's parameters for `pose`.
    pub(super) fn resolve(&self, pose: &Pose, resolved: &mut Resolved) {
        let given = pose.weights.map(|weight| within(weight, 1.0).max(0.0));
        let mut weights = given;
        self.soften_mouth(&mut weights);
        resolved.states.clear();
        resolved.states.resize(self.count, 0.0);
        for (moves, weight) in self.arkit.iter().zip(weights).filter(|(_, weight)| *weight > 0.0) {
            moves.iter().for_each(|(state, share)| resolved.states[*state] += share * weight);
        }
        let closing = given[self.inputs.mouth_close].min(given[self.inputs.jaw_open]);
        self.mbp.into_iter().for_each(|mbp| resolved.states[mbp] += self.params.close_to_mbp * closing);
        self.limit_mouth(&mut resolved.states);
        for (eye, iris) in self.eyes.iter().zip(&mut resolved.irises) {
            eye.close(&given, &self.params, &mut resolved.states);
            *iris = eye.iris(&given, self.params.iris_wide_scale);
        }
        for (index, ear) in self.ears.iter().enumerate() {
            ear.iter().for_each(|ear| resolved.states[*ear] += twitch(index, within(pose.seconds, 1e7)));
        }
        resolved.jaw = given[self.inputs.jaw_open];
    }

    /// Closing lips and the tongue reduce the jaw's opening; pucker and funnel together do not exceed 1.
    fn soften_mouth(&self, weights: &mut ArkitWeights) {
        let Inputs { jaw_open, mouth_close, tongue_out, pucker, funnel } = self.inputs;
        let less = weights[mouth_close] + self.params.tongue_minus_jaw * weights[tongue_out];
        weights[jaw_open] = (weights[jaw_open] - less).max(0.0);
        let round = (weights[pucker] + weights[funnel]).max(1.0);
        weights[pucker] /= round;
        weights[funnel] /= round;
    }

    fn limit_mouth(&self, states: &mut [f32]) {
        let sum: f32 = self.limited.iter().map(|state| states[*state].max(0.0)).sum();
        if sum > self.params.mouth_sum_max {
            self.limited.iter().for_each(|state| states[*state] *= self.params.mouth_sum_max / sum);
        }
    }
}

impl Inputs {
    fn new() -> Self {
        Self {
            jaw_open: arkit("jawOpen"),
            mouth_close: arkit("mouthClose"),
            tongue_out: arkit("tongueOut"),
            pucker: arkit("mouthPucker"),
            funnel: arkit("mouthFunnel"),
        }
    }
}

impl Eye {
    /// Eye 0 is the subject's left, on the right of the image.
    fn new(file: &RigFile, index: usize, number: &dyn Fn(&str, &str) -> Option<usize>) -> Result<Self, RigError> {
        let (side, letter, outward) = [("Left", "L", 1.0), ("Right", "R", -1.0)][index];
        let weight = |name: &str| arkit(&format!("{name}{side}"));
        let group = format!("eye_{letter}");
        let name = format!("iris_{letter}");
        let is_moved = file.layers.iter().any(|layer| layer.gaze.as_ref().is_some_and(|gaze| gaze.eye == letter));
        let anchor = file.anchors.get(&name).copied();
        if is_moved && anchor.is_none() {
            return Err(format_error(format!("anchor {name} is missing, which a layer's gaze needs")));
        }
        Ok(Self {
            blink: weight("eyeBlink"),
            looks: ["eyeLookOut", "eyeLookIn", "eyeLookDown", "eyeLookUp"].map(weight),
            wide: weight("eyeWide"),
            cheek: weight("cheekSquint"),
            smile: weight("mouthSmile"),
            lids: ["half", "closed", "smile"].map(|state| number(&group, state)),
            dampened: ["squint", "wide"].into_iter().filter_map(|state| number(&group, state)).collect(),
            anchor: anchor.unwrap_or_default(),
            reach: [file.gaze.gx * outward, file.gaze.gy],
        })
    }

    /// Sets the lid states: open to half closed to closed, and from closed to smiling.
    fn close(&self, weights: &ArkitWeights, params: &ParamsFile, states: &mut [f32]) {
        let blink = (weights[self.blink] + params.look_down_to_blink * weights[self.looks[2]]).clamp(0.0, 1.0);
        self.dampened.iter().for_each(|state| states[*state] *= 1.0 - blink);
        let [from, to, share] = params.smile_eye;
        let smile = smoothstep(from, to, weights[self.cheek].max(share * weights[self.smile]));
        let half_at = params.blink_keys[1].0;
        let (half, closed) = if blink < half_at {
            (blink / half_at, 0.0)
        } else {
            ((1.0 - blink) / (1.0 - half_at), (blink - half_at) / (1.0 - half_at))
        };
        for (lid, weight) in self.lids.iter().zip([half, closed * (1.0 - smile), closed * smile]) {
            lid.iter().for_each(|lid| states[*lid] += weight);
        }
    }

    fn iris(&self, weights: &ArkitWeights, wide_scale: f32) -> Iris {
        let [out, inward, down, up] = self.looks.map(|content| weights[content]);
        let offset = [self.reach[0] * (out - inward), self.reach[1] * (down - up)];
        Iris { anchor: self.anchor, offset, size: 1.0 + wide_scale * weights[self.wide] }
    }
}

fn arkit_table(
    file: &RigFile,
    number: &dyn Fn(&str, &str) -> Option<usize>,
) -> Result<Vec<Vec<(usize, f32)>>, RigError> {
    let mut table = vec![Vec::new(); ARKIT_NAMES.len()];
    for (name, groups) in &file.arkit {
        let index = arkit_index(name).ok_or_else(|| format_error(format!("no ARKit shape \"{name}\"")))?;
        for (group, states) in groups {
            table[index].extend(states.iter().filter_map(|(state, share)| Some((number(group, state)?, *share))));
        }
    }
    Ok(table)
}

fn arkit(name: &str) -> usize {
    arkit_index(name).expect("the rules use ARKit names")
}

/// Weight of an ear's twitch: once in each period of some seconds, at a different time for each ear, sometimes twice.
fn twitch(ear: usize, seconds: f32) -> f32 {
    const FLICK_S: f32 = 0.18;
    let turn_s = [7.3, 9.1][ear];
    let turn = (seconds / turn_s).floor();
    // A cheap hash of the period's number.
    let scatter = ((turn + ear as f32 * 0.37) * 12.9898).sin().abs() * 43_758.547;
    let start = 0.5 + scatter.fract() * (turn_s - 2.0);
    let flick = |start: f32| {
        let since = (seconds - turn * turn_s - start) / FLICK_S;
        if (0.0..1.0).contains(&since) { (since * std::f32::consts::PI).sin().powi(2) } else { 0.0 }
    };
    let again = if (scatter * 7.0).fract() < 0.35 { flick(start + 1.6 * FLICK_S) } else { 0.0 };
    flick(start) + again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ears_twitch_a_few_times_per_minute_and_rest_between() {
        let frames: Vec<f32> = (0..25 * 60).map(|frame| twitch(0, frame as f32 / 25.0)).collect();
        let begun = frames.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] > 0.0).count();
        assert!((6..=16).contains(&begun), "{begun} flicks");
        assert!(frames.iter().all(|weight| (0.0..=1.0).contains(weight)));
        assert!(frames.iter().filter(|weight| **weight == 0.0).count() > 1400);
    }
}
