//! `visage serve`: puts the rooms together, says where it listens, and takes them apart again when asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use visage_engines::cache::Engine;
use visage_kernels::gpu_watch::GpuWatch;

use super::embedded;
use super::error::CliError;
use super::flags::{Flags, ServeFlags};
use super::packs::{data_dir, open_pack};
use super::preflight::before_serving;
use super::prepare::{self, IsClosing};
use super::startup_guard::StartupGuard;
use crate::codec::VIDEO_CODECS;
use crate::model::Pack;
use crate::model::portrait::Portrait;
use crate::rtc::{RtcConfig, RtcServer, RtcServerError};
use crate::serve::{
    self, Access, AppState, ClientLimits, Facts, Secured, ServeError, Shared, Startup, TlsFiles, TraceFile,
};
use crate::session::{Sessions, SessionsConfig};
use crate::time::Wall;

/// Bits a second a session begins with.
const FIRST_BITRATE_BPS: u32 = 1_200_000;

/// Serves until a signal comes.
pub fn run(flags: &Flags, wanted: &ServeFlags) -> Result<(), CliError> {
    serve::check_origins(&wanted.allow_origin)
        .map_err(|error| CliError::new(error, "--allow-origin https://example.org"))?;
    let guard = StartupGuard::arm();
    before_serving(flags, wanted)?;
    let runtime = Runtime::new()?;
    let listener = serve::bind(SocketAddr::new(wanted.door.host, wanted.door.port)).map_err(port_hint)?;
    let address = listener.address;
    let files = tls_files(flags, wanted)?;
    let tls = files.as_ref().map(secured).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (close, closing) = watch::channel(false);
    // Whoever reads a line of ours may send a signal at once.
    on_signal(&runtime, move || {
        // Event streams end when this turns.
        let _ = close.send(true);
    })?;
    let doors = Startup::new(access(wanted), wanted.base_path.clone());
    let mut closed = closing.clone();
    let stop = async move { drop(closed.wait_for(|is_closing| *is_closing).await) };
    let serving = runtime.spawn(serve::serve(listener, doors.router(), tls, stop));
    let asked = closing.clone();
    let told = doors.clone();
    let say = Arc::new(move |preparation| told.say(preparation));
    let engines = prepare::engines(flags, &wanted.engine, say, &(Arc::new(move || *asked.borrow()) as IsClosing))?;
    if *closing.borrow() {
        return runtime.block_on(serving)?.map_err(CliError::from);
    }
    let house = Services::open(flags, wanted, address.port(), engines)?;
    doors.open(serve::router(house.state(wanted, closing)));
    tell(wanted, &format!("{}{}", url(scheme, address), wanted.base_path.as_str()), &house.net, &house.facts);
    tell_fingerprint(wanted, files.as_ref())?;
    drop(guard);
    let served = runtime.block_on(serving);
    house.close(&runtime)?;
    served?.map_err(CliError::from)
}

fn access(wanted: &ServeFlags) -> Access {
    Access::new(&wanted.allow_host, &wanted.allow_origin)
}

/// What is behind the doors.
struct Services {
    studio: Arc<Sessions>,
    net: Arc<RtcServer>,
    facts: Facts,
    trace: Option<TraceFile>,
}

impl Services {
    fn open(flags: &Flags, wanted: &ServeFlags, port: u16, engines: Vec<Engine>) -> Result<Self, CliError> {
        let pack = open_pack(flags, wanted.engine.backend, usize::from(wanted.max_sessions), engines)?;
        let cards = GpuWatch::open();
        let facts = facts(&pack, cards.as_ref());
        let studio = open_studio(wanted, Arc::new(pack))?;
        if let Some(mut cards) = cards {
            studio.watch(Box::new(move || cards.read()))?;
        }
        let net = open_net(wanted, &studio, port)?;
        let trace = trace_file(wanted, &studio)?;
        Ok(Self { studio, net, facts, trace })
    }

    fn state(&self, wanted: &ServeFlags, closing: watch::Receiver<bool>) -> AppState {
        AppState::new(Shared {
            studio: Arc::clone(&self.studio),
            net: Arc::clone(&self.net),
            facts: self.facts.clone(),
            token: wanted.token.clone(),
            origins: wanted.allow_origin.clone(),
            access: access(wanted),
            base_path: wanted.base_path.clone(),
            limits: ClientLimits::of(usize::from(wanted.max_sessions)),
            assets: embedded::PAGE,
            closing,
            stills: Mutex::default(),
            wall: Wall,
        })
    }

    fn close(self, runtime: &Runtime) -> Result<(), CliError> {
        self.studio.begin_closing();
        runtime.block_on(self.net.close());
        self.studio.close();
        if let Some(trace) = self.trace {
            let report = trace.finish()?;
            tracing::info!(frames = report.frames, lost = report.lost, "the trace is whole");
        }
        Ok(())
    }
}

