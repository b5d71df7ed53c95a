//! The output of a session, towards a network or a file.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::codec::EncodedFrame;
use crate::media::Timed;

/// A short number for a session inside this process, for keys on the media path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// What a session sends.
#[derive(Clone, Debug)]
pub enum OutgoingMedia {
    /// 20 ms of audio as an Opus packet.
    Audio(Bytes),
    /// One encoded frame.
    VideoFrame(EncodedFrame),
}

/// One packet of audio or frame of video on its way to every viewer of a session. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The session.
    pub session: SessionKey,
    /// The instant that stands for its sample index on the clock that audio and video share (never in the future);
    /// RTCP sender reports are made from it.
    pub clock: Instant,
    /// Its content.
    pub media: Timed<OutgoingMedia>,
}

/// Where a session's output goes. A frame is begun only while `has_room`: what is dropped is dropped before encoding.
pub trait Outlet: Send {
    /// Whether one frame and its audio can be taken now.
    fn has_room(&self) -> bool;

    /// Takes one packet or frame. What is refused is lost; after a refused frame the session encodes a keyframe.
    ///
    /// # Errors
    /// Returns it when there is no room or no receiver.
    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>>;
}

/// Queue entries that a frame and its audio need.
const FRAME_ROOM: usize = 4;

impl Outlet for mpsc::Sender<Outgoing> {
    fn has_room(&self) -> bool {
        self.capacity() >= FRAME_ROOM
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.try_send(outgoing).map_err(|refused| Box::new(refused.into_inner()))
    }
}
