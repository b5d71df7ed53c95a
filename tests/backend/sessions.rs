//! A studio whose pack runs on a card: what a lost device means for a session and for the next.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use visage::backend::Health;
use visage::backend::gpu::GpuBackend;
use visage::gpu_load::GpuRequirement;
use visage::model::Pack;
use visage::model::portrait::Portrait;
use visage::session::{
    EndReason, Outgoing, OutgoingMedia, Outlet, SessionEvent, SessionRequest, Sessions, SessionsConfig,
};
use visage::telemetry::{Marks, StepTimes};
use visage::time::Wall;
use visage_engines::PackFiles;

use crate::fixture::on;
use crate::stub_driver::{Fault, StubDriver};

/// A session that nobody watches still hears, so its network runs.
struct Nowhere;

impl Outlet for Nowhere {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        Ok(())
    }
}

/// Hands over the marks of pictures, until nobody takes them.
struct Marked(SyncSender<Box<Marks>>);

impl Outlet for Marked {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        if matches!(outgoing.media.value, OutgoingMedia::VideoFrame(_)) {
            // What finds no room is not looked at: the next will do.
            let _ = self.0.try_send(Box::new(outgoing.media.marks));
        }
        Ok(())
    }
}

fn studio(gpu: &GpuBackend) -> Arc<Sessions> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    let pack = Portrait::open(PackFiles::read(&folder).expect("the pack"), gpu).expect("the pack on the GPU");
    assert_eq!(pack.backend(), "tensorrt");
    assert_eq!(pack.name(), "portrait");
    let place = Some("00000000:0A:00.0".to_owned());
    assert_eq!(pack.gpu(), Some(GpuRequirement { bus_address: place, index: 0, session_bytes: 0 }));
    let config =
        SessionsConfig { max_sessions: 8, max_viewers: 50, workers: 1, resolution_px: 128, bitrate_bps: 500_000 };
    Sessions::open(config, Arc::new(pack), Wall).expect("a studio")
}

/// Admits a session, fails the device, and waits until the session has ended: with why.
fn lose(studio: &Sessions, stub: &StubDriver, fault: Fault) -> SessionEvent {
    let ticket = studio.start(&SessionRequest::default(), Box::new(Nowhere)).expect("a place");
    let mut events = ticket.events.subscribe();
    stub.fail(fault, 1);
    loop {
        if let event @ SessionEvent::Ended(_) = events.blocking_recv().expect("an end") {
            return event;
        }
    }
}

#[test]
fn a_session_on_a_lost_device_ends_with_its_reason_and_the_studio_goes_on() {
    let stub = StubDriver::new();
    stub.seed(2);
    let (gpu, device) = on(&stub);
    let (tell, told) = sync_channel(8);
    let thread = thread::spawn(move || device.run(|health| tell.send(health.clone()).expect("somebody listens")));
    let studio = studio(&gpu);
    let ended = SessionEvent::Ended(EndReason::EngineLost);
    assert_eq!(lose(&studio, &stub, Fault::Sticky(999)), ended);
    assert!(studio.registry().list(Wall.now()).is_empty());
    // Opened anew, it takes the next.
    while gpu.health() != Health::Ready {
        thread::yield_now();
    }
    let admitted = studio.start(&SessionRequest::default(), Box::new(Nowhere)).expect("a place");
    studio.end(&admitted.id, EndReason::Deleted);
    // The second time it stays closed, and the process lives.
    assert_eq!(lose(&studio, &stub, Fault::Gone(999)), ended);
    let refused = studio.start(&SessionRequest::default(), Box::new(Nowhere)).expect_err("no device");
    assert!(refused.to_string().contains("returned 999"), "{refused}");
    assert!(refused.to_string().contains("start visage again"), "{refused}");
    studio.close();
    drop((studio, gpu));
    thread.join().expect("the loop ends");
    // Each turn of its health was told once, as it came.
    let told: Vec<Health> = told.into_iter().collect();
    assert!(
        matches!(told.as_slice(), [Health::Recovering { .. }, Health::Ready, Health::Lost { found }] if found.contains("999")),
        "{told:?}"
    );
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}

/// Watches until a picture comes whose step the card has timed.
fn timed(pictures: &Receiver<Box<Marks>>) -> Marks {
    *pictures.iter().find(|marks| marks.step != StepTimes::default()).expect("a picture with a step before it")
}

#[test]
fn a_picture_tells_how_long_its_step_took_up_on_and_down_and_the_studio_what_the_card_did() {
    let stub = StubDriver::new();
    stub.seed(3);
    let (gpu, device) = on(&stub);
    let thread = thread::spawn(move || device.run(|_| ()));
    let studio = studio(&gpu);
    let (taken, pictures) = sync_channel(16);
    let ticket = studio.start(&SessionRequest::default(), Box::new(Marked(taken))).expect("a place");
    ticket.inbox.set_watching(1);
    let marks = timed(&pictures);
    assert_eq!(marks.step.parts().map(|(part, _)| part).collect::<Vec<_>>(), StepTimes::NAMES);
    ticket.meter.frame_sent(&marks, Duration::ZERO);
    let told = ticket.meter.report();
    assert!(
        told.gpu.keys().copied().eq(["compute", "download", "upload"]) && told.gpu["compute"].n == 1,
        "{:?}",
        told.gpu
    );
    let work = studio.gpu().device_counts().expect("a card");
    assert!(work.steps > 0 && work.replays == work.runs && work.loop_stalls == 0, "{work:?}");
    drop(pictures);
    studio.end(&ticket.id, EndReason::Deleted);
    studio.close();
    drop((studio, gpu));
    thread.join().expect("the loop ends");
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}
