//! Entry points for untrusted input, one function per kind: called by the fuzz targets and by `tests/untrusted_input.rs`.
//!
//! Decides the properties that must hold for any input. Does not generate input. Where there is a choice, the first byte makes it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use visage::codec::audio_file::decode_clip;
use visage::face::drawn::{DrawnFace, Rig};
use visage::face::head::{HeadFace, HeadModel};
use visage::face::{ARKIT_NAMES, Face, Pose, Surface};
use visage::media::FrameSize;
use visage::rtc::{JoinError, LONGEST_OFFER, RtcFactory};
use visage::serve::{avatar_in, offer_in};
use visage::time::Wall;
use visage_engines::{AvatarManifest, DigestList, PackManifest};

/// Longest audio that the entry point under test accepts.
const DURATION_MAX: Duration = Duration::from_secs(10);
const SIDE_PX: u32 = 64;

static FACTORY: LazyLock<RtcFactory> = LazyLock::new(|| RtcFactory::new(&["127.0.0.1:9".parse().expect("an address")]));

/// A body of `POST /v1/sessions`, from the parser to the SDP answer. A body that starts with `{` is JSON, any other an SDP offer.
pub fn offer(body: &[u8]) {
    let kind = if body.starts_with(b"{") { "application/json" } else { "application/sdp" };
    let offer = match offer_in(kind, body) {
        Ok(offer) => offer,
        Err(status) => return assert!(status.is_client_error(), "{status}"),
    };
    match FACTORY.answer(&offer, Wall.now()) {
        Ok((_, _, answer)) => assert!(offer.len() <= LONGEST_OFFER && answer.contains("m=video")),
        Err(error) => {
            let is_client_error = !matches!(error, JoinError::Admit(_) | JoinError::Closing);
            assert!(is_client_error, "{error}");
        }
    }
}

/// JSON bodies: of a new session, and of a change.
pub fn json(body: &[u8]) {
    let refused = [offer_in("application/json", body).err(), avatar_in(body).err()];
    for status in refused.into_iter().flatten() {
        assert!(status.is_client_error(), "{status}");
    }
}

/// An audio file.
pub fn sound(file: &[u8]) {
    if let Ok(sound) = decode_clip(file, DURATION_MAX) {
        assert!(!sound.samples().is_empty() && sound.duration() <= DURATION_MAX);
        assert!(sound.samples().iter().all(|sample| sample.abs() <= 1.0));
    }
}

/// A file of a pack, after a byte that selects which. Returns whether it was accepted. An accepted face is drawn.
pub fn pack(bytes: &[u8]) -> bool {
    let Some((which, file)) = bytes.split_first() else { return false };
    let text = || String::from_utf8_lossy(file);
    match which {
        b'p' => PackManifest::parse(&text()).is_ok(),
        b'a' => AvatarManifest::parse("nora", &text()).is_ok(),
        b's' => DigestList::parse(&text()).is_ok(),
        b'r' => head("rig.json", file),
        b'm' => head("mesh.bin", file),
        b'M' => head("mesh.bin", &patched(&NORA["mesh.bin"], file)),
        b'd' => drawn(file),
        _ => false,
    }
}

/// `whole`, overwritten with `patch` from its fourth byte at the offset in its first three bytes.
fn patched(whole: &[u8], patch: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if let Some(([high, middle, low], patch)) = patch.split_first_chunk() {
        let at = u32::from_be_bytes([0, *high, *middle, *low]) as usize % whole.len();
        let place = &mut bytes[at..(at + patch.len()).min(whole.len())];
        place.copy_from_slice(&patch[..place.len()]);
    }
    bytes
}

/// A built-in head with one file replaced.
fn head(replaced: &str, bytes: &[u8]) -> bool {
    let files = |name: &str| if name == replaced { Some(bytes) } else { NORA.get(name).map(Vec::as_slice) };
    let model = HeadModel::load(&files, SIDE_PX);
    model.map(|model| draw(HeadFace::new(Arc::new(model)))).is_ok()
}

/// A built-in drawn avatar with another rig.
fn drawn(rig: &[u8]) -> bool {
    let files = |name: &str| if name == "rig.json" { Some(rig) } else { MIRA.get(name).map(Vec::as_slice) };
    let rig = Rig::load(&files, SIDE_PX, [0; 3]);
    rig.map(|rig| draw(DrawnFace::new(Arc::new(rig)))).is_ok()
}

fn draw(mut face: impl Face) {
    let mut surface = Surface::new(FrameSize::square(SIDE_PX));
    for (yaw_degrees, weight) in [(0.0, 0.0), (9.0, 1.0), (-9.0, 0.5)] {
        let weights = [weight; ARKIT_NAMES.len()];
        face.draw(&Pose { weights, yaw_degrees, lag: weight, seconds: weight, ..Pose::default() }, &mut surface);
    }
}

type Files = HashMap<String, Vec<u8>>;
static NORA: LazyLock<Files> = LazyLock::new(|| files_of("nora", ""));
static MIRA: LazyLock<Files> = LazyLock::new(|| files_of("mira", "layers/"));

fn files_of(avatar: &str, below: &str) -> Files {
    let folder = built_in().join("avatars").join(avatar).join(below);
    let files = std::fs::read_dir(folder).expect("an avatar").map(|entry| entry.expect("a file"));
    let files = files.filter(|file| file.path().is_file());
    files
        .map(|file| {
            (below.to_owned() + &file.file_name().to_string_lossy(), std::fs::read(file.path()).expect("bytes"))
        })
        .collect()
}

/// Folder of the built-in pack, from the root package and from the fuzz package.
fn built_in() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = package.ancestors().map(|folder| folder.join("engines/packs/portrait")).find(|folder| folder.exists());
    found.expect("the built-in pack")
}
