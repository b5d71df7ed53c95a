//! The portrait pack: its avatars, in a store that users can add to, and the network that all sessions share.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use visage_engines::{AvatarKind, AvatarManifest, PackFiles, PackManifest, Precision};

use super::folder::AvatarFolder;
use super::{FRAME_SAMPLES, MouthNet, PortraitAnimator};
use crate::backend::Backend;
use crate::face::drawn::{DrawnFace, Rig};
use crate::face::head::{HeadFace, HeadModel};
use crate::face::{Face, Pose, Surface};
use crate::gpu_load::{DeviceCounts, GpuRequirement};
use crate::media::FrameSize;
use crate::model::{
    Animator, AvatarInfo, AvatarModel, AvatarOwner, AvatarSource, AvatarStatus, AvatarStore, ModelError, NewAvatar,
    Pack, Still,
};

/// Memory for loaded avatars. A rendered head takes about 10 MB, a drawn avatar less.
const UNUSED_MODELS_BYTES: u64 = 256 * 1024 * 1024;

/// The portrait pack.
pub struct Portrait {
    manifest: PackManifest,
    avatars: AvatarStore<PortraitModel>,
    net: Arc<MouthNet>,
    /// Number of animators created; seeds the idle motion of each.
    animators: AtomicU64,
    backend: &'static str,
    gpu: Option<GpuRequirement>,
}

/// The shared model of an avatar.
#[derive(Debug)]
pub(super) enum PortraitModel {
    Drawn(Arc<Rig>),
    Head(Arc<HeadModel>),
}

impl PortraitModel {
    /// Loads an avatar for frames of `side_px` from its files.
    fn load<'a>(
        name: &str,
        manifest: &AvatarManifest,
        files: &dyn Fn(&str) -> Option<&'a [u8]>,
        side_px: u32,
    ) -> Result<Self, ModelError> {
        let model = match manifest.kind {
            AvatarKind::Drawn => Rig::load(files, side_px, colour(&manifest.background))
                .map(|rig| Self::Drawn(Arc::new(rig)))
                .map_err(|error| error.to_string()),
            AvatarKind::Head => HeadModel::load(files, side_px)
                .map(|head| Self::Head(Arc::new(head)))
                .map_err(|error| error.to_string()),
        };
        model.map_err(|found| ModelError::Broken { name: name.to_owned(), found })
    }

    pub(super) fn face(&self) -> Box<dyn Face> {
        match self {
            Self::Drawn(rig) => Box::new(DrawnFace::new(Arc::clone(rig))),
            Self::Head(head) => Box::new(HeadFace::new(Arc::clone(head))),
        }
    }
}

impl AvatarModel for PortraitModel {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Drawn(rig) => rig.size_bytes(),
            Self::Head(head) => head.size_bytes(),
        }
    }
}

impl Portrait {
    /// Opens the pack in `files` and loads its network. Avatars load when they are first used.
    ///
    /// # Errors
    /// If a manifest, the network or its description is damaged.
    pub fn open(files: PackFiles, backend: &dyn Backend) -> Result<Self, ModelError> {
        let manifest = files.manifest().map_err(|error| broken("pack.toml", &error))?;
        let net = Arc::new(load_net(&files, &manifest, backend)?);
        let (avatars, files) = (AvatarStore::new(UNUSED_MODELS_BYTES), Arc::new(files));
        for name in &manifest.avatars {
            avatars.add(pack_avatar(&files, name)?)?;
        }
        let animators = AtomicU64::new(0);
        Ok(Self { manifest, avatars, net, animators, backend: backend.name(), gpu: backend.gpu() })
    }

    /// The backend that runs its network.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// Adds the avatar in a folder, which contains an `avatar.toml` and the files of its kind. The folder's name is the avatar's.
    /// Its files are read when it is first used, and again after it was evicted.
    ///
    /// # Errors
    /// If the folder cannot be read, is larger than an avatar may be, its manifest is damaged, or the name is taken.
    pub fn add_folder(&self, folder: &Path, owner: AvatarOwner) -> Result<AvatarInfo, ModelError> {
        let folder = AvatarFolder::open(folder)?;
        let info = info_of(folder.name(), folder.manifest());
        let source = AvatarSource::Folder(folder.path().to_owned());
        let load = move |side_px| {
            let files = folder.read()?;
            let file = |path: &str| files.get(path).map(Vec::as_slice);
            PortraitModel::load(folder.name(), folder.manifest(), &file, side_px)
        };
        self.avatars.add(NewAvatar { info: info.clone(), owner, source, load: Box::new(load) })?;
        Ok(info)
    }

    /// Removes an avatar that belongs to `owner`. Sessions that use it continue.
    ///
    /// # Errors
    /// If `owner` has no avatar of that name.
    pub fn remove_avatar(&self, name: &str, owner: &AvatarOwner) -> Result<(), ModelError> {
        self.avatars.remove(name, owner)
    }

    /// The avatars with owner, source and the memory that they take.
    #[must_use]
    pub fn avatar_status(&self) -> Vec<AvatarStatus> {
        self.avatars.status()
    }
}

impl Pack for Portrait {
    fn name(&self) -> &str {
        &self.manifest.name
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.avatars.avatars()
    }

