//! Pose of a face: ARKit blend shape weights, head rotation, secondary motion.

/// The 52 ARKit blend shapes (Apple, `ARFaceAnchor.BlendShapeLocation`), in the order of [`ArkitWeights`]. "Left" is the subject's
/// left.
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

/// Index of a blend shape in [`ARKIT_NAMES`]; `None` for an unknown name.
#[must_use]
pub fn arkit_index(name: &str) -> Option<usize> {
    ARKIT_NAMES.iter().position(|known| *known == name)
}

/// A weight from 0 to 1 for each ARKit blend shape.
pub type ArkitWeights = [f32; ARKIT_NAMES.len()];

/// Pose of a face at one instant. Angles in degrees, with signs as seen by the viewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Blend shape weights, 0 to 1, gaze and blink included.
    pub weights: ArkitWeights,
    /// Yaw; positive turns the nose to the right of the image.
    pub yaw_degrees: f32,
    /// Pitch; positive is down.
    pub pitch_degrees: f32,
    /// Roll; positive is clockwise.
    pub roll_degrees: f32,
    /// Displacement of hair and loose parts, -1 to 1 (a spring driven by minus the head's angular velocity).
    pub lag: f32,
    /// Breath, 0 (exhaled) to 1 (inhaled).
    pub breath: f32,
    /// Time since the start of the session in seconds, for motion of the avatar's own (a tail, an ear).
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
    /// Weight of the blend shape `name`; 0 for an unknown name.
    #[must_use]
    pub fn weight(&self, name: &str) -> f32 {
        arkit_index(name).map_or(0.0, |index| self.weights[index])
    }

    /// Sets the weight of `name`, clamped to 0..1. An unknown name changes nothing.
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
