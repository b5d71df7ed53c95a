//! Combined requests of viewers to a session.

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::session::{SessionKey, SessionRequest, SessionsConfig};
use crate::time::Wall;

fn session(max_viewers: usize) -> (Arc<SessionHandle>, Instant) {
    let config =
        SessionsConfig { max_sessions: 1, max_viewers, workers: 1, resolution_px: 256, bitrate_bps: 1_000_000 };
    let now = Wall.now();
    let handle = SessionHandle::new(SessionKey(1), Arc::from("nobody"), &SessionRequest::default(), &config, now);
    (Arc::new(handle), now)
}

fn watching(session: &Arc<SessionHandle>, role: ViewerRole, bps: u32) -> ViewerHandle {
    let viewer = Viewers::join(session, role, session.started).expect("a viewer slot");
    viewer.begin_watching();
    viewer.set_target(bps);
    viewer
}

#[test]
fn the_microphone_has_one_owner_and_is_free_after_it_left() {
    let (session, now) = session(3);
    let join = |role| Viewers::join(&session, role, now);
    let creator = join(ViewerRole::Creator).expect("the first");
    assert_eq!(join(ViewerRole::Speaker).expect_err("taken"), ViewerError::MicrophoneTaken);
    let listener = join(ViewerRole::ReceiveOnly).expect("a viewer");
    assert_eq!(session.viewers.leave(creator.key()), Some(1));
    assert_eq!(session.viewers.leave(creator.key()), None, "once");
    assert!(join(ViewerRole::Speaker).is_ok());
    assert_eq!(session.viewers.list(now).len(), 2);
    drop(listener);
}

#[test]
fn viewer_slots_are_limited_and_freed() {
    let (session, now) = session(2);
    let viewers: Vec<_> =
        (0..2).map(|_| Viewers::join(&session, ViewerRole::ReceiveOnly, now).expect("a slot")).collect();
    assert_eq!(
        Viewers::join(&session, ViewerRole::ReceiveOnly, now).expect_err("full"),
        ViewerError::Full { limit: 2 }
    );
    session.viewers.leave(viewers[0].key());
    assert!(Viewers::join(&session, ViewerRole::ReceiveOnly, now).is_ok());
}

#[test]
fn a_session_has_a_viewer_as_long_as_one_is_connected() {
    let (session, _) = session(9);
    assert!(!session.inbox.has_viewer());
    let (one, two) =
        (watching(&session, ViewerRole::Creator, 900_000), watching(&session, ViewerRole::ReceiveOnly, 900_000));
    session.viewers.leave(one.key());
    assert!(session.inbox.has_viewer());
    session.viewers.leave(two.key());
    assert!(!session.inbox.has_viewer());
}

#[test]
fn the_leader_is_the_owner_of_the_microphone_else_the_only_viewer() {
    let (session, _) = session(9);
    let listener = watching(&session, ViewerRole::ReceiveOnly, 900_000);
    assert!(listener.is_leader());
    let owner = watching(&session, ViewerRole::Speaker, 900_000);
    assert!(owner.is_leader() && !listener.is_leader());
    let third = watching(&session, ViewerRole::ReceiveOnly, 900_000);
    session.viewers.leave(owner.key());
    assert!(!listener.is_leader() && !third.is_leader());
    session.viewers.leave(third.key());
    assert!(listener.is_leader());
}

#[test]
fn the_target_follows_viewers_that_join_and_leave() {
    let (session, _) = session(9);
    let owner = watching(&session, ViewerRole::Creator, 2_000_000);
    assert_eq!(session.inbox.take_bitrate(), Some(2_000_000));
    let slow = watching(&session, ViewerRole::ReceiveOnly, 700_000);
    assert_eq!(session.inbox.take_bitrate(), Some(700_000));
    slow.set_target(50_000);
    assert_eq!(session.inbox.take_bitrate(), Some(400_000), "the floor");
    session.viewers.leave(slow.key());
    assert_eq!(session.inbox.take_bitrate(), Some(2_000_000));
    owner.set_target(120_000);
    assert_eq!(session.inbox.take_bitrate(), Some(120_000), "the owner is the leader");
}

#[test]
fn a_full_pacer_pauses_the_session_only_for_the_leader_or_for_all_viewers() {
    let (session, _) = session(9);
    let (one, two) =
        (watching(&session, ViewerRole::ReceiveOnly, 900_000), watching(&session, ViewerRole::ReceiveOnly, 900_000));
    one.set_unsent(5);
    assert!(!session.inbox.has_backlog());
    two.set_unsent(2);
    assert!(session.inbox.has_backlog());
    let owner = watching(&session, ViewerRole::Speaker, 900_000);
    assert!(!session.inbox.has_backlog());
    owner.set_unsent(2);
    one.set_unsent(0);
    assert!(session.inbox.has_backlog());
    owner.set_unsent(1);
    assert!(!session.inbox.has_backlog());
}
