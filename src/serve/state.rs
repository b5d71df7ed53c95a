//! What every route works with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::watch;

use crate::pipeline::Studio;
use crate::rtc::Net;
use crate::time::Wall;

/// A file of the page.
pub type Asset = (&'static str, &'static [u8]);

/// What `GET /v1/server` tells and does not change.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Version of the program.
    pub version: &'static str,
    /// The pack.
    pub pack: String,
    /// What runs its graphs.
    pub backend: String,
    /// The codec of pictures.
    pub codec: &'static str,
    /// The graphics card, if one was found.
    pub gpu: Option<String>,
}

/// PNG files by avatar and side.
pub type Stills = HashMap<(String, u32), Arc<[u8]>>;

/// Shared by all routes.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What [`AppState`] holds.
pub struct Shared {
    /// Sessions.
    pub studio: Arc<Studio>,
    /// The WebRTC door.
    pub net: Arc<Net>,
    /// What runs.
    pub facts: Facts,
    /// The secret, if requests must carry one.
    pub token: Option<String>,
    /// Files of the page.
    pub assets: &'static [Asset],
    /// True once the server is going down.
    pub closing: watch::Receiver<bool>,
    /// Stills by avatar and side.
    pub stills: Mutex<Stills>,
    /// For ages and start time.
    pub wall: Wall,
}

impl AppState {
    /// Shares it.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for AppState {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}
