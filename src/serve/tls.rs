//! Certificates: the user's, or one made here and kept, because phones give their microphone only to https.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use axum_server::tls_rustls::RustlsConfig;
use thiserror::Error;

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Why there is no https.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The files cannot be used.
    #[error("wanted a certificate and its key in PEM, found {source}: {cert} and {key}", cert = files.cert.display(), key = files.key.display())]
    Files {
        /// Which.
        files: TlsFiles,
        /// What was wrong.
        source: io::Error,
    },
    /// A certificate could not be kept.
    #[error("wanted to keep a certificate, found {source}: {path}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("wanted to make a certificate, found: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate of `folder`, made for this machine's addresses if there is none yet.
///
/// # Errors
/// If it cannot be made or kept.
pub fn self_signed(folder: &Path) -> Result<TlsFiles, TlsError> {
    let files = TlsFiles { cert: folder.join("tls-cert.pem"), key: folder.join("tls-key.pem") };
    if files.cert.exists() && files.key.exists() {
        return Ok(files);
    }
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = addresses.iter().map(if_addrs::Interface::ip).map(|ip: IpAddr| ip.to_string());
    let mut names: Vec<String> =
        ["localhost".to_owned(), "127.0.0.1".to_owned()].into_iter().chain(addresses).collect();
    names.sort();
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names)?;
    let keep = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|source| TlsError::Keep { path: path.to_owned(), source })
    };
    fs::create_dir_all(folder).map_err(|source| TlsError::Keep { path: folder.to_owned(), source })?;
    keep(&files.key, &made.signing_key.serialize_pem())?;
    keep(&files.cert, &made.cert.pem())?;
    Ok(files)
}

/// What the listener needs of the files.
pub(super) async fn config(files: &TlsFiles) -> Result<RustlsConfig, TlsError> {
    // Another part of the process may have installed the same provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = RustlsConfig::from_pem_file(&files.cert, &files.key).await;
    config.map_err(|source| TlsError::Files { files: files.clone(), source })
}
