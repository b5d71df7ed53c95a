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

/// Payload type, sequence number and RTP time of a packet of RTP (RFC 3550, section 5.1; RFC 5761, section 4).
fn rtp(bytes: &[u8]) -> Option<(u8, u16, u32)> {
    let is_rtp = bytes.len() > 12 && (128..192).contains(&bytes[0]) && !(64..96).contains(&(bytes[1] & 0x7f));
    let time = u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?);
    is_rtp.then(|| (bytes[1] & 0x7f, u16::from_be_bytes([bytes[2], bytes[3]]), time))
}

#[test]
fn a_lost_packet_of_a_picture_is_asked_for_and_comes_again() {
    let mut world = busy_call(CALM);
    world.run(6.0);
    let (picture, again) = world.client.picture_types();
    let (before, nacks) = (world.client.seen.len(), world.client.video_stats().nacks);
    let resent = Rc::new(RefCell::new(Vec::new()));
    let sent = Rc::clone(&resent);
    let mut stolen = None;
    // The second packet of a picture; what is sent again is watched from then on.
    let mut last_time = None;
    world.down.thief = Some(Box::new(move |bytes| {
        let Some((kind, _, time)) = rtp(bytes) else { return false };
        if kind == again && stolen.is_some() {
            sent.borrow_mut().push(time);
        }
        let is_second = kind == picture && last_time == Some(time);
        last_time = Some(time).filter(|_| kind == picture);
        is_second && stolen.replace(time).is_none()
    }));
    world.run(2.0);
    eprintln!("{:?} nacks {} -> {}", resent.borrow(), nacks, world.client.video_stats().nacks);
    let seen = &world.client.seen;
    assert_eq!(world.down.lost, 1);
    assert!(world.client.video_stats().nacks > nacks, "nothing was asked for");
    assert!(!resent.borrow().is_empty(), "nothing was sent again");
    assert!(seen.len() >= before + 49, "{} pictures in 2 s", seen.len() - before);
    assert!(seen[1..].iter().all(|one| !one.is_key), "a key picture");
    assert!(seen.windows(2).all(|pair| pair[1].at - pair[0].at == 3_600), "a picture is missing");
    assert!(world.client.asked.is_empty(), "a key picture was asked for");
    eprintln!("freeze {}", longest_freeze(&seen[before..]));
    assert!(longest_freeze(&seen[before..]) < 0.2, "{} s without a picture", longest_freeze(&seen[before..]));
}

#[test]
fn a_gap_that_cannot_be_mended_is_answered_with_a_key_picture() {
    let mut world = busy_call(CALM);
    world.run(6.0);
    let (picture, again) = world.client.picture_types();
    let before = world.client.seen.len();
    let mut stolen = false;
    world.down.thief = Some(Box::new(move |bytes| {
        rtp(bytes).is_some_and(|(kind, ..)| kind == again || kind == picture && !std::mem::replace(&mut stolen, true))
    }));
    world.run(4.0);
    let asked = *world.client.asked.first().expect("a key picture was asked for");
    let seen = &world.client.seen[before..];
    let keys: Vec<Instant> = seen.iter().filter(|one| one.is_key).map(|one| one.arrived).collect();
    eprintln!("{:?} {} {}", keys.iter().map(|k| *k - asked).collect::<Vec<_>>(), longest_freeze(seen), seen.len());
    assert_eq!((world.client.asked.len(), keys.len()), (1, 1), "asked for, and given");
    assert!(keys[0] - asked < Duration::from_millis(250), "after {:?}", keys[0] - asked);
    assert!(seen.len() > 75, "{} pictures in 4 s", seen.len());
}

/// Mean length of the packets of voice, of those that arrived last, in bytes.
fn voice_bytes(world: &World, last: usize) -> f64 {
    let heard = &world.client.heard[world.client.heard.len().saturating_sub(last)..];
    heard.iter().map(|(_, packet)| packet.len()).sum::<usize>() as f64 / heard.len() as f64
}

/// What came through in the last seconds.
fn through_bps(world: &World, seconds: f64) -> f64 {
    let since = world.now - Duration::from_secs_f64(seconds);
    let bytes: usize = world.client.seen.iter().filter(|one| one.arrived >= since).map(|one| one.bytes).sum();
    bytes as f64 * 8.0 / seconds
}

