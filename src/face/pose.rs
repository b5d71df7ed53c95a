//! What a face does at one moment.

/// The 52 ARKit face shapes, in the order of [`ArkitWeights`]. "Left" is the subject's left.
pub const ARKIT_NAMES: [&str; 52] = [
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
];

/// The place of a shape in [`ARKIT_NAMES`], if there is such a shape.
#[must_use]
pub fn arkit_index(name: &str) -> Option<usize> {
    ARKIT_NAMES.iter().position(|known| *known == name)
}

/// A weight from 0 to 1 for each ARKit shape.
pub type ArkitWeights = [f32; ARKIT_NAMES.len()];

/// What a face does at one moment. Angles in degrees; signs as the viewer sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Face shapes, 0 to 1; gaze and blink are among them.
    pub weights: ArkitWeights,
    /// Head turn; positive turns the nose to the right of the picture.
    pub yaw_degrees: f32,
    /// Head nod; positive is down.
    pub pitch_degrees: f32,
    /// Head tilt; positive is clockwise.
    pub roll_degrees: f32,
    /// Hair and loose parts behind the head's motion, -1 to 1 (a spring on minus the head's velocity).
    pub lag: f32,
    /// Breath, 0 (out) to 1 (in).
    pub breath: f32,
    /// Time since the start of the line in seconds, for small motions of an avatar's own (a tail, an ear).
    pub seconds: f32,
}

impl Default for Pose {
    fn default() -> Self {
        Self {
            weights: [0.0; ARKIT_NAMES.len()],
            yaw_degrees: 0.0,
            pitch_degrees: 0.0,
            roll_degrees: 0.0,
            lag: 0.0,
            breath: 0.0,
            seconds: 0.0,
        }
    }
}

impl Pose {
    /// The weight of the shape called `name`; zero if there is no such shape.
    #[must_use]
    pub fn weight(&self, name: &str) -> f32 {
        arkit_index(name).map_or(0.0, |index| self.weights[index])
    }

    /// Sets the weight of `name` (clamped to 0..1); unknown names change nothing.
    pub fn set(&mut self, name: &str, weight: f32) {
        if let Some(index) = arkit_index(name) {
            self.weights[index] = weight.clamp(0.0, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arkit_names_are_sorted_and_unique() {
        assert!(ARKIT_NAMES.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
