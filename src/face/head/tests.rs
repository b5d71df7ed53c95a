//! Tests of the built-in heads.

use std::sync::Arc;

use super::{HeadError, HeadFace, HeadModel};
use crate::face::{Face, Pose, Surface};
use crate::media::FrameSize;

const AVATARS: [&str; 3] = ["nora", "sam", "jun"];

fn bytes_of(avatar: &str, file: &str) -> Option<&'static [u8]> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/engines/packs/portrait/avatars");
    std::fs::read(format!("{folder}/{avatar}/{file}")).ok().map(|bytes| &*bytes.leak())
}

fn load(avatar: &str) -> Arc<HeadModel> {
    Arc::new(HeadModel::load(&|file| bytes_of(avatar, file), 512).unwrap())
}

fn draw(face: &mut HeadFace, pose: &Pose, side: u32) -> Surface {
    let mut surface = Surface::new(FrameSize::square(side));
    face.draw(pose, &mut surface);
    surface
}

fn pose(weights: &[(&str, f32)]) -> Pose {
    let mut pose = Pose::default();
    weights.iter().for_each(|(name, weight)| pose.set(name, *weight));
    pose
}

/// Number of dark pixels around the mouth: the interior of a mouth is dark, lips and skin are not.
fn dark_in_mouth(surface: &Surface) -> usize {
    let side = surface.size().width();
    let rows = (290..345).flat_map(|y| &surface.pixels[y * side + 236..y * side + 276]);
    rows.filter(|pixel| u32::from(pixel[0]) + u32::from(pixel[1]) + u32::from(pixel[2]) < 120).count()
}

/// A face that talks, blinks and sways; `seconds` from the start.
fn talking(seconds: f32) -> Pose {
    let wave = |hz: f32, phase: f32| (seconds * hz * std::f32::consts::TAU + phase).sin();
    let open = (wave(3.1, 0.0) * 0.5 + 0.5) * (wave(0.7, 1.0) * 0.3 + 0.7);
    let blink = (1.0 - (seconds % 3.0 - 0.2).abs() * 8.0).max(0.0);
    let mut pose = pose(&[
        ("jawOpen", open * 0.5),
        ("mouthFunnel", (wave(1.3, 2.0) * 0.4).max(0.0)),
        ("mouthSmileLeft", 0.2),
        ("mouthSmileRight", 0.2),
        ("mouthLowerDownLeft", open * 0.2),
        ("mouthLowerDownRight", open * 0.2),
        ("eyeBlinkLeft", blink),
        ("eyeBlinkRight", blink),
        ("browInnerUp", (wave(0.4, 0.5) * 0.4).max(0.0)),
    ]);
    pose.yaw_degrees = wave(0.23, 0.0) * 4.0;
    pose.pitch_degrees = wave(0.31, 1.0) * 2.0;
    pose.roll_degrees = wave(0.17, 2.0) * 1.5;
    pose.breath = wave(0.25, 0.0) * 0.5 + 0.5;
    pose
}

#[test]
fn a_frame_is_opaque_at_every_resolution() {
    let mut face = HeadFace::new(load("nora"));
    for side in [512, 160, 384] {
        let surface = draw(&mut face, &talking(1.7), side);
        assert!(surface.pixels.iter().all(|pixel| pixel[3] == 255), "{side}");
    }
}

#[test]
fn an_open_jaw_shows_the_dark_interior_of_the_mouth() {
    for avatar in AVATARS {
        let mut face = HeadFace::new(load(avatar));
        let shut = dark_in_mouth(&draw(&mut face, &Pose::default(), 512));
        let open = dark_in_mouth(&draw(&mut face, &pose(&[("jawOpen", 0.6)]), 512));
        assert!(open > shut + 120, "{avatar}: {open} after {shut}");
    }
}

#[test]
fn no_pixel_of_the_lips_has_a_foreign_colour() {
    let mut smile = pose(&[("jawOpen", 0.3), ("mouthSmileLeft", 0.5), ("mouthSmileRight", 0.5)]);
    (smile.yaw_degrees, smile.pitch_degrees, smile.roll_degrees) = (6.0, 3.0, 3.0);
    for avatar in AVATARS {
        let surface = draw(&mut HeadFace::new(load(avatar)), &smile, 512);
        let mouth = (290..350).flat_map(|y| &surface.pixels[y * 512 + 220..y * 512 + 310]);
        // Skin, lips, teeth and the mouth cavity all have more red than green.
        let green = mouth.filter(|[r, g, _, _]| *g > r.saturating_add(8)).count();
        assert_eq!(green, 0, "{avatar}");
    }
}

