//! Tools for the built-in avatars: the time of a frame with cold caches, contact sheets of poses, a workload for profilers.
//!
//! `cargo run --release --example faces -- time nora mira` prints microseconds of drawing and of encoding. As in a call, each
//! frame is encoded before the next. Reading `--evict` megabytes of memory before each frame takes the place of other sessions.
//!
//! `valgrind --tool=callgrind target/release/examples/faces run mira 25` draws and encodes frames without reading a clock.
//!
//! `cargo run --release --example faces -- sheet poses.txt sheet.png` draws one cell per line of poses.txt:
//! `nora jawOpen=0.5 eyeBlinkLeft=0.7 yaw=4 crop=220,190,110`. Angles are degrees; `crop` (left, top, side in pixels of 512)
//! enlarges a part.

#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use visage::codec::{FrameKind, VideoCodec};
use visage::face::drawn::{DrawnFace, Rig};
use visage::face::head::{HeadFace, HeadModel};
use visage::face::{Face, Pose, Surface, arkit_index};
use visage::media::{FrameSize, VideoFrame};
use visage::time::{Rate, Wall};

const USAGE: &str = "faces time [--evict MB] NAME... | faces run NAME FRAMES | faces sheet POSES.txt OUT.png";
const SIDE: u32 = 512;
const FRAMES: u16 = 500;
/// Side of a cell in pixels, and cells per row.
const CELL: usize = 256;
const ACROSS: usize = 6;

fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["time", "--evict", megabytes, ref names @ ..] => {
            time(names, megabytes.parse().map_err(|error| format!("{error} in {megabytes}: {USAGE}"))?)
        }
        ["time", ref names @ ..] => time(names, 8),
        ["run", name, frames] => run(name, frames.parse().map_err(|error| format!("{error} in {frames}: {USAGE}"))?),
        ["sheet", poses, out] => sheet(Path::new(poses), Path::new(out)),
        _ => Err(USAGE.to_owned()),
    }
}

fn load(name: &str) -> Result<Box<dyn Face>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait/avatars").join(name);
    let files = |file: &str| std::fs::read(folder.join(file)).ok().map(|bytes| &*bytes.leak());
    if folder.join("mesh.bin").exists() {
        let model = HeadModel::load(&files, SIDE).map_err(|error| error.to_string())?;
        return Ok(Box::new(HeadFace::new(Arc::new(model))));
    }
    let rig = Rig::load(&files, SIDE, [0xc5, 0xda, 0xd5]).map_err(|error| format!("{name}: {error}"))?;
    Ok(Box::new(DrawnFace::new(Arc::new(rig))))
}

/// Pose of a face that speaks, blinks and sways.
fn talking(seconds: f32) -> Pose {
    let wave = |hz: f32, phase: f32| (seconds * hz * std::f32::consts::TAU + phase).sin();
    let open = (wave(3.1, 0.0) * 0.5 + 0.5) * (wave(0.7, 1.0) * 0.3 + 0.7);
    let blink = (1.0 - (seconds % 3.0 - 0.2).abs() * 8.0).max(0.0);
    let mut pose = Pose {
        yaw_degrees: wave(0.23, 0.0) * 4.0,
        pitch_degrees: wave(0.31, 1.0) * 2.0,
        roll_degrees: wave(0.17, 2.0) * 1.5,
        breath: wave(0.25, 0.0) * 0.5 + 0.5,
        seconds,
        ..Pose::default()
    };
    let weights = [
        ("jawOpen", open * 0.5),
        ("mouthFunnel", (wave(1.3, 2.0) * 0.4).max(0.0)),
        ("mouthSmileLeft", 0.2),
        ("mouthSmileRight", 0.2),
        ("mouthLowerDownLeft", open * 0.2),
        ("mouthLowerDownRight", open * 0.2),
        ("eyeBlinkLeft", blink),
        ("eyeBlinkRight", blink),
        ("browInnerUp", (wave(0.4, 0.5) * 0.4).max(0.0)),
    ];
    weights.iter().for_each(|(name, weight)| pose.set(name, *weight));
    pose
}

