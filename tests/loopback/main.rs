//! Our server's machines and a client in one process, a wire between them that loses, delays, doubles and narrows, and a
//! clock that only exists here. Nothing sleeps, nothing is sent; what is lost is the same for the same seed.

mod client;
mod drift;
mod voice;
mod wire;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use client::Seen;
use voice::{Voice, correlation, levels_of};
use wire::{CALM, Neck, Weather};
use world::{Noise, Plan, World, portrait};

const SEED: u64 = 3;

/// A call with the built-in face, small so that it is fast.
fn call(wire: Weather) -> World {
    let (face, voice) = (portrait(), Voice::speech());
    let plan = Plan { face, picture_px: 256, voice, faster_ppm: 200.0, up: wire, down: wire, seed: SEED };
    begin(plan)
}

/// A call with pictures that always fill what the encoder may spend.
fn busy_call(down: Weather) -> World {
    let (face, voice) = (Noise::pack(30), Voice::speech());
    begin(Plan { face, picture_px: 256, voice, faster_ppm: 0.0, up: CALM, down, seed: SEED })
}

fn begin(plan: Plan) -> World {
    let mut world = World::new(plan);
    assert!(world.run_until(8.0, |world| world.client.is_connected), "not connected after 8 s");
    let now = world.now;
    world.client.begin_to_speak(now);
    world
}

/// The longest time without a new picture, in seconds.
fn longest_freeze(seen: &[Seen]) -> f64 {
    seen.windows(2).map(|pair| (pair[1].arrived - pair[0].arrived).as_secs_f64()).fold(0.0, f64::max)
}

fn assert_unbroken(world: &World) {
    let line = world.line.lock().expect("a line");
    assert!(line.iter().zip(0..).all(|((at, _), n)| at.0 == n * 320), "the line has a gap");
    assert!(world.voices.windows(2).all(|pair| pair[1].0 - pair[0].0 == 320), "the voice that leaves has a gap");
}

fn assert_every_frame_is_accounted_for(world: &mut World) {
    let adds_up = |world: &World| {
        let frames = world.ticket.meter.report().frames;
        frames.due == frames.on_time + frames.late + frames.dropped
    };
    assert!(world.run_until(3.0, adds_up), "{:?}", world.ticket.meter.report().frames);
}

/// How loud the line was around the moment of each picture: the root of it, which mouths follow more evenly.
fn loudness(world: &World, seen: &[&Seen]) -> Vec<f32> {
    let line = world.line.lock().expect("a line");
    let around = |one: &&Seen| {
        let block = (one.at * 16 / 90 / 320) as usize;
        let levels = &line[block.saturating_sub(1)..(block + 3).min(line.len())];
        (levels.iter().map(|(_, level)| level).sum::<f32>() / levels.len().max(1) as f32).sqrt()
    };
    seen.iter().map(around).collect()
}

/// How well the picture follows the voice: where it does is learnt from one half of the pictures and tried on the other.
fn mouth_follows(world: &World) -> f32 {
    let side_px = world.client.seen.last().map_or(0, |one| one.side_px);
    let seen: Vec<&Seen> = world.client.seen.iter().filter(|one| one.side_px == side_px).collect();
    let loud = loudness(world, &seen);
    let half = seen.len() / 2;
    let cell = |part: &[&Seen], cell: usize| part.iter().map(|one| one.cells[cell]).collect::<Vec<f32>>();
    let count = seen.first().map_or(0, |one| one.cells.len());
    let mut ways: Vec<(usize, f32)> =
        (0..count).map(|n| (n, correlation(&cell(&seen[..half], n), &loud[..half]))).collect();
    ways.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    ways.truncate(4);
    let open = |one: &&Seen| ways.iter().map(|(n, way)| one.cells[*n] * way.signum()).sum::<f32>();
    let opens: Vec<f32> = seen[half..].iter().map(open).collect();
    correlation(&opens, &loud[half..])
}

/// How well the voice that came back is the voice on the line, moment by moment.
fn voice_comes_back(world: &World) -> f32 {
    let line = world.line.lock().expect("a line");
    let heard = levels_of(&world.client.heard);
    let pairs = heard.iter().filter_map(|(at, level)| Some((*level, line.get((at / 960) as usize)?.1)));
    let (back, there): (Vec<f32>, Vec<f32>) = pairs.unzip();
    correlation(&back, &there)
}

/// How well the line hears what is said, at whatever delay it has.
fn line_hears(world: &World, said: &Voice) -> f32 {
    let line: Vec<f32> = world.line.lock().expect("a line").iter().map(|(_, level)| *level).collect();
    let at = |delay: usize| {
        let heard = &line[delay.min(line.len())..];
        let spoken: Vec<f32> = said.levels.iter().cycle().take(heard.len()).copied().collect();
        correlation(heard, &spoken)
    };
    (0..400).map(at).fold(0.0, f32::max)
}

#[test]
fn a_call_through_a_storm_goes_on() {
    let storm = Weather { loss_ratio: 0.2, double_ratio: 0.02, jitter: Duration::from_millis(300), ..CALM };
    let mut world = call(storm);
    world.run(10.0);
    world.stalled_until = world.now + Duration::from_millis(400);
    world.run(30.0);
    assert_unbroken(&world);
    assert_every_frame_is_accounted_for(&mut world);
    let losses = world.ticket.meter.report().losses;
    eprintln!(
        "{} {} {} {} {} of {}, back {} of {} {losses:?}",
        mouth_follows(&world),
        voice_comes_back(&world),
        line_hears(&world, &Voice::speech()),
        longest_freeze(&world.client.seen),
        world.client.seen.len(),
        world.pictures.len(),
        world.client.heard.len(),
        world.voices.len()
    );
}

#[test]
fn on_a_middling_wire_the_mouth_follows_the_voice() {
    let mut world = call(Weather { loss_ratio: 0.03, jitter: Duration::from_millis(20), ..CALM });
    world.run(30.0);
    eprintln!(
        "{} {} {} {} {} of {}",
        mouth_follows(&world),
        voice_comes_back(&world),
        line_hears(&world, &Voice::speech()),
        longest_freeze(&world.client.seen),
        world.client.seen.len(),
        world.pictures.len()
    );
}