#[test]
fn a_blink_hides_the_sclera() {
    for avatar in AVATARS {
        let mut face = HeadFace::new(load(avatar));
        let open = draw(&mut face, &Pose::default(), 512);
        let shut = draw(&mut face, &pose(&[("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0)]), 512);
        let gaze =
            pose(&[("eyeBlinkLeft", 1.0), ("eyeBlinkRight", 1.0), ("eyeLookInLeft", 1.0), ("eyeLookOutRight", 1.0)]);
        let shut_aside = draw(&mut face, &gaze, 512);
        let changed = |a: &Surface, b: &Surface| {
            let far = |(a, b): (&[u8; 4], &[u8; 4])| (0..3).any(|i| a[i].abs_diff(b[i]) > 12);
            a.pixels.iter().zip(&b.pixels).filter(|pair| far(*pair)).count()
        };
        assert!(changed(&open, &shut) > 600, "{avatar}");
        assert!(changed(&shut, &shut_aside) < 200, "{avatar}: {}", changed(&shut, &shut_aside));
    }
}

#[test]
fn the_lashes_of_a_nearly_closed_eye_are_one_line() {
    for avatar in AVATARS {
        let mut face = HeadFace::new(load(avatar));
        for shut in [0.7, 0.76, 0.8, 0.84] {
            let surface = draw(&mut face, &pose(&[("eyeBlinkLeft", shut), ("eyeBlinkRight", shut)]), 512);
            let bright = |pixel: [u8; 4]| pixel[..3].iter().map(|value| i32::from(*value)).sum::<i32>();
            let darkest = |x: usize| (195..225).map(|y| bright(surface.pixels[y * 512 + x])).min().unwrap_or(0);
            let columns: Vec<i32> = (198..228).map(darkest).collect();
            // By how much a column is brighter than both neighbours.
            let gap = columns.windows(3).map(|c| c[1] - c[0].max(c[2])).max().unwrap_or(0);
            assert!(gap < 90, "{avatar} at {shut}: a gap of {gap} in {columns:?}");
        }
    }
}

#[test]
fn a_rounded_mouth_is_not_visible_through_the_chin() {
    let round = pose(&[("jawOpen", 0.5), ("mouthFunnel", 1.0), ("mouthPucker", 1.0)]);
    for avatar in ["nora", "jun"] {
        let surface = draw(&mut HeadFace::new(load(avatar)), &round, 512);
        let chin = [(335..350, 212..232), (335..350, 268..284)];
        let mut dark = 0;
        for (rows, columns) in chin {
            let pixels = rows.flat_map(|y| &surface.pixels[y * 512..][columns.clone()]);
            dark += pixels.filter(|pixel| pixel[0] < 60).count();
        }
        assert_eq!(dark, 0, "{avatar}");
    }
}

#[test]
fn a_pose_gives_the_same_frame_whatever_was_drawn_before() {
    let model = load("jun");
    let mut used = HeadFace::new(Arc::clone(&model));
    (0..5_u8).for_each(|step| drop(draw(&mut used, &talking(f32::from(step)), 512)));
    let fresh = draw(&mut HeadFace::new(model), &talking(9.3), 512);
    assert!(draw(&mut used, &talking(9.3), 512).pixels == fresh.pixels);
}

#[test]
fn poses_that_are_not_numbers_do_not_panic() {
    let mut face = HeadFace::new(load("sam"));
    let mut wild = Pose { yaw_degrees: f32::NAN, pitch_degrees: 1e9, breath: f32::NAN, ..Pose::default() };
    wild.weights = [f32::INFINITY; 52];
    draw(&mut face, &wild, 256);
    wild.weights = [1e9; 52];
    draw(&mut face, &wild, 256);
}

#[test]
fn a_missing_file_is_named() {
    let found = HeadModel::load(&|file| if file == "iris.webp" { None } else { bytes_of("nora", file) }, 512);
    assert_eq!(found.err(), Some(HeadError::Missing { file: "iris.webp".to_owned() }));
}

#[test]
fn damaged_files_give_errors_or_frames_but_no_panic() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    let mut errors = 0;
    for round in 0..30 {
        let victim = ["rig.json", "mesh.bin", "neutral.webp"][round % 3];
        let mut bytes = bytes_of("nora", victim).unwrap().to_vec();
        if round % 2 == 0 {
            bytes.truncate(next(bytes.len()));
        } else {
            let length = bytes.len();
            (0..40).for_each(|_| bytes[next(length)] = next(256) as u8);
        }
        let bytes: &'static [u8] = bytes.leak();
        match HeadModel::load(&|file| if file == victim { Some(bytes) } else { bytes_of("nora", file) }, 256) {
            Err(_) => errors += 1,
            Ok(model) => drop(draw(&mut HeadFace::new(Arc::new(model)), &talking(2.0), 256)),
        }
    }
    assert!(errors >= 15, "{errors}");
}

/// 64 x 64 lumas (means of 8 x 8 pixels) for each head, neutral and at an open "aa", from the renderer with which the heads
/// were made.
const GOLDEN: &[u8] = include_bytes!("golden.luma");

#[test]
fn heads_match_the_reference_renderer() {
    let open = [
        ("jawOpen", 0.55),
        ("mouthLowerDownLeft", 0.2),
        ("mouthLowerDownRight", 0.2),
        ("mouthUpperUpLeft", 0.2),
        ("mouthUpperUpRight", 0.2),
    ];
    for (avatar, golden) in AVATARS.iter().zip(GOLDEN.chunks_exact(2 * 64 * 64)) {
        let mut face = HeadFace::new(load(avatar));
        for (pose, golden) in [Pose::default(), pose(&open)].iter().zip(golden.chunks_exact(64 * 64)) {
            let drawn = small_luma(&draw(&mut face, pose, 512));
            let far = drawn.iter().zip(golden).map(|(a, b)| (a - f32::from(*b)).abs()).fold(0.0, f32::max);
            assert!(far < 6.0, "{avatar}: {far}");
        }
    }
}

fn small_luma(surface: &Surface) -> Vec<f32> {
    let mut small = vec![0.0; 64 * 64];
    for (index, [r, g, b, _]) in surface.pixels.iter().enumerate() {
        let (x, y) = (index % 512 / 8, index / 512 / 8);
        small[y * 64 + x] += (0.3 * f32::from(*r) + 0.59 * f32::from(*g) + 0.11 * f32::from(*b)) / 64.0;
    }
    small
}