/// Begins the trace, if one is wanted; sessions from now on are in it.
fn trace_file(wanted: &ServeFlags, studio: &Sessions) -> Result<Option<TraceFile>, CliError> {
    let Some(path) = &wanted.trace else { return Ok(None) };
    let file = TraceFile::create(path, Wall)
        .map_err(|error| {
            io::Error::new(error.kind(), format!("wanted to write a trace, found {error}: {}", path.display()))
        })
        .map_err(|error| CliError::new(error, "--trace names a file in a folder that can be written"))?;
    studio.trace(file.trace());
    Ok(Some(file))
}

/// What a person compares with what the browser shows, before trusting a certificate that nobody else vouches for.
fn tell_fingerprint(wanted: &ServeFlags, tls: Option<&TlsFiles>) -> Result<(), CliError> {
    if let (Some(files), Some(_)) = (tls, wanted.tls.tls) {
        let fingerprint =
            files.fingerprint().map_err(|error| CliError::new(error, "--data-dir names another folder"))?;
        tracing::info!("the certificate's SHA-256 fingerprint is {fingerprint}");
    }
    Ok(())
}

fn open_studio(wanted: &ServeFlags, pack: Arc<dyn Pack>) -> Result<Arc<Sessions>, CliError> {
    let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let config = SessionsConfig {
        max_sessions: usize::from(wanted.max_sessions),
        workers: wanted.workers.map_or(cores, usize::from).max(1),
        resolution_px: wanted.resolution_px & !1,
        bitrate_bps: FIRST_BITRATE_BPS,
    };
    Ok(Sessions::open(config, pack, Wall)?)
}

fn open_net(wanted: &ServeFlags, studio: &Arc<Sessions>, port: u16) -> Result<Arc<RtcServer>, CliError> {
    let config = RtcConfig {
        host: wanted.door.host,
        udp_port: wanted.door.udp_port.unwrap_or(port),
        public_ips: wanted.public_ip.clone(),
        capacity: usize::from(wanted.max_sessions),
    };
    let lobby = Arc::clone(studio);
    let net = RtcServer::start(&config, lobby, studio.counters(), Wall).map_err(|error| {
        let hint = match &error {
            RtcServerError::Bind { .. } => {
                "another program has that UDP port: choose one with --udp-port, or 0 for any"
            }
            _ => "visage serve --host 127.0.0.1 needs the least of the machine",
        };
        CliError::new(error, hint)
    })?;
    Ok(Arc::new(net))
}

fn port_hint(error: ServeError) -> CliError {
    CliError::new(
        error,
        "another program has that port, or the address is not this machine's: choose with --port and --host",
    )
}

fn tls_files(flags: &Flags, wanted: &ServeFlags) -> Result<Option<TlsFiles>, CliError> {
    if wanted.tls.tls.is_some() {
        let files = serve::self_signed(&data_dir(flags))
            .map_err(|error| CliError::new(error, "--data-dir names another folder"))?;
        return Ok(Some(files));
    }
    let given = wanted.tls.tls_cert.clone().zip(wanted.tls.tls_key.clone());
    Ok(given.map(|(cert, key)| TlsFiles { cert, key }))
}

fn secured(files: &TlsFiles) -> Result<Secured, CliError> {
    let hint = "--tls-cert and --tls-key name PEM files that belong together; --tls self-signed makes a pair";
    files.secured().map_err(|error| CliError::new(error, hint))
}

fn facts(pack: &Portrait, cards: Option<&GpuWatch>) -> Facts {
    let gpu = cards.and_then(GpuWatch::first);
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        pack: pack.name().to_owned(),
        backend: pack.backend().to_owned(),
        video_codecs: VIDEO_CODECS,
        gpu: gpu.map(|(name, sm)| format!("{name} (SM {sm})")),
    }
}

/// What a browser on this machine is given.
fn url(scheme: &str, address: SocketAddr) -> String {
    let host = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

fn tell(wanted: &ServeFlags, url: &str, net: &RtcServer, facts: &Facts) {
    if wanted.json {
        let line = json!({
            "url": url, "udp_port": net.udp_port(), "pid": std::process::id(), "pack": facts.pack,
            "backend": facts.backend, "video_codecs": facts.video_codecs.split(", ").collect::<Vec<_>>(), "gpu": facts.gpu,
        });
        println!("{line}");
    } else {
        let gpu = facts.gpu.as_deref().unwrap_or("no NVIDIA GPU found");
        println!(
            "{url}   {} on {}, {}, UDP {}   ({gpu})",
            facts.pack,
            facts.backend,
            facts.video_codecs,
            net.udp_port()
        );
    }
}

/// Calls `then` on `runtime` when Ctrl-C comes, or what the system sends to end a process. They are caught from this call on.
///
/// # Errors
/// If signals cannot be had.
pub fn on_signal(runtime: &Runtime, then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let _inside = runtime.enter();
    #[cfg(unix)]
    let (mut interrupt, mut end) = {
        use tokio::signal::unix::{SignalKind, signal};
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    #[cfg(not(unix))]
    let (mut interrupt, mut end) = (tokio::signal::windows::ctrl_c()?, tokio::signal::windows::ctrl_close()?);
    runtime.spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = end.recv() => {}
        }
        then();
    });
    Ok(())
}
