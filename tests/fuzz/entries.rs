//! What strangers' bytes go through, one function for each kind: called by the fuzz targets and by `tests/untrusted.rs`.
//!
//! Decides what must hold whatever the bytes are. Does not make them. A leading byte chooses where there is a choice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use visage::codec::sound::decode_sound;
use visage::picture::head::HeadModel;
use visage::rtc::{JoinError, LONGEST_OFFER, Machines};
use visage::serve::{avatar_in, offer_in};
use visage::time::Wall;
use visage_engines::{AvatarManifest, DigestList, PackManifest};

/// More sound than this is refused by the entry under test.
const MOST: Duration = Duration::from_secs(10);
const SIDE_PX: u32 = 64;

static MACHINES: LazyLock<Machines> = LazyLock::new(|| Machines::new(&["127.0.0.1:9".parse().expect("an address")]));

/// A body of `POST /v1/sessions`, through the SDP reader to the answer; `{` begins JSON, all else is a bare offer.
pub fn offer(body: &[u8]) {
    let kind = if body.starts_with(b"{") { "application/json" } else { "application/sdp" };
    let offer = match offer_in(kind, body) {
        Ok(offer) => offer,
        Err(status) => return assert!(status.is_client_error(), "{status}"),
    };
    match MACHINES.answer(&offer, Wall.now()) {
        Ok((_, _, answer)) => assert!(offer.len() <= LONGEST_OFFER && answer.contains("m=video")),
        Err(error) => {
            let is_their_fault = !matches!(error, JoinError::Admit(_) | JoinError::Closing);
            assert!(is_their_fault, "{error}");
        }
    }
}

/// Bodies of JSON: of a session that is wanted, of a change.
pub fn json(body: &[u8]) {
    let refused = [offer_in("application/json", body).err(), avatar_in(body).err()];
    for status in refused.into_iter().flatten() {
        assert!(status.is_client_error(), "{status}");
    }
}

/// A sound file.
pub fn sound(file: &[u8]) {
    if let Ok(sound) = decode_sound(file, MOST) {
        assert!(!sound.voice().is_empty() && sound.duration() <= MOST);
        assert!(sound.voice().iter().all(|sample| sample.abs() <= 1.0));
    }
}

/// A file of a pack, after a byte that says which.
pub fn pack(bytes: &[u8]) {
    let Some((which, file)) = bytes.split_first() else { return };
    match which {
        b'p' => drop(PackManifest::parse(&String::from_utf8_lossy(file))),
        b'a' => drop(AvatarManifest::parse("nora", &String::from_utf8_lossy(file))),
        b's' => drop(DigestList::parse(&String::from_utf8_lossy(file))),
        b'r' => head("rig.json", file),
        b'm' => head("mesh.bin", file),
        _ => (),
    }
}

/// A built-in head, one file of it replaced.
fn head(replaced: &str, bytes: &[u8]) {
    let files = |name: &str| if name == replaced { Some(bytes) } else { NORA.get(name).map(Vec::as_slice) };
    if let Ok(model) = HeadModel::load(&files, SIDE_PX) {
        drop(Arc::new(model));
    }
}

static NORA: LazyLock<std::collections::HashMap<String, Vec<u8>>> = LazyLock::new(|| {
    let folder = built_in().join("avatars/nora");
    let files = std::fs::read_dir(folder).expect("an avatar").map(|entry| entry.expect("a file"));
    files.map(|file| (file.file_name().to_string_lossy().into(), std::fs::read(file.path()).expect("bytes"))).collect()
});

/// The built-in pack, seen from the root package and from the fuzz targets.
fn built_in() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = package.ancestors().map(|folder| folder.join("engines/packs/portrait")).find(|folder| folder.exists());
    found.expect("the built-in pack")
}
