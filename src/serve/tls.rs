//! Certificates: the user's, or a self-signed one that is stored, because browsers grant the microphone only to https.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use visage_engines::output_file::OutputFile;

use crate::time::Wall;

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The files as a TLS configuration: read, and checked to belong together.
#[derive(Clone, Debug)]
pub struct Secured(pub(super) RustlsConfig);

/// Why https is not available.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The files cannot be used.
    #[error("wanted a certificate and its key in PEM, found: {found}: {cert} and {key}", cert = files.cert.display(), key = files.key.display())]
    Files {
        /// The files.
        files: TlsFiles,
        /// The error.
        found: String,
    },
    /// A certificate cannot be stored.
    #[error("cannot store a certificate in {path}: {source}")]
    Keep {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A certificate cannot be created.
    #[error("cannot create a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Apple's systems accept server certificates for at most 825 days.
const VALID: Duration = Duration::from_hours(24 * 800);
/// A certificate is renewed when it has less than this left.
const RENEWED_BEFORE: Duration = Duration::from_hours(24 * 30);
/// Clocks of clients may be slow.
const CLOCK_SLACK: Duration = Duration::from_hours(24);

/// Properties of a self-signed certificate.
#[derive(Deserialize, PartialEq, Serialize)]
struct Made {
    names: Vec<String>,
    at_s: u64,
}

/// The certificate of `folder`. It is created if it does not exist, expires soon, or lacks a current address of this machine.
///
/// # Errors
/// If it cannot be created or stored.
pub fn self_signed(folder: &Path) -> Result<TlsFiles, TlsError> {
    let files = TlsFiles { cert: folder.join("tls-cert.pem"), key: folder.join("tls-key.pem") };
    let about = folder.join("tls-made.json");
    let names = local_names();
    let now = Wall.since_epoch();
    if is_still_good(&files, &about, &names, now) {
        return Ok(files);
    }
    make(folder, &files, names.clone(), now)?;
    let made = serde_json::to_string(&Made { names, at_s: now.as_secs() }).expect("names and a number are JSON");
    // Written last: a certificate is used only if all files exist.
    write(&about, &made, OutputFile::create)?;
    Ok(files)
}

fn is_still_good(files: &TlsFiles, about: &Path, names: &[String], now: Duration) -> bool {
    let made = fs::read_to_string(about).ok().and_then(|text| serde_json::from_str::<Made>(&text).ok());
    made.is_some_and(|made| {
        let ends = Duration::from_secs(made.at_s) + VALID;
        let names_all = names.iter().all(|name| made.names.contains(name));
        names_all && now + RENEWED_BEFORE < ends && server_config(files).is_ok()
    })
}

/// Names and addresses of this machine.
fn local_names() -> Vec<String> {
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = addresses.iter().map(|found| found.ip().to_string());
    let mut names: Vec<String> =
        ["localhost", "127.0.0.1", "::1"].into_iter().map(str::to_owned).chain(addresses).collect();
    names.sort();
    names.dedup();
    names
}

fn make(folder: &Path, files: &TlsFiles, names: Vec<String>, now: Duration) -> Result<(), TlsError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut wanted = CertificateParams::new(names)?;
    wanted.not_before = epoch + now.saturating_sub(CLOCK_SLACK);
    wanted.not_after = epoch + (now + VALID);
    wanted.distinguished_name.push(DnType::CommonName, "visage on this machine");
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let cert = wanted.self_signed(&key)?;
    fs::create_dir_all(folder).map_err(|source| TlsError::Keep { path: folder.to_owned(), source })?;
    write(&files.key, &key.serialize_pem(), OutputFile::create_private)?;
    write(&files.cert, &cert.pem(), OutputFile::create)
}

fn write(path: &Path, text: &str, create: fn(&Path) -> io::Result<OutputFile>) -> Result<(), TlsError> {
    let output = create(path).and_then(|output| {
        output.handle()?.write_all(text.as_bytes())?;
        Ok(output)
    });
    output.and_then(OutputFile::commit).map_err(|source| TlsError::Keep { path: path.to_owned(), source })
}

impl TlsFiles {
    /// SHA-256 of the first certificate, as browsers show it: pairs of digits with colons.
    ///
    /// # Errors
    /// If the file contains no certificate.
    pub fn fingerprint(&self) -> Result<String, TlsError> {
        let cert = CertificateDer::from_pem_file(&self.cert).map_err(|error| self.unusable(&error))?;
        Ok(Sha256::digest(&cert).iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
    }

    /// Reads them.
    ///
    /// # Errors
    /// If they are missing, damaged, or do not match.
    pub fn secured(&self) -> Result<Secured, TlsError> {
        Ok(Secured(RustlsConfig::from_config(Arc::new(server_config(self)?))))
    }

    fn unusable(&self, error: &impl ToString) -> TlsError {
        TlsError::Files { files: self.clone(), found: error.to_string() }
    }
}

fn server_config(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let chain = CertificateDer::pem_file_iter(&files.cert).map_err(|error| files.unusable(&error))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|error| files.unusable(&error))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| files.unusable(&error))?;
    // Named explicitly, because other crates of the process install other providers.
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| files.unusable(&error))?;
    let mut config =
        config.with_no_client_auth().with_single_cert(chain, key).map_err(|error| files.unusable(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