    fn check_ready(&self) -> Result<(), ModelError> {
        self.net.check_ready()
    }

    fn gpu(&self) -> Option<GpuRequirement> {
        self.gpu.clone()
    }

    fn device_counts(&self) -> Option<DeviceCounts> {
        self.net.device_counts()
    }

    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        let model = self.avatars.get(avatar, side_px)?;
        let mut seed = DefaultHasher::new();
        (avatar, self.animators.fetch_add(1, Ordering::Relaxed)).hash(&mut seed);
        Ok(Box::new(PortraitAnimator::new(&self.net, model, FrameSize::square(side_px), seed.finish())?))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        let mut pose = Pose::default();
        pose.set("mouthSmileLeft", 0.3);
        pose.set("mouthSmileRight", 0.3);
        let mut surface = Surface::new(FrameSize::square(side_px));
        let model = self.avatars.get(avatar, side_px)?;
        self.avatars.in_turn(avatar, || model.face().draw(&pose, &mut surface))?;
        Ok(Still { side_px: surface.size().width() as u32, rgba: surface.pixels.into_flattened() })
    }
}

fn load_net(files: &PackFiles, manifest: &PackManifest, backend: &dyn Backend) -> Result<MouthNet, ModelError> {
    let wanted = |path: &str| files.wanted(path).map_err(|error| broken(path, &error));
    let no_mouth = || broken("pack.toml", &"no graph called \"mouth\" with an fp32 file and a spec");
    let mouth = manifest.graph("mouth").ok_or_else(no_mouth)?;
    let onnx = wanted(mouth.onnx.get(&Precision::Fp32).ok_or_else(no_mouth)?)?;
    let spec = wanted(mouth.spec.as_ref().ok_or_else(no_mouth)?)?;
    MouthNet::load(backend, onnx, spec, FRAME_SAMPLES)
}

/// An avatar of the pack itself.
fn pack_avatar(files: &Arc<PackFiles>, name: &str) -> Result<NewAvatar<PortraitModel>, ModelError> {
    let manifest = files.avatar(name).map_err(|error| broken(name, &error))?;
    let (info, files) = (info_of(name, &manifest), Arc::clone(files));
    let name = name.to_owned();
    let load = move |side_px| {
        let file = |path: &str| files.get(&format!("avatars/{name}/{path}"));
        PortraitModel::load(&name, &manifest, &file, side_px)
    };
    Ok(NewAvatar { info, owner: AvatarOwner::Server, source: AvatarSource::Pack, load: Box::new(load) })
}

fn info_of(name: &str, manifest: &AvatarManifest) -> AvatarInfo {
    AvatarInfo {
        name: name.to_owned(),
        title: manifest.title.clone(),
        kind: manifest.kind,
        background: manifest.background.clone(),
    }
}

fn broken(name: &str, error: &dyn std::fmt::Display) -> ModelError {
    ModelError::Broken { name: name.to_owned(), found: error.to_string() }
}

/// A colour that the manifest has checked to be `#rrggbb`.
fn colour(text: &str) -> [u8; 3] {
    let value = u32::from_str_radix(text.trim_start_matches('#'), 16).unwrap_or(0);
    [(value >> 16) as u8, (value >> 8) as u8, value as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::CpuBackend;

    fn pack() -> Portrait {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
        Portrait::open(PackFiles::read(&folder).expect("a whole pack"), &CpuBackend::new()).expect("a pack that opens")
    }

    #[test]
    fn an_avatar_in_a_users_folder_is_rendered_like_the_same_avatar_in_the_pack() {
        let pack = pack();
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait/avatars");
        let owner = AvatarOwner::User(Arc::from("ada"));
        for (name, copy) in [("anton", "her-anton"), ("nora", "her-nora")] {
            let folder = std::env::temp_dir().join(format!("visage-{}-{copy}", std::process::id())).join(copy);
            copy_folder(&built_in.join(name), &folder);
            let info = pack.add_folder(&folder, owner.clone()).expect("an avatar");
            assert_eq!((info.name.as_str(), pack.avatars().last().map(|last| last.kind)), (copy, Some(info.kind)));
            assert_eq!(pack.still(copy, 64).expect("a still"), pack.still(name, 64).expect("a still"), "{name}");
            pack.remove_avatar(copy, &owner).expect("it is hers");
            assert!(pack.still(copy, 64).is_err());
            std::fs::remove_dir_all(folder.parent().expect("a folder above")).expect("removed");
        }
    }

    #[test]
    fn the_memory_of_loaded_avatars_is_counted() {
        let pack = pack();
        ["mira", "jun"].iter().for_each(|name| drop(pack.still(name, 256).expect("a still")));
        let loaded = pack.avatar_status().into_iter().filter(|avatar| avatar.loaded_bytes > 0);
        let loaded: Vec<_> = loaded.map(|avatar| (avatar.info.name, avatar.loaded_bytes)).collect();
        assert_eq!(loaded.len(), 2, "{loaded:?}");
        assert!(loaded.iter().all(|(_, bytes)| (100_000..60_000_000).contains(bytes)), "{loaded:?}");
    }

    fn copy_folder(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_folder(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).expect("a copy");
            }
        }
    }
}
