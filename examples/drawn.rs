//! Looks at the drawn characters: times frames of one that talks and moves, or writes frames to look at.
//!
//! `drawn time AVATAR [SIDE]`; `drawn frames AVATAR SIDE OUT` reads poses from standard input, a line each
//! (`yaw pitch roll lag breath seconds name=weight ...`), and writes their RGBA pixels to the file OUT.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for whoever works on faces"
)]

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use visage::media::{Picture, PictureSize};
use visage::picture::drawn::{DrawnFace, Rig};
use visage::picture::{Face, Pose, Surface};

fn rig(avatar: &str, side_px: u32) -> Arc<Rig> {
    let root = format!("{}/engines/packs/portrait/avatars/{avatar}", env!("CARGO_MANIFEST_DIR"));
    let files = |path: &str| std::fs::read(format!("{root}/{path}")).ok().map(|bytes| &*bytes.leak());
    let begun = Instant::now();
    let rig = Arc::new(Rig::load(&files, side_px, [0xc5, 0xda, 0xd5]).unwrap());
    println!("{avatar} at {side_px}: loaded in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    rig
}

/// Someone who talks, blinks and moves the head, `seconds` in.
fn talking(seconds: f32) -> Pose {
    let wave = |hz: f32, at: f32| (seconds * hz * std::f32::consts::TAU + at).sin();
    let mut pose = Pose {
        yaw_degrees: 4.0 * wave(0.23, 0.0) + 1.5 * wave(0.71, 1.0),
        pitch_degrees: 2.5 * wave(0.31, 2.0) + wave(1.1, 0.5),
        roll_degrees: 2.5 * wave(0.17, 4.0),
        lag: 0.4 * wave(0.9, 0.0),
        breath: 0.5 + 0.5 * wave(0.27, 0.0),
        seconds,
        ..Pose::default()
    };
    pose.set("jawOpen", (0.35 + 0.4 * wave(3.1, 0.0)).max(0.0));
    pose.set("mouthPucker", wave(1.3, 1.0).max(0.0) * 0.6);
    pose.set("mouthSmileLeft", 0.25);
    pose.set("mouthSmileRight", 0.25);
    pose.set("mouthClose", wave(1.7, 2.0).max(0.0) * 0.2);
    let blink = (1.0 - (seconds % 3.1 - 0.2).abs() / 0.12).max(0.0);
    pose.set("eyeBlinkLeft", blink);
    pose.set("eyeBlinkRight", blink);
    pose.set("eyeLookOutLeft", wave(0.4, 0.0).max(0.0) * 0.4);
    pose.set("eyeLookInRight", wave(0.4, 0.0).max(0.0) * 0.4);
    pose.set("browInnerUp", wave(0.5, 0.0).max(0.0) * 0.5);
    pose
}

fn time(avatar: &str, side_px: u32) {
    let mut face = DrawnFace::new(rig(avatar, side_px));
    let mut surface = Surface::new(PictureSize::square(side_px));
    let mut picture = Picture::black(surface.size());
    let mut spans: [Vec<f64>; 2] = Default::default();
    for frame in 0..600 {
        let begun = Instant::now();
        face.draw(&talking(frame as f32 / 25.0), &mut surface);
        let drawn = Instant::now();
        surface.write_i420(&mut picture);
        spans[0].push((drawn - begun).as_secs_f64() * 1e3);
        spans[1].push(drawn.elapsed().as_secs_f64() * 1e3);
    }
    for (name, mut spans) in ["draw", "i420"].into_iter().zip(spans) {
        spans.drain(..50);
        spans.sort_by(f64::total_cmp);
        let at = |share: f64| spans[((spans.len() - 1) as f64 * share) as usize];
        println!(
            "  {name}: p10 {:.2} p50 {:.2} p90 {:.2} p99 {:.2} max {:.2} ms",
            at(0.1),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0)
        );
    }
}

fn frames(avatar: &str, side_px: u32, out: &str) {
    let mut face = DrawnFace::new(rig(avatar, side_px));
    let mut surface = Surface::new(PictureSize::square(side_px));
    let mut out = std::io::BufWriter::new(std::fs::File::create(out).unwrap());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let mut words = line.split_whitespace();
        let mut number = || words.next().unwrap().parse::<f32>().unwrap();
        let mut pose = Pose {
            yaw_degrees: number(),
            pitch_degrees: number(),
            roll_degrees: number(),
            lag: number(),
            breath: number(),
            seconds: number(),
            ..Pose::default()
        };
        for (name, weight) in words.filter_map(|word| word.split_once('=')) {
            pose.set(name, weight.parse().unwrap());
        }
        face.draw(&pose, &mut surface);
        out.write_all(surface.pixels.as_flattened()).unwrap();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["time", avatar] => time(avatar, 512),
        ["time", avatar, side] => time(avatar, side.parse().unwrap()),
        ["frames", avatar, side, out] => frames(avatar, side.parse().unwrap(), out),
        _ => println!("drawn time AVATAR [SIDE] | drawn frames AVATAR SIDE OUT < POSES"),
    }
}
