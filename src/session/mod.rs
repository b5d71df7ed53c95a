//! Running sessions: admission, the workers that tick them, their viewers, and the bounded queues between them.
//!
//! Decides admission, scheduling, what is dropped, and the viewers' combined requests to the encoder. Knows no network, file or
//! pixel.

mod admission;
mod audio_delay;
mod avatars;
#[cfg(feature = "cuda")]
mod device_thread;
mod end_reason;
mod event;
mod gpu_monitor;
mod handle;
mod inbox;
mod limits;
mod outlet;
mod registry;
mod report;
mod scheduler;
#[expect(clippy::module_inception, reason = "the type after which the folder is named")]
mod session;
mod sessions;
mod speech;
mod tally;
mod video_out;
mod viewers;

pub use crate::model::AvatarInfo;
pub use admission::AdmitError;
#[cfg(feature = "cuda")]
pub use device_thread::start_device_thread;
pub use end_reason::{EndCounts, EndReason};
pub use event::{Quality, SessionEvent};
pub use gpu_monitor::{GpuMonitor, GpuMonitoring, GpuSnapshot, GpuSource};
pub use handle::SessionHandle;
pub use inbox::{Backlog, CommandQueueFull, Inbox, NewAnimator, SessionCommand};
pub use limits::{SessionLifetime, SessionLimits, SessionOptions, SessionRequest, SessionsConfig};
pub use outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
pub use registry::SessionRegistry;
pub use report::{Buckets, FrameCounts, Meter, MeterReport, SessionState, SessionStats, SessionSummary};
pub use session::{Session, SessionError, SessionParts};
pub use sessions::{CommandError, Sessions};
pub use speech::{
    SPEECH_QUEUE_BLOCKS, SPEECH_STALL, SpeechClosed, SpeechProgress, SpeechSink, SpeechSource, SpeechState,
    speech_queue,
};
pub use viewers::{
    KeyframeReason, MAX_UNSENT_FRAMES, ViewerCounts, ViewerError, ViewerHandle, ViewerKey, ViewerRole, ViewerSummary,
    Viewers,
};