#[test]
fn a_wire_that_narrows_gets_less_and_a_wire_that_widens_more() {
    let neck = |bits_per_second| Weather {
        neck: Some(Neck { bits_per_second, longest_queue: Duration::from_millis(300) }),
        ..CALM
    };
    let quality = |world: &World| world.studio.stats(&world.ticket.id).expect("a session").quality;
    let estimate = |world: &World| world.network().estimate_bps.expect("an estimate");
    let newest = |world: &World| world.client.seen.last().expect("a picture").side_px;

    let mut world = busy_call(neck(3_000_000));
    world.run(14.0);
    let wide_voice = voice_bytes(&world, 600);
    eprintln!("{} {} {} {}", estimate(&world), quality(&world).bitrate_bps, newest(&world), wide_voice);
    assert!(estimate(&world) > 1_500_000 && quality(&world).bitrate_bps > 1_000_000, "{:?}", quality(&world));
    assert_eq!(newest(&world), 256);

    world.down.weather = neck(200_000);
    world.run(26.0);
    eprintln!(
        "{} {} {} {} {}",
        estimate(&world),
        quality(&world).bitrate_bps,
        newest(&world),
        voice_bytes(&world, 600),
        through_bps(&world, 10.0)
    );
    assert!(estimate(&world) < 300_000, "{}", estimate(&world));
    assert!((40_000..200_000).contains(&quality(&world).bitrate_bps), "{:?}", quality(&world));
    assert_eq!(newest(&world), 128);
    assert!((30_000.0..180_000.0).contains(&through_bps(&world, 10.0)), "{}", through_bps(&world, 10.0));
    let late = world
        .client
        .seen
        .iter()
        .rev()
        .take(200)
        .map(|one| (one.arrived - world.start).as_secs_f64() - one.at as f64 / 90_000.0);
    let latest = late.fold(0.0, f64::max);
    eprintln!("latest {latest} freeze {}", longest_freeze(&world.client.seen));
    assert!(latest < 0.8, "a picture {latest} s old");

    world.down.weather = neck(3_000_000);
    let is_back = |world: &World| newest(world) == 256 && quality(world).bitrate_bps > 1_000_000;
    assert!(world.run_until(30.0, is_back), "{} {:?}", estimate(&world), quality(&world));
    eprintln!("back after {}", world.seconds());
    assert_unbroken(&world);
    assert_every_frame_is_accounted_for(&mut world);
}

/// The share of packets that repeat the one before: a bit in the first byte of a frame of SILK (RFC 6716, section 4.2.4).
fn repeating(world: &World, from: usize, to: usize) -> f64 {
    let packets = &world.client.heard[from..to.min(world.client.heard.len())];
    let repeats = |packet: &&(u64, bytes::Bytes)| packet.1[0] >> 3 < 16 && packet.1[1] & 0x40 != 0;
    packets.iter().filter(repeats).count() as f64 / packets.len() as f64
}

#[test]
fn a_voice_whose_packets_are_lost_is_protected_more() {
    let lossy = Weather { loss_ratio: 0.2, ..CALM };
    let face = || Noise::pack(1);
    let plan = |down| Plan {
        face: face(),
        picture_px: 64,
        voice: Voice::speech(),
        faster_ppm: 0.0,
        up: CALM,
        down,
        seed: SEED,
    };
    let (mut calm, mut stormy) = (begin(plan(CALM)), begin(plan(lossy)));
    calm.run(30.0);
    stormy.run(30.0);
    for world in [&calm, &stormy] {
        let n = world.client.heard.len();
        eprintln!(
            "{:.2} {:.2} bytes {}",
            repeating(world, 50, 250),
            repeating(world, n - 700, n),
            voice_bytes(world, 700)
        );
    }
}

#[test]
fn garbage_and_replays_are_counted_and_change_nothing() {
    let mut world = busy_call(CALM);
    let sent = Rc::new(RefCell::new(Vec::new()));
    let copies = Rc::clone(&sent);
    world.up.watcher = Some(Box::new(move |_, bytes| copies.borrow_mut().extend(rtp(bytes).map(|_| bytes.to_vec()))));
    world.run(4.0);
    let (frames, losses) = (world.ticket.meter.report().frames, world.ticket.meter.report().losses);
    let strays = world.studio.counters().snapshot();
    eprintln!("{frames:?} {losses:?} {strays:?}");
    let replays = sent.borrow().clone();
    let mut random = fastrand::Rng::with_seed(SEED);
    for n in 0..600_usize {
        if n < 150 {
            world.inject(&replays[replays.len() - 150 + n]);
        }
        let mut bytes: Vec<u8> = (0..random.usize(1..400)).map(|_| random.u8(..)).collect();
        bytes[0] = [0, 1, 22, 128, 144, 255][n % 6];
        world.inject(&bytes);
        world.run(0.005);
    }
    world.run(4.0);
    let after = world.ticket.meter.report();
    eprintln!("{:?} {:?} {:?}", after.frames, after.losses, world.studio.counters().snapshot());
}
