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

fn report(world: &World, from: usize) {
    let n = world.network();
    let seen = &world.client.seen[from..];
    let mut late: Vec<f64> =
        seen.iter().map(|s| (s.arrived - world.start).as_secs_f64() - s.at as f64 / 90e3).collect();
    late.sort_by(f64::total_cmp);
    let q = |p: f64| late.get((late.len() as f64 * p) as usize).copied().unwrap_or(0.0);
    let bytes: usize = seen.iter().map(|s| s.bytes).sum();
    eprintln!(
        "{:.1} seen {} +{} asked {} keys {} est {:?} loss {:.2?} rtt {:.0?} px {} frames {:?} late {:.3} {:.3} kbits {} lost {} of {}",
        world.seconds(),
        world.client.seen.len(),
        seen.len(),
        world.client.asked.len(),
        seen.iter().filter(|s| s.is_key).count(),
        n.estimate_bps,
        n.egress_loss_ratio,
        n.rtt_ms,
        world.client.seen.last().map_or(0, |s| s.side_px),
        world.ticket.meter.report().frames,
        q(0.5),
        q(0.95),
        bytes / 125,
        world.down.lost,
        world.down.carried
    );
}
#[test]
fn explores() {
    let storm = Weather { loss_ratio: 0.2, double_ratio: 0.02, jitter: Duration::from_millis(300), ..CALM };
    let plan = Plan {
        face: portrait(),
        picture_px: 256,
        voice: Voice::speech(),
        faster_ppm: 200.0,
        up: storm,
        down: storm,
        seed: SEED,
    };
    let mut world = World::new(plan);
    assert!(world.run_until(10.0, |w| w.client.is_connected));
    let now = world.now;
    world.client.begin_to_speak(now);
    for _ in 0..15 {
        let from = world.client.seen.len();
        world.run(2.0);
        report(&world, from);
    }
    eprintln!("{:?}", world.ticket.meter.report().losses);
    let neck =
        |bps| Weather { neck: Some(Neck { bits_per_second: bps, longest_queue: Duration::from_millis(300) }), ..CALM };
    let plan = Plan {
        face: Noise::pack(30),
        picture_px: 256,
        voice: Voice::quiet(10),
        faster_ppm: 0.0,
        up: CALM,
        down: neck(3_000_000),
        seed: SEED,
    };
    let mut world = World::new(plan);
    assert!(world.run_until(10.0, |w| w.client.is_connected));
    for n in 0..50 {
        let from = world.client.seen.len();
        world.run(1.0);
        report(&world, from);
        if n == 7 {
            world.down.weather = neck(200_000);
            eprintln!("narrow");
        }
        if n == 27 {
            world.down.weather = neck(3_000_000);
            eprintln!("wide");
        }
    }
}
