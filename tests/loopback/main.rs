//! Our server's machines and a client in one process, a lossy, jittery wire between them, and a clock that only exists here.

mod client;
mod voice;
mod wire;
mod world;

use std::time::Duration;

use voice::{Voice, correlation, levels_of};
use wire::{CALM, Neck, Weather};
use world::{Noise, Plan, World, portrait};

const SEED: u64 = 3;

fn explore(loss_ratio: f64, jitter_ms: u64, px: u32) {
    let storm = Weather { loss_ratio, double_ratio: 0.02, jitter: Duration::from_millis(jitter_ms), ..CALM };
    let plan = Plan {
        face: portrait(),
        picture_px: px,
        voice: Voice::speech(),
        faster_ppm: 200.0,
        up: storm,
        down: storm,
        seed: SEED,
    };
    let mut world = World::new(plan);
    assert!(world.run_until(10.0, |w| w.client.is_connected));
    eprintln!("== {loss_ratio} {jitter_ms} {px} connected at {}", world.seconds());
    let now = world.now;
    world.client.begin_to_speak(now);
    for i in 0..30 {
        world.run(1.0);
        if i % 3 != 2 {
            continue;
        }
        let n = world.network();
        eprintln!(
            "{:.1} seen {} asked {} heard {} est {:?} loss {:?} rtt {:?} px {} frames {:?}",
            world.seconds(),
            world.client.seen.len(),
            world.client.asked.len(),
            world.client.heard.len(),
            n.estimate_bps,
            n.egress_loss_ratio,
            n.rtt_ms,
            world.client.seen.last().map_or(0, |s| s.side_px),
            world.ticket.meter.report().frames
        );
    }
    eprintln!("{:?}", world.ticket.meter.report().losses);
}
#[test]
fn explores() {
    explore(0.0, 0, 256);
    explore(0.2, 0, 256);
    explore(0.05, 30, 256);
    explore(0.0, 300, 256);
    explore(0.0, 100, 256);
    explore(0.0, 30, 256);
}
