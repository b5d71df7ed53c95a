//! The portrait pack: its avatars, loaded when first asked for and then shared by all sessions.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use visage_engines::{PackFiles, PackManifest, Precision};

use super::{FRAME_SAMPLES, MouthNet, PortraitAnimator};
use crate::backend::Backend;
use crate::face::drawn::{DrawnFace, Rig};
use crate::face::head::{HeadFace, HeadModel};
use crate::face::{Face, Pose, Surface};
use crate::gpu_load::{DeviceCounts, GpuRequirement};
use crate::media::FrameSize;
use crate::model::{Animator, AvatarInfo, ModelError, Pack, Still};

/// The portrait pack.
pub struct Portrait {
    files: PackFiles,
    manifest: PackManifest,
    cards: Vec<AvatarInfo>,
    net: Arc<MouthNet>,
    /// Loaded avatars by name and side; at most avatars times the few sides in use.
    loaded: Mutex<HashMap<(String, u32), Loaded>>,
    actors: AtomicU64,
    backend: &'static str,
    card: Option<GpuRequirement>,
}

/// What all sessions with one avatar share.
#[derive(Clone)]
enum Loaded {
    Drawn(Arc<Rig>),
    Head(Arc<HeadModel>),
}

impl Portrait {
    /// Opens the pack in `files` and loads its network; avatars are loaded when first asked for.
    ///
    /// # Errors
    /// If a manifest, the network or its description is damaged.
    pub fn open(files: PackFiles, backend: &dyn Backend) -> Result<Self, ModelError> {
        let manifest = files.manifest().map_err(|error| broken("pack.toml", &error))?;
        let cards = manifest.avatars.iter().map(|name| card(&files, name)).collect::<Result<_, _>>()?;
        let wanted = |path: &str| files.wanted(path).map_err(|error| broken(path, &error));
        let no_mouth = || broken("pack.toml", &"no graph called \"mouth\" with an fp32 file and a spec");
        let mouth = manifest.graph("mouth").ok_or_else(no_mouth)?;
        let onnx = wanted(mouth.onnx.get(&Precision::Fp32).ok_or_else(no_mouth)?)?;
        let spec = wanted(mouth.spec.as_ref().ok_or_else(no_mouth)?)?;
        let net = Arc::new(MouthNet::load(backend, onnx, spec, FRAME_SAMPLES)?);
        let (loaded, actors) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { manifest, cards, net, files, loaded, actors, backend: backend.name(), card: backend.gpu() })
    }

    /// The engine that runs its network.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    fn face(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Face>, ModelError> {
        Ok(match self.loaded(avatar, side_px)? {
            Loaded::Drawn(rig) => Box::new(DrawnFace::new(rig)),
            Loaded::Head(model) => Box::new(HeadFace::new(model)),
        })
    }

    fn loaded(&self, avatar: &str, side_px: u32) -> Result<Loaded, ModelError> {
        let Some(card) = self.cards.iter().find(|card| card.name == avatar) else {
            let known = self.cards.iter().map(|card| card.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(ModelError::UnknownAvatar { name: avatar.to_owned(), known });
        };
        // Held while loading, so that two sessions do not load the same avatar twice.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (avatar.to_owned(), side_px);
        if let Some(found) = loaded.get(&key) {
            return Ok(found.clone());
        }
        let fresh = self.load(card, side_px)?;
        loaded.insert(key, fresh.clone());
        Ok(fresh)
    }

    fn load(&self, card: &AvatarInfo, side_px: u32) -> Result<Loaded, ModelError> {
        let files = |path: &str| self.files.get(&format!("avatars/{}/{path}", card.name));
        let wrong = |found: String| ModelError::Broken { name: card.name.clone(), found };
        match card.kind.as_str() {
            "drawn" => {
                let background = colour(&card.background);
                Rig::load(&files, side_px, background)
                    .map(|rig| Loaded::Drawn(Arc::new(rig)))
                    .map_err(|e| wrong(e.to_string()))
            }
            "head" => HeadModel::load(&files, side_px)
                .map(|model| Loaded::Head(Arc::new(model)))
                .map_err(|e| wrong(e.to_string())),
            other => Err(wrong(format!("kind \"{other}\" in avatar.toml, instead of \"drawn\" or \"head\""))),
        }
    }
}

impl Pack for Portrait {
    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn avatars(&self) -> &[AvatarInfo] {
        &self.cards
    }

    fn takes_sessions(&self) -> Result<(), ModelError> {
        self.net.takes_sessions()
    }

    fn card(&self) -> Option<GpuRequirement> {
        self.card.clone()
    }

    fn work(&self) -> Option<DeviceCounts> {
        self.net.work()
    }

    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        let face = self.face(avatar, side_px)?;
        let mut seed = DefaultHasher::new();
        (avatar, self.actors.fetch_add(1, Ordering::Relaxed)).hash(&mut seed);
        Ok(Box::new(PortraitAnimator::new(&self.net, face, FrameSize::square(side_px), seed.finish())?))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        let mut pose = Pose::default();
        pose.set("mouthSmileLeft", 0.3);
        pose.set("mouthSmileRight", 0.3);
        let mut surface = Surface::new(FrameSize::square(side_px));
        self.face(avatar, side_px)?.draw(&pose, &mut surface);
        Ok(Still { side_px: surface.size().width() as u32, rgba: surface.pixels.into_flattened() })
    }
}

fn broken(name: &str, error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Broken { name: name.to_owned(), found: error.to_string() }
}

fn card(files: &PackFiles, name: &str) -> Result<AvatarInfo, ModelError> {
    let manifest = files.avatar(name).map_err(|error| broken(name, &error))?;
    Ok(AvatarInfo {
        name: name.to_owned(),
        title: manifest.title,
        kind: manifest.kind,
        background: manifest.background,
    })
}

/// A colour that the manifest has checked to be `#rrggbb`.
fn colour(text: &str) -> [u8; 3] {
    let value = u32::from_str_radix(text.trim_start_matches('#'), 16).unwrap_or(0);
    [(value >> 16) as u8, (value >> 8) as u8, value as u8]
}
