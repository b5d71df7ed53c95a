//! The studio: admits sessions, and owns the workers that move them on and the watch over the cards.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::admission::{AdmitError, SessionRegistry};
use super::end_reason::{EndCounts, EndReason};
use super::gpu_monitor::{GpuMonitor, GpuSnapshot, GpuSource, GpuStatus};
use super::handle::SessionHandle;
use super::inbox::{NewAnimator, SessionCommand};
use super::limits::{SessionLimits, SessionRequest, SessionsConfig};
use super::outlet::Outlet;
use super::report::{Meter, MeterReport, SessionState, SessionStats, SessionSummary};
use super::scheduler::{Ending, OnEnd, Scheduler};
use super::session::{Session, SessionParts};
use crate::gpu_load::DeviceCounts;
use crate::media::{FrameSize, VideoFrame};
use crate::model::{AvatarInfo, ModelError, Pack, Still};
use crate::telemetry::{Counters, Trace};
use crate::time::Wall;

/// Why a running session did not take an order.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such session.
    #[error("wanted a session \"{id}\", there is none")]
    NoSession {
        /// The id asked for.
        id: String,
    },
    /// It has too many orders waiting.
    #[error(transparent)]
    Busy(#[from] super::inbox::CommandQueueFull),
    /// The avatar cannot take over.
    #[error(transparent)]
    Avatar(#[from] AdmitError),
}

/// The studio.
pub struct Sessions {
    config: SessionsConfig,
    pack: Arc<dyn Pack>,
    workers: Scheduler,
    register: Arc<SessionRegistry>,
    board: Arc<GpuStatus>,
    wall: Wall,
}

impl Sessions {
    /// Opens a studio with the avatars of `pack`.
    ///
    /// # Errors
    /// If a worker thread cannot be started.
    pub fn open(config: SessionsConfig, pack: Arc<dyn Pack>, wall: Wall) -> io::Result<Arc<Self>> {
        let register = Arc::new(SessionRegistry::default());
        let workers = Scheduler::start(config.workers, wall, when_over(&register))?;
        Ok(Arc::new(Self { config, pack, workers, register, board: Arc::default(), wall }))
    }

    /// Admits a session and starts its show; its output goes to `outlet`.
    ///
    /// # Errors
    /// If the studio is full or closing, or the avatar is unknown or broken.
    pub fn admit(&self, request: &SessionRequest, outlet: Box<dyn Outlet>) -> Result<SessionHandle, AdmitError> {
        let (ticket, show) = self.stage(request, outlet, self.wall.now())?;
        let terms = ticket.terms;
        ticket.meter.span().in_scope(|| {
            let (codec, resolution_px, audio) = (ticket.codec, terms.resolution_px, terms.audio);
            tracing::info!(avatar = %ticket.avatar, ?codec, resolution_px, audio, "session started");
        });
        self.workers.put(ticket.key, Box::new(show));
        Ok(ticket)
    }

    /// As [`Sessions::admit`], but the show, which begins at `now`, is the caller's to move on.
    ///
    /// # Errors
    /// As for [`Sessions::admit`].
    pub fn stage(
        &self,
        request: &SessionRequest,
        outlet: Box<dyn Outlet>,
        now: Instant,
    ) -> Result<(SessionHandle, Session), AdmitError> {
        self.pack.check_ready().map_err(|error| AdmitError::EngineLost { found: error.to_string() })?;
        let avatar = self.avatar_named(request.avatar.as_deref())?;
        let ticket = self.register.enter(&avatar, request, &self.config, now)?;
        match self.show_for(&ticket, outlet, now) {
            Ok(show) => Ok((ticket, show)),
            Err(refusal) => {
                self.register.leave(ticket.key);
                Err(refusal)
            }
        }
    }

    fn show_for(&self, ticket: &SessionHandle, outlet: Box<dyn Outlet>, now: Instant) -> Result<Session, AdmitError> {
        let broken = |found: String| AdmitError::BrokenAvatar { name: ticket.avatar.to_string(), found };
        let size = FrameSize::square(ticket.terms.resolution_px);
        let animator = self.animator(&ticket.avatar, ticket.terms)?;
        let bitrate_bps = ticket.terms.within(self.config.bitrate_bps);
        let encoder = ticket.codec.encoder(size, animator.cadence().frame_rate, bitrate_bps);
        let encoder = encoder.map_err(|error| broken(error.to_string()))?;
        let parts = SessionParts {
            key: ticket.key,
            inbox: ticket.inbox.clone(),
            outlet,
            animator,
            encoder,
            canvas: VideoFrame::black(size),
            meter: Arc::clone(&ticket.meter),
            events: ticket.events.clone(),
        };
        let mut show = Session::new(parts, bitrate_bps, now).map_err(|error| broken(error.to_string()))?;
        if !ticket.terms.audio {
            show.mute_audio();
        }
        Ok(show)
    }

    fn animator(&self, avatar: &str, terms: SessionLimits) -> Result<Box<dyn crate::model::Animator>, AdmitError> {
        self.pack.animator(avatar, terms.resolution_px).map_err(|error| match error {
            ModelError::UnknownAvatar { name, known } => AdmitError::UnknownAvatar { name, known },
            ModelError::NoSlot { slots, .. } => AdmitError::Full { limit: slots },
            ModelError::Lost { found, .. } => AdmitError::EngineLost { found },
            busy @ ModelError::Busy { .. } => AdmitError::EngineLost { found: busy.to_string() },
            other => AdmitError::BrokenAvatar { name: avatar.to_owned(), found: other.to_string() },
        })
    }

    fn avatar_named(&self, name: Option<&str>) -> Result<Arc<str>, AdmitError> {
        let cards = self.pack.avatars();
        let wanted = name.or_else(|| cards.first().map(|card| card.name.as_str())).unwrap_or_default();
        if cards.iter().any(|card| card.name == wanted) {
            return Ok(Arc::from(wanted));
        }
        let known = cards.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", ");
        Err(AdmitError::UnknownAvatar { name: wanted.to_owned(), known })
    }

    /// Gives a running session another face. Loading happens here, on the caller's thread.
    ///
    /// # Errors
    /// If there is no such session or avatar.
    pub fn swap_avatar(&self, id: &str, avatar: &str) -> Result<(), CommandError> {
        let ticket = self.find(id).ok_or_else(|| CommandError::NoSession { id: id.to_owned() })?;
        let avatar = self.avatar_named(Some(avatar))?;
        let animator = self.animator(&avatar, ticket.terms)?;
        ticket.inbox.order(SessionCommand::SwapAvatar(NewAnimator(animator)))?;
        self.register.rename(ticket.key, avatar);
        Ok(())
    }

    /// Ends a session; true if there was one. Its inbox says `has_ended` from now on, its worker drops it.
    pub fn end(&self, id: &str, reason: EndReason) -> bool {
        let found = self.find(id);
        found.is_some_and(|ticket| self.register.end(ticket.key, reason).is_some())
    }

    /// The handles of a session.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<SessionHandle> {
        self.register.tickets().into_iter().find(|ticket| &*ticket.id == id)
    }

    /// All sessions, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionSummary> {
        let now = self.wall.now();
        self.register.tickets().iter().map(|ticket| ticket.summary(now)).collect()
    }

    /// One session in full.
    #[must_use]
    pub fn stats(&self, id: &str) -> Option<SessionStats> {
        let ticket = self.find(id)?;
        Some(ticket.meter.stats(ticket.summary(self.wall.now())))
    }

    /// What is true of each session now.
    #[must_use]
    pub fn states(&self) -> Vec<SessionState> {
        self.register.tickets().iter().map(|ticket| ticket.meter.state()).collect()
    }

    /// Ended sessions by reason.
    #[must_use]
    pub fn ends(&self) -> &EndCounts {
        &self.register.ends
    }

    /// Everything measured since the process began, ended sessions included.
    #[must_use]
    pub fn totals(&self) -> MeterReport {
        let sum = Meter::default();
        self.register.totals.merge_into(&sum);
        self.register.tickets().iter().for_each(|ticket| ticket.meter.merge_into(&sum));
        sum.lose(&self.register.counters.snapshot());
        sum.report()
    }

    /// Losses that belong to no session; doors add theirs.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.register.counters)
    }

    /// Traces the sent frames of every session admitted from now on. Once: a second trace is not taken.
    pub fn trace(&self, trace: Trace) {
        let _ = self.register.trace.set(trace);
    }

    /// Reads the cards once a second from now on, on a thread of its own, and admits what they leave.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn watch(&self, source: GpuSource) -> io::Result<()> {
        self.board.start(source, self.watcher(self.wall.now()), self.wall)
    }

    /// As [`Sessions::watch`], but readings, from `now` on, are the caller's to bring.
    #[must_use]
    pub fn watcher(&self, now: Instant) -> GpuMonitor {
        GpuMonitor::new(self.pack.gpu(), self.config.max_sessions, (&self.register, &self.board), now)
    }

    /// What the cards said last; none where they are not watched.
    #[must_use]
    pub fn cards(&self) -> Option<GpuSnapshot> {
        self.board.now()
    }

    /// What was done on the card that faces are drawn on; none where none is.
    #[must_use]
    pub fn card_work(&self) -> Option<DeviceCounts> {
        self.pack.device_counts()
    }

    /// Why a session would not be admitted now, whatever it asks for; none if it would.
    #[must_use]
    pub fn refusal(&self) -> Option<AdmitError> {
        let lost = self.pack.check_ready().err();
        let lost = lost.map(|error| AdmitError::EngineLost { found: error.to_string() });
        lost.or_else(|| self.register.refusal(&self.config))
    }

    /// How large it is.
    #[must_use]
    pub fn config(&self) -> SessionsConfig {
        self.config
    }

    /// The avatars, the default first.
    #[must_use]
    pub fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.pack.avatars()
    }

    /// The avatar at rest, `side_px` square.
    ///
    /// # Errors
    /// If there is no such avatar, or it is broken.
    pub fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.pack.still(avatar, side_px)
    }

    /// Admits nobody from now on.
    pub fn begin_closing(&self) {
        self.register.begin_closing();
    }

    /// Ends every session and waits for the workers.
    pub fn close(&self) {
        self.begin_closing();
        self.board.end();
        for ticket in self.register.tickets() {
            self.end(&ticket.id, EndReason::Closing);
        }
        self.workers.close();
    }
}

/// What happens when a worker let go of a show.
fn when_over(register: &Arc<SessionRegistry>) -> OnEnd {
    let register = Arc::clone(register);
    Box::new(move |key, ending| {
        let is_broken = ending == Ending::Broken;
        // A session that was asked to end is out already, and counted.
        if let Some(ticket) = register.end(key, ending.reason()).filter(|_| is_broken) {
            tracing::error!(session = %ticket.id, "the show broke down: a bug in visage; the session was ended");
        }
    })
}
