//! The running shows: who is admitted, which worker moves which session on, and the few bounded queues between.
//!
//! Decides admission, scheduling and what is dropped. Does not know networks, files or pixels.

mod ends;
#[cfg(feature = "cuda")]
mod gpu;
mod inbox;
mod outlet;
mod register;
mod report;
mod show;
mod speech;
mod studio;
mod terms;
mod ticket;
mod voice_out;
mod watcher;
mod workers;

pub use crate::model::AvatarCard;
pub use ends::{EndCounts, EndReason};
#[cfg(feature = "cuda")]
pub use gpu::start_card;
pub use inbox::{Inbox, Newcomer, Order, OrdersFull};
pub use outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
pub use register::AdmitError;
pub use report::{
    Buckets, FrameCounts, Meter, MeterReport, Quality, SessionEvent, SessionState, SessionStats, SessionSummary,
};
pub use show::{FRAME_SAMPLES, Show, ShowError, ShowParts};
pub use studio::{OrderError, Studio};
pub use terms::{ShowRequest, StudioConfig, Terms, Wishes};
pub use ticket::Ticket;
pub use watcher::{CardSource, CardsNow, Watcher};