/// Draws and encodes `frames` frames.
fn run(name: &str, frames: u16) -> Result<(), String> {
    let mut face = load(name)?;
    let size = FrameSize::square(SIDE);
    let (mut surface, mut image) = (Surface::new(size), VideoFrame::black(size));
    let rate = Rate::new(25, 1).ok_or(USAGE)?;
    let mut encoder = VideoCodec::H264.encoder(size, rate, 600_000).map_err(|error| error.to_string())?;
    for frame in 0..frames {
        face.draw(&talking(f32::from(frame) / 25.0), &mut surface);
        surface.write_i420(&mut image);
        encoder.encode(&image, FrameKind::Any).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn time(names: &[&str], evict_megabytes: usize) -> Result<(), String> {
    let mut other_memory = vec![1_u64; evict_megabytes << 17];
    println!("{:8}{:>33}{:>33}", "us", "draw p5 p50 p95", "encode p5 p50 p95");
    for name in names {
        let mut face = load(name)?;
        let size = FrameSize::square(SIDE);
        let (mut surface, mut image) = (Surface::new(size), VideoFrame::black(size));
        let mut encoder = VideoCodec::H264
            .encoder(size, Rate::new(25, 1).ok_or(USAGE)?, 600_000)
            .map_err(|error| error.to_string())?;
        let (mut draws, mut encodes) = (Vec::new(), Vec::new());
        let wall = Wall;
        for frame in 0..FRAMES {
            other_memory.iter_mut().step_by(8).for_each(|word| *word = word.wrapping_mul(5));
            let started = wall.now();
            face.draw(&talking(f32::from(frame) / 25.0), &mut surface);
            surface.write_i420(&mut image);
            let drawn = wall.now();
            encoder.encode(&image, FrameKind::Any).map_err(|error| error.to_string())?;
            draws.push(drawn - started);
            encodes.push(wall.now() - drawn);
        }
        println!("{name:8}{:>33}{:>33}", percentiles(&mut draws), percentiles(&mut encodes));
    }
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    format!("{} {} {}", at(5), at(50), at(95))
}

fn sheet(poses: &Path, out: &Path) -> Result<(), String> {
    let failure = |path: &Path, error: &dyn ToString| format!("{}: {}", path.display(), error.to_string());
    let poses_text = std::fs::read_to_string(poses).map_err(|error| failure(poses, &error))?;
    let cells: Vec<Vec<[u8; 4]>> = poses_text.lines().map(cell).collect::<Result<_, _>>()?;
    let (across, down) = (cells.len().min(ACROSS), cells.len().div_ceil(ACROSS));
    let width = across * CELL;
    let mut pixels = vec![[255; 4]; width * down * CELL];
    for (index, cell) in cells.iter().enumerate() {
        let start = index / ACROSS * CELL * width + index % ACROSS * CELL;
        for (row, cell) in cell.chunks_exact(CELL).enumerate() {
            pixels[start + row * width..][..CELL].copy_from_slice(cell);
        }
    }
    let file = std::fs::File::create(out).map_err(|error| failure(out, &error))?;
    let mut png = png::Encoder::new(file, width as u32, (down * CELL) as u32);
    png.set_color(png::ColorType::Rgba);
    let mut image = png.write_header().map_err(|error| failure(out, &error))?;
    image.write_image_data(pixels.as_flattened()).map_err(|error| failure(out, &error))
}

/// Draws one cell: a line of the poses file.
fn cell(line: &str) -> Result<Vec<[u8; 4]>, String> {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut pose = Pose::default();
    let mut crop = [0.0, 0.0, SIDE as f32];
    for (key, value) in rest.split_whitespace().filter_map(|word| word.split_once('=')) {
        let numbers: Option<Vec<f32>> = value.split(',').map(|number| number.parse().ok()).collect();
        match (key, numbers.as_deref()) {
            ("yaw", Some(&[value])) => pose.yaw_degrees = value,
            ("pitch", Some(&[value])) => pose.pitch_degrees = value,
            ("roll", Some(&[value])) => pose.roll_degrees = value,
            ("breath", Some(&[value])) => pose.breath = value,
            ("crop", Some(&[left, top, side])) => crop = [left, top, side],
            (shape, Some(&[value])) if arkit_index(shape).is_some() => pose.set(shape, value),
            _ => return Err(format!("{key}={value} in \"{line}\": not a blend shape, or not a number")),
        }
    }
    let mut surface = Surface::new(FrameSize::square(SIDE));
    load(name)?.draw(&pose, &mut surface);
    let [left, top, side] = crop;
    let place = |at: usize, from: f32| ((at as f32 + 0.5) / CELL as f32 * side + from).clamp(0.0, SIDE as f32 - 1.0);
    let places = (0..CELL * CELL).map(|at| [place(at % CELL, left), place(at / CELL, top)]);
    Ok(places.map(|[x, y]| surface.pixels[y as usize * SIDE as usize + x as usize]).collect())
}
