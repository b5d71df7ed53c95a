//! The session service: creates and ends sessions, and admits viewers.
//!
//! Decides how a request for a session is fulfilled, and what the end of a viewer means for its session. The registry decides
//! which sessions exist, the scheduler when they run, the monitor what the GPU allows.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;

use super::admission::AdmitError;
use super::avatars::Avatars;
use super::end_reason::EndReason;
use super::gpu_monitor::GpuMonitoring;
use super::handle::SessionHandle;
use super::inbox::{NewAnimator, SessionCommand};
use super::limits::{SessionLifetime, SessionRequest, SessionsConfig};
use super::outlet::Outlet;
use super::registry::SessionRegistry;
use super::scheduler::{OnStop, Scheduler, StopCause};
use super::session::{Session, SessionParts};
use super::viewers::{ViewerError, ViewerHandle, ViewerRole, Viewers};
use crate::media::{FrameSize, VideoFrame};
use crate::model::{AvatarInfo, ModelError, Pack, Still};
use crate::time::Wall;

/// Why a running session refused a command.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such session.
    #[error("there is no session \"{id}\"")]
    NoSession {
        /// The requested id.
        id: String,
    },
    /// Its command queue is full.
    #[error(transparent)]
    Busy(#[from] super::inbox::CommandQueueFull),
    /// The avatar cannot be used.
    #[error(transparent)]
    Avatar(#[from] AdmitError),
}

/// The session service.
pub struct Sessions {
    config: SessionsConfig,
    avatars: Avatars,
    registry: Arc<SessionRegistry>,
    gpu: GpuMonitoring,
    scheduler: Scheduler,
    wall: Wall,
}

impl Sessions {
    /// A service without sessions, with the avatars of `pack`.
    ///
    /// # Errors
    /// If a worker thread cannot be started.
    pub fn open(config: SessionsConfig, pack: Arc<dyn Pack>, wall: Wall) -> io::Result<Arc<Self>> {
        let registry = Arc::<SessionRegistry>::default();
        let scheduler = Scheduler::start(config.workers, wall, on_stop(&registry))?;
        let gpu = GpuMonitoring::new(Arc::clone(&pack), config.max_sessions, Arc::clone(&registry), wall);
        Ok(Arc::new(Self { config, avatars: Avatars::new(pack), registry, gpu, scheduler, wall }))
    }

    /// Creates a session and runs it; its output goes to `outlet`. It has no viewer yet.
    ///
    /// # Errors
    /// If the session is not admitted, or the avatar is unknown or broken.
    pub fn start(&self, request: &SessionRequest, outlet: Box<dyn Outlet>) -> Result<Arc<SessionHandle>, AdmitError> {
        let (handle, session) = self.create(request, outlet, self.wall.now())?;
        handle.meter.span().in_scope(|| {
            let (codec, limits) = (handle.codec, handle.limits);
            let (resolution_px, audio) = (limits.resolution_px, limits.audio);
            tracing::info!(avatar = %handle.avatar(), ?codec, resolution_px, audio, "session started");
        });
        self.scheduler.add(handle.key, Box::new(session));
        Ok(handle)
    }

    /// As [`Sessions::start`], but the caller ticks the session, which begins at `now`.
    ///
    /// # Errors
    /// As for [`Sessions::start`].
    pub fn create(
        &self,
        request: &SessionRequest,
        outlet: Box<dyn Outlet>,
        now: Instant,
    ) -> Result<(Arc<SessionHandle>, Session), AdmitError> {
        self.avatars.refusal().map_or(Ok(()), Err)?;
        let avatar = self.avatars.resolve(request.avatar.as_deref())?;
        let handle = self.registry.admit(avatar, request, &self.config, now)?;
        match self.build(&handle, outlet, now) {
            Ok(session) => Ok((handle, session)),
            Err(refusal) => {
                self.registry.remove(handle.key);
                Err(refusal)
            }
        }
    }

    fn build(&self, handle: &SessionHandle, outlet: Box<dyn Outlet>, now: Instant) -> Result<Session, AdmitError> {
        let avatar = handle.avatar();
        let broken = |found: String| AdmitError::BrokenAvatar { name: avatar.to_string(), found };
        let limits = handle.limits;
        let size = FrameSize::square(limits.resolution_px);
        let animator = self.avatars.animator(&avatar, limits.resolution_px)?;
        let bitrate_bps = limits.within(self.config.bitrate_bps);
        let encoder = handle.codec.encoder(size, animator.cadence().frame_rate, bitrate_bps);
        let encoder = encoder.map_err(|error| broken(error.to_string()))?;
        let parts = SessionParts {
            key: handle.key,
            inbox: handle.inbox.clone(),
            outlet,
            animator,
            encoder,
            canvas: VideoFrame::black(size),
            meter: Arc::clone(&handle.meter),
            events: handle.events.clone(),
        };
        let mut session = Session::new(parts, bitrate_bps, now).map_err(|error| broken(error.to_string()))?;
        if !limits.audio {
            session.mute_audio();
        }
        Ok(session)
    }

    /// Adds a viewer to a running session.
    ///
    /// # Errors
    /// If the session does not exist, its viewer slots are in use, or the requested microphone is taken.
    pub fn join(&self, id: &str, role: ViewerRole, now: Instant) -> Result<ViewerHandle, ViewerError> {
        let session = self.find(id).ok_or(ViewerError::NoSession)?;
        let joined = Viewers::join(&session, role, now);
        self.registry.viewer_counts().count_join(joined.as_ref().err());
        joined
    }

    /// Removes a viewer whose connection ended for `reason`, and ends its session if the lifetime says so. Does nothing for a
    /// viewer that was removed before.
    pub fn leave(&self, viewer: &ViewerHandle, reason: EndReason) {
        let session = &viewer.session;
        let Some(left) = session.viewers.leave(viewer.key()) else { return };
        self.registry.viewer_counts().count_leave(reason);
        let ends = match session.lifetime {
            SessionLifetime::Creator => viewer.role() == ViewerRole::Creator,
            SessionLifetime::Viewers => left == 0,
            SessionLifetime::UntilDeleted => false,
        };
        if ends {
            self.registry.end(session.key, reason);
        }
    }

    /// Swaps the avatar of a running session. Loads files on the caller's thread.
    ///
    /// # Errors
    /// If the session or the avatar does not exist.
    pub fn swap_avatar(&self, id: &str, avatar: &str) -> Result<(), CommandError> {
        let session = self.find(id).ok_or_else(|| CommandError::NoSession { id: id.to_owned() })?;
        let avatar = self.avatars.resolve(Some(avatar))?;
        let animator = self.avatars.animator(&avatar, session.limits.resolution_px)?;
        session.inbox.push_command(SessionCommand::SwapAvatar(NewAnimator(animator)))?;
        session.set_avatar(avatar);
        Ok(())
    }

    /// Ends a session; true if it existed. Its inbox `has_ended` from now on, and its worker drops it.
    pub fn end(&self, id: &str, reason: EndReason) -> bool {
        self.find(id).is_some_and(|session| self.registry.end(session.key, reason).is_some())
    }

    /// The session with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<SessionHandle>> {
        self.registry.find(id)
    }

    /// The running sessions and their figures.
    #[must_use]
    pub fn registry(&self) -> &SessionRegistry {
        &self.registry
    }

    /// The GPU behind the avatars, and its readings.
    #[must_use]
    pub fn gpu(&self) -> &GpuMonitoring {
        &self.gpu
    }

    /// Why any session would be refused now; `None` if one would be admitted.
    #[must_use]
    pub fn refusal(&self) -> Option<AdmitError> {
        self.avatars.refusal().or_else(|| self.registry.refusal(&self.config))
    }

    /// The server's capacity.
    #[must_use]
    pub fn config(&self) -> SessionsConfig {
        self.config
    }

    /// The avatars, the default first.
    #[must_use]
    pub fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.avatars.pack().avatars()
    }

    /// The still image of an avatar, `side_px` square.
    ///
    /// # Errors
    /// If the avatar does not exist or is broken.
    pub fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.avatars.pack().still(avatar, side_px)
    }

    /// Admits no further session.
    pub fn begin_closing(&self) {
        self.registry.begin_closing();
    }

    /// Ends every session and waits for the workers.
    pub fn close(&self) {
        self.begin_closing();
        self.gpu.stop();
        for session in self.registry.handles() {
            self.registry.end(session.key, EndReason::Closing);
        }
        self.scheduler.close();
    }
}

/// Called when a worker dropped a session.
fn on_stop(registry: &Arc<SessionRegistry>) -> OnStop {
    let registry = Arc::clone(registry);
    Box::new(move |key, cause| {
        let is_broken = cause == StopCause::Panicked;
        // A session that was requested to end is removed and counted already.
        if let Some(session) = registry.end(key, cause.reason()).filter(|_| is_broken) {
            tracing::error!(session = %session.id, "a session panicked (a bug in visage) and was ended");
        }
    })
}
