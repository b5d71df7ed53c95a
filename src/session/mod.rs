//! The running shows: who is admitted, which worker moves which session on, and the few bounded queues between.
//!
//! Decides admission, scheduling and what is dropped. Does not know networks, files or pixels.

mod admission;
mod audio_delay;
#[cfg(feature = "cuda")]
mod device_thread;
mod end_reason;
mod gpu_monitor;
mod handle;
mod inbox;
mod limits;
mod outlet;
mod report;
mod scheduler;
mod session;
mod sessions;
mod speech;
mod tally;
mod video_out;

pub use crate::model::AvatarInfo;
pub use admission::AdmitError;
#[cfg(feature = "cuda")]
pub use device_thread::start_device_thread;
pub use end_reason::{EndCounts, EndReason};
pub use gpu_monitor::{GpuMonitor, GpuSnapshot, GpuSource};
pub use handle::SessionHandle;
pub use inbox::{CommandQueueFull, Inbox, NewAnimator, SessionCommand};
pub use limits::{SessionLimits, SessionOptions, SessionRequest, SessionsConfig};
pub use outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
pub use report::{
    Buckets, FrameCounts, Meter, MeterReport, Quality, SessionEvent, SessionState, SessionStats, SessionSummary,
};
pub use session::{Session, SessionError, SessionParts};
pub use sessions::{CommandError, Sessions};
pub use speech::{
    SPEECH_QUEUE_BLOCKS, SPEECH_STALL, SpeechClosed, SpeechProgress, SpeechSink, SpeechSource, SpeechState,
    speech_queue,
};
