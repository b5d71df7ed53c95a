//! The output of a session, towards a network or a file.

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::codec::EncodedFrame;
use crate::media::Timed;

/// A session's key within this process, for the media path.
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

/// An audio packet or a video frame for every viewer of a session. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The session.
    pub session: SessionKey,
    /// The time of its sample index on the clock that audio and video share (never in the future);
    /// RTCP sender reports are derived from it.
    pub clock: Instant,
    /// Its content.
    pub media: Timed<OutgoingMedia>,
}

/// The destination of a session's output. A frame is begun only while `has_room`, so that frames are dropped before encoding.
pub trait Outlet: Send {
    /// Whether one frame and its audio can be sent now.
    fn has_room(&self) -> bool;

    /// Sends one packet or frame. A refused one is lost; after a refused frame the session encodes a keyframe.
    ///
    /// # Errors
    /// Returns the item if there is no room or no receiver.
    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>>;
}

/// Queue entries of a frame and its audio.
const FRAME_ROOM: usize = 4;

impl Outlet for mpsc::Sender<Outgoing> {
    fn has_room(&self) -> bool {
        self.capacity() >= FRAME_ROOM
    }

    fn send(&mut self, outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        self.try_send(outgoing).map_err(|refused| Box::new(refused.into_inner()))
    }
}
