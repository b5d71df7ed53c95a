//! The way out of a show, towards a network or a file.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::codec::EncodedFrame;
use crate::media::Timed;

/// A short number for a session inside this process, for keys on the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// One thing that leaves a show.
#[derive(Clone, Debug)]
pub enum OutgoingMedia {
    /// 20 ms of voice as an Opus packet.
    Voice(Bytes),
    /// One encoded picture.
    VideoFrame(EncodedFrame),
}

/// One thing on its way to the receiver of a session.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Whose.
    pub session: SessionKey,
    /// The instant that stands for its moment on the clock which voice and video share (never in the future);
    /// sender reports are made from it.
    pub clock: Instant,
    /// What.
    pub media: Timed<OutgoingMedia>,
}

/// Where a show's output goes. A picture is begun only while `has_room` (drop before encoding, never after).
pub trait Outlet: Send {
    /// Whether everything one frame needs can be taken now.
    fn has_room(&self) -> bool;

    /// Takes one thing. Refusal loses it; the show is told so that it can ask for a key picture.
    ///
    /// # Errors
    /// Gives the thing back when there is no room or nobody to take it.
    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>>;
}

/// Room that a frame and its voice need.
const FRAME_ROOM: usize = 4;

impl Outlet for mpsc::Sender<Outgoing> {
    fn has_room(&self) -> bool {
        self.capacity() >= FRAME_ROOM
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.try_send(outgoing).map_err(|refused| Box::new(refused.into_inner()))
    }
}
