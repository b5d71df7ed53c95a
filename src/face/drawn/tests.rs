//! Tests of the built-in drawn avatars.

use std::sync::Arc;

use super::parameters::Resolved;
use super::{DrawnFace, Rig};
use crate::face::{Face, Pose, Surface};
use crate::media::FrameSize;

const AVATARS: [&str; 3] = ["mira", "anton", "finn"];
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/packs/portrait/avatars");
const GOLDEN_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/face/drawn/golden.luma");
/// Pixels of a golden image: means of 8 x 8 pixels.
const SMALL: usize = 64 * 64;
/// Tolerance of a mean luma. Rounding stays below 1; a jaw that opens by 0.07 more exceeds it.
const TOLERANCE: f32 = 4.0;

/// 64 x 64 lumas for each avatar in each of the reference poses.
const GOLDEN: &[u8] = include_bytes!("golden.luma");

fn bytes_of(avatar: &str, file: &str) -> Option<&'static [u8]> {
    std::fs::read(format!("{FOLDER}/{avatar}/{file}")).ok().map(|bytes| &*bytes.leak())
}

fn face(avatar: &str) -> DrawnFace {
    DrawnFace::new(Arc::new(Rig::load(&|file| bytes_of(avatar, file), 512, [238, 238, 238]).unwrap()))
}

fn pose(weights: &[(&str, f32)]) -> Pose {
    let mut pose = Pose::default();
    weights.iter().for_each(|(name, weight)| pose.set(name, *weight));
    pose
}

/// Neutral, an open "aa", a round "oo", closed lips and eyes, and a turned head that looks sideways and smiles.
fn reference_poses() -> [Pose; 5] {
    let turned =
        pose(&[("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6), ("eyeLookOutLeft", 0.6), ("eyeLookInRight", 0.6)]);
    [
        Pose::default(),
        pose(&[("jawOpen", 0.55), ("mouthLowerDownLeft", 0.2), ("mouthLowerDownRight", 0.2)]),
        pose(&[("jawOpen", 0.2), ("mouthFunnel", 0.5), ("mouthPucker", 0.6)]),
        pose(&[("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0), ("mouthPressLeft", 0.5), ("mouthPressRight", 0.5)]),
        Pose { yaw_degrees: 6.0, pitch_degrees: 2.0, roll_degrees: -3.0, lag: 0.5, breath: 1.0, ..turned },
    ]
}

fn small_luma(face: &mut DrawnFace, pose: &Pose) -> Vec<f32> {
    let mut surface = Surface::new(FrameSize::square(512));
    face.draw(pose, &mut surface);
    let mut small = vec![0.0; SMALL];
    for (index, [r, g, b, _]) in surface.pixels.iter().enumerate() {
        let (x, y) = (index % 512 / 8, index / 512 / 8);
        small[y * 64 + x] += (0.3 * f32::from(*r) + 0.59 * f32::from(*g) + 0.11 * f32::from(*b)) / 64.0;
    }
    small
}

fn farthest(drawn: &[f32], golden: &[u8]) -> f32 {
    drawn.iter().zip(golden).map(|(drawn, golden)| (drawn - f32::from(*golden)).abs()).fold(0.0, f32::max)
}

#[test]
fn avatars_match_their_golden_images() {
    assert_eq!(
        GOLDEN.len(),
        AVATARS.len() * 5 * SMALL,
        "update them: cargo test --release --lib update_golden -- --ignored"
    );
    for (avatar, golden) in AVATARS.iter().zip(GOLDEN.chunks_exact(5 * SMALL)) {
        let mut face = face(avatar);
        for (number, (pose, golden)) in reference_poses().iter().zip(golden.chunks_exact(SMALL)).enumerate() {
            let far = farthest(&small_luma(&mut face, pose), golden);
            assert!(far < TOLERANCE, "{avatar}, pose {number}: {far}");
        }
    }
}

#[test]
fn the_golden_images_detect_a_slightly_wider_mouth() {
    for (avatar, golden) in AVATARS.iter().zip(GOLDEN.chunks_exact(5 * SMALL)) {
        let wider = pose(&[("jawOpen", 0.62), ("mouthLowerDownLeft", 0.2), ("mouthLowerDownRight", 0.2)]);
        let far = farthest(&small_luma(&mut face(avatar), &wider), &golden[SMALL..2 * SMALL]);
        assert!(far > TOLERANCE, "{avatar}: {far}");
    }
}

#[test]
fn both_eyes_of_an_avatar_close_together() {
    for avatar in AVATARS {
        let rig = Rig::load(&|file| bytes_of(avatar, file), 64, [0; 3]).unwrap();
        let mut resolved = Resolved::default();
        for step in 0_u8..=20 {
            let blink = f32::from(step) / 20.0;
            let weights =
                [("eyeBlinkLeft", blink), ("eyeBlinkRight", blink), ("eyeLookOutLeft", 0.4), ("eyeLookInRight", 0.4)];
            rig.states.resolve(&pose(&weights), &mut resolved);
            for state in ["half", "closed"] {
                let [left, right] = ["eye_L", "eye_R"].map(|eye| rig.states.number(eye, state).expect("a lid"));
                let apart = (resolved.states[left] - resolved.states[right]).abs();
                assert!(apart < 1e-6, "{avatar}: the lids are {apart} apart at a blink of {blink}");
            }
        }
    }
}

#[test]
#[ignore = "overwrites the golden images, after an intended change that was inspected"]
fn update_golden() {
    let draw_all = |avatar: &&str| {
        let mut face = face(avatar);
        reference_poses().iter().flat_map(|pose| small_luma(&mut face, pose)).collect::<Vec<f32>>()
    };
    let lumas: Vec<u8> = AVATARS.iter().flat_map(draw_all).map(|luma| (luma + 0.5) as u8).collect();
    std::fs::write(GOLDEN_FILE, lumas).unwrap();
}
