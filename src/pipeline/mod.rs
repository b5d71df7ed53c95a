//! The running shows: who is admitted, which worker moves which session on, and the few bounded queues between.
//!
//! Decides admission, scheduling and what is dropped. Does not know networks, files or pixels.

mod inbox;
mod outlet;
mod report;
mod studio;

pub use inbox::{Inbox, Order, OrdersFull};
pub use outlet::{Outgoing, OutgoingMedia, Outlet, SessionKey};
pub use report::{FrameCounts, Meter, MeterReport, Quality, SessionEvent, SessionStats, SessionSummary};
pub use studio::{AdmitError, AvatarCard, ShowRequest, Studio, StudioConfig, Ticket};
