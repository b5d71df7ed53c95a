//! A studio whose pack runs on a card: what a lost device means for a session and for the next.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use visage::backend::Health;
use visage::backend::card::Card;
use visage::cards::CardUse;
use visage::model::Pack;
use visage::model::portrait::Portrait;
use visage::pipeline::{EndReason, Outgoing, Outlet, SessionEvent, ShowRequest, Studio, StudioConfig};
use visage::time::Wall;
use visage_engines::PackFiles;

use crate::standin::{Fault, StandIn};
use crate::world::on;

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

fn studio(card: &Card) -> Arc<Studio> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    let pack = Portrait::open(PackFiles::read(&folder).expect("the pack"), card).expect("the pack on the card");
    assert_eq!(pack.backend(), "tensorrt");
    assert_eq!(pack.name(), "portrait");
    let place = Some("00000000:0A:00.0".to_owned());
    assert_eq!(pack.card(), Some(CardUse { bus_address: place, index: 0, session_bytes: 0 }));
    let config = StudioConfig { max_sessions: 8, workers: 1, picture_px: 128, bitrate_bps: 500_000 };
    Studio::open(config, Arc::new(pack), Wall).expect("a studio")
}

/// Admits a session, fails the device, and waits until the session has ended: with why.
fn lose(studio: &Studio, standin: &StandIn, fault: Fault) -> SessionEvent {
    let ticket = studio.admit(&ShowRequest::default(), Box::new(Nowhere)).expect("a place");
    let mut events = ticket.events.subscribe();
    standin.fail(fault, 1);
    loop {
        if let event @ SessionEvent::Ended { .. } = events.blocking_recv().expect("an end") {
            return event;
        }
    }
}

#[test]
fn a_session_on_a_lost_device_ends_with_its_reason_and_the_studio_goes_on() {
    let standin = StandIn::new();
    standin.seed(2);
    let (card, owner) = on(&standin);
    let (tell, told) = sync_channel(8);
    let thread = thread::spawn(move || owner.run(|health| tell.send(health.clone()).expect("somebody listens")));
    let studio = studio(&card);
    let ended = SessionEvent::Ended { reason: EndReason::EngineLost.to_string() };
    assert_eq!(lose(&studio, &standin, Fault::Sticky(999)), ended);
    assert!(studio.sessions().is_empty());
    // Opened anew, it takes the next.
    while card.health() != Health::Open {
        thread::yield_now();
    }
    let admitted = studio.admit(&ShowRequest::default(), Box::new(Nowhere)).expect("a place");
    studio.end(&admitted.id, EndReason::Deleted);
    // The second time it stays closed, and the process lives.
    assert_eq!(lose(&studio, &standin, Fault::Gone(999)), ended);
    let refused = studio.admit(&ShowRequest::default(), Box::new(Nowhere)).expect_err("no device");
    assert!(refused.to_string().contains("answered 999"), "{refused}");
    assert!(refused.to_string().contains("start visage again"), "{refused}");
    studio.close();
    drop((studio, card));
    thread.join().expect("the loop ends");
    // Each turn of its health was told once, as it came.
    let told: Vec<Health> = told.into_iter().collect();
    assert!(
        matches!(told.as_slice(), [Health::Recovering { .. }, Health::Open, Health::Lost { found }] if found.contains("999")),
        "{told:?}"
    );
    standin.assert_obeyed();
    assert_eq!(standin.counts().living(), 0, "{:?}", standin.counts());
}
