//! Sessions whose pack runs on a GPU: the effect of a lost device on a session and on the next one.

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

/// An outlet that drops everything: a session without a viewer still runs its network.
struct Nowhere;

impl Outlet for Nowhere {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        Ok(())
    }
}

/// Sends the marks of frames, until the receiver is gone.
struct Marked(SyncSender<Box<Marks>>);

impl Outlet for Marked {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        if matches!(outgoing.media.value, OutgoingMedia::VideoFrame(_)) {
            // If the channel is full, the next frame does.
            let _ = self.0.try_send(Box::new(outgoing.media.marks));
        }
        Ok(())
    }
}

fn open_service(gpu: &GpuBackend) -> Arc<Sessions> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    let pack = Portrait::open(PackFiles::read(&folder).expect("the pack"), gpu).expect("the pack on the GPU");
    assert_eq!(pack.backend(), "tensorrt");
    assert_eq!(pack.name(), "portrait");
    let place = Some("00000000:0A:00.0".to_owned());
    assert_eq!(pack.gpu(), Some(GpuRequirement { bus_address: place, index: 0, session_bytes: 0 }));
    let config =
        SessionsConfig { max_sessions: 8, max_viewers: 50, workers: 1, resolution_px: 128, bitrate_bps: 500_000 };
    Sessions::open(config, Arc::new(pack), Wall).expect("a service")
}

/// Starts a session, fails the device, and waits until the session has ended; returns why.
fn lose(service: &Sessions, stub: &StubDriver, fault: Fault) -> SessionEvent {
    let handle = service.start(&SessionRequest::default(), Box::new(Nowhere)).expect("a session");
    let mut events = handle.events.subscribe();
    stub.fail(fault, 1);
    loop {
        if let event @ SessionEvent::Ended(_) = events.blocking_recv().expect("an end") {
            return event;
        }
    }
}

#[test]
fn a_session_on_a_lost_device_ends_with_its_reason_and_the_service_continues() {
    let stub = StubDriver::new();
    stub.seed(2);
    let (gpu, device) = on(&stub);
    let (report, reports) = sync_channel(8);
    let thread = thread::spawn(move || device.run(|health| report.send(health.clone()).expect("a receiver")));
    let service = open_service(&gpu);
    let ended = SessionEvent::Ended(EndReason::EngineLost);
    assert_eq!(lose(&service, &stub, Fault::Sticky(999)), ended);
    assert!(service.registry().list(Wall.now()).is_empty());
    // In the re-created context the next session runs.
    while gpu.health() != Health::Ready {
        thread::yield_now();
    }
    let admitted = service.start(&SessionRequest::default(), Box::new(Nowhere)).expect("a session");
    service.end(&admitted.id, EndReason::Deleted);
    // The second time it stays lost, and the process continues.
    assert_eq!(lose(&service, &stub, Fault::Gone(999)), ended);
    let refused = service.start(&SessionRequest::default(), Box::new(Nowhere)).expect_err("no device");
    assert!(refused.to_string().contains("returned 999"), "{refused}");
    assert!(refused.to_string().contains("start visage again"), "{refused}");
    service.close();
    drop((service, gpu));
    thread.join().expect("the loop ends");
    // Each change of its health was reported once.
    let reported: Vec<Health> = reports.into_iter().collect();
    assert!(
        matches!(reported.as_slice(), [Health::Recovering { .. }, Health::Ready, Health::Lost { found }] if found.contains("999")),
        "{reported:?}"
    );
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}

/// Waits for a frame whose step the GPU has timed.
fn timed(frames: &Receiver<Box<Marks>>) -> Marks {
    *frames.iter().find(|marks| marks.step != StepTimes::default()).expect("a frame after a step")
}

#[test]
fn a_frame_has_the_device_times_of_its_step_and_the_service_counts_the_steps() {
    let stub = StubDriver::new();
    stub.seed(3);
    let (gpu, device) = on(&stub);
    let thread = thread::spawn(move || device.run(|_| ()));
    let service = open_service(&gpu);
    let (taken, frames) = sync_channel(16);
    let handle = service.start(&SessionRequest::default(), Box::new(Marked(taken))).expect("a session");
    handle.inbox.set_watching(1);
    let marks = timed(&frames);
    assert_eq!(marks.step.parts().map(|(part, _)| part).collect::<Vec<_>>(), StepTimes::NAMES);
    handle.meter.frame_sent(&marks, Duration::ZERO);
    let report = handle.meter.report();
    assert!(
        report.gpu.keys().copied().eq(["compute", "download", "upload"]) && report.gpu["compute"].n == 1,
        "{:?}",
        report.gpu
    );
    let work = service.gpu().device_counts().expect("a GPU");
    assert!(work.steps > 0 && work.replays == work.runs && work.loop_stalls == 0, "{work:?}");
    drop(frames);
    service.end(&handle.id, EndReason::Deleted);
    service.close();
    drop((service, gpu));
    thread.join().expect("the loop ends");
    stub.assert_obeyed();
    assert_eq!(stub.counts().living(), 0, "{:?}", stub.counts());
}
