//! `visage serve`: starts the server, prints its address, and closes it at a signal.
//!
//! Decides the order of the steps. Each step is another module's.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use visage_engines::cache::Engine;
use visage_engines::output_file::is_same_file;
use visage_kernels::gpu_watch::GpuWatch;
use visage_kernels::h264;

use super::embedded;
use super::error::CliError;
use super::flags::{Flags, ServeFlags};
use super::packs::{data_dir, open_pack};
use super::preflight::before_serving;
use super::prepare::{self, IsClosing, Progress};
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

/// Bitrate at which a session starts.
const FIRST_BITRATE_BPS: u32 = 1_200_000;

/// Serves until a signal arrives. The order of the steps matters:
///
/// 1. [`check`] refuses wrong flags and a machine that cannot serve, before anything is opened.
/// 2. [`Listening::start`] binds the port, so that a taken port is reported before minutes of work; reads the certificates;
///    catches signals before the first line is printed, because a script that reads the line may send one at once; and
///    serves at once: until step 5 every request is answered with 503 and the progress.
/// 3. [`prepare::engines`] compiles missing engines, which takes minutes and can be interrupted.
/// 4. [`Services::open`] loads the pack and starts sessions and WebRTC, which need the engines.
/// 5. Real routes replace the 503, and only then the address is printed: a reader may connect at once.
/// 6. After the signal, HTTP ends first (no new sessions), then [`Services::close`] ends the sessions.
pub fn run(flags: &Flags, wanted: &ServeFlags) -> Result<(), CliError> {
    let guard = StartupGuard::arm();
    check(flags, wanted)?;
    let runtime = Runtime::new()?;
    let listening = Listening::start(flags, wanted, &runtime)?;
    let engines = prepare::engines(flags, &wanted.engine, listening.progress(), &listening.is_closing())?;
    if *listening.closing.borrow() {
        return listening.wait(&runtime);
    }
    let services = Services::open(flags, wanted, listening.address.port(), engines)?;
    listening.startup.open(serve::router(services.state(wanted, listening.closing.clone())));
    print_address(wanted, &format!("{}{}", listening.url(), wanted.base_path.as_str()), &services);
    log_fingerprint(wanted, listening.files.as_ref())?;
    drop(guard);
    let served = listening.wait(&runtime);
    services.close(&runtime)?;
    served
}

fn access(wanted: &ServeFlags) -> Access {
    Access::new(&wanted.allow_host, &wanted.allow_origin)
}

fn check(flags: &Flags, wanted: &ServeFlags) -> Result<(), CliError> {
    serve::check_origins(&wanted.allow_origin)
        .map_err(|error| CliError::new(error, "--allow-origin https://example.org"))?;
    before_serving(flags, wanted)
}

/// The HTTP side of a server: it answers from the first moment, and as a starting server until its routes are set.
struct Listening {
    address: SocketAddr,
    files: Option<TlsFiles>,
    startup: Startup,
    /// True once a signal arrived; event streams end then.
    closing: watch::Receiver<bool>,
    serving: JoinHandle<Result<(), ServeError>>,
}

impl Listening {
    fn start(flags: &Flags, wanted: &ServeFlags, runtime: &Runtime) -> Result<Self, CliError> {
        let listener = serve::bind(SocketAddr::new(wanted.listen.host, wanted.listen.port)).map_err(port_hint)?;
        let address = listener.address;
        let files = tls_files(flags, wanted)?;
        let tls = files.as_ref().map(secured).transpose()?;
        let (close, closing) = watch::channel(false);
        on_signal(runtime, move || _ = close.send(true))?;
        let startup = Startup::new(access(wanted), wanted.base_path.clone());
        let mut closed = closing.clone();
        let stop = async move { drop(closed.wait_for(|is_closing| *is_closing).await) };
        let serving = runtime.spawn(serve::serve(listener, startup.router(), tls, stop));
        Ok(Self { address, files, startup, closing, serving })
    }

    /// Where the progress of the start goes: into the answers to early requests.
    fn progress(&self) -> Progress {
        let startup = self.startup.clone();
        Arc::new(move |task| startup.say(task))
    }

    fn is_closing(&self) -> IsClosing {
        let closing = self.closing.clone();
        Arc::new(move || *closing.borrow())
    }

    /// The address for a browser on this machine.
    fn url(&self) -> String {
        let scheme = if self.files.is_some() { "https" } else { "http" };
        let ip = self.address.ip();
        let host = if ip.is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { ip };
        format!("{scheme}://{}", SocketAddr::new(host, self.address.port()))
    }

    /// Waits until the HTTP server ended.
    fn wait(self, runtime: &Runtime) -> Result<(), CliError> {
        runtime.block_on(self.serving)?.map_err(CliError::from)
    }
}

/// What the routes use.
struct Services {
    sessions: Arc<Sessions>,
    net: Arc<RtcServer>,
    facts: Facts,
    trace: Option<TraceFile>,
}

impl Services {
    fn open(flags: &Flags, wanted: &ServeFlags, port: u16, engines: Vec<Engine>) -> Result<Self, CliError> {
        let pack = open_pack(flags, wanted.engine.backend, usize::from(wanted.max_sessions), engines)?;
        let gpus = GpuWatch::open();
        let facts = facts(&pack, gpus.as_ref());
        let sessions = open_sessions(wanted, Arc::new(pack))?;
        if let Some(mut gpus) = gpus {
            sessions.gpu().start(Box::new(move || gpus.read()))?;
        }
        let net = open_net(wanted, &sessions, port)?;
        let trace = trace_file(wanted, &sessions)?;
        Ok(Self { sessions, net, facts, trace })
    }

    fn state(&self, wanted: &ServeFlags, closing: watch::Receiver<bool>) -> AppState {
        AppState::new(Shared {
            sessions: Arc::clone(&self.sessions),
            net: Arc::clone(&self.net),
            facts: self.facts.clone(),
            token: wanted.token.clone(),
            origins: wanted.allow_origin.clone(),
            access: access(wanted),
            base_path: wanted.base_path.clone(),
            limits: ClientLimits::of(usize::from(wanted.max_sessions), usize::from(wanted.max_viewers)),
            assets: embedded::PAGE,
            closing,
            stills: Mutex::default(),
            wall: Wall,
        })
    }

    /// Peers are closed before the workers that feed them stop, so that browsers see the end at once.
    fn close(self, runtime: &Runtime) -> Result<(), CliError> {
        self.sessions.begin_closing();
        runtime.block_on(self.net.close());
        self.sessions.close();
        if let Some(trace) = self.trace {
            let report = trace.finish()?;
            tracing::info!(frames = report.frames, lost = report.lost, "trace written");
        }
        Ok(())
    }
}

/// Starts the trace, if there is one; it contains the sessions from now on.
fn trace_file(wanted: &ServeFlags, sessions: &Sessions) -> Result<Option<TraceFile>, CliError> {
    let Some(path) = &wanted.trace else { return Ok(None) };
    let is_input = [&wanted.tls.tls_cert, &wanted.tls.tls_key].into_iter().flatten().any(|it| is_same_file(it, path));
    if is_input {
        let error = format!("cannot write the trace: {} is the certificate or its key", path.display());
        return Err(CliError::message(error, "name another file with --trace"));
    }
    let file = TraceFile::create(path, Wall)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write the trace {}: {error}", path.display())))
        .map_err(|error| CliError::new(error, "--trace names a file in a folder that can be written"))?;
    sessions.registry().trace(file.trace());
    Ok(Some(file))
}

/// Logs what a person compares with the browser's display before trusting a self-signed certificate.
fn log_fingerprint(wanted: &ServeFlags, tls: Option<&TlsFiles>) -> Result<(), CliError> {
    if let (Some(files), Some(_)) = (tls, wanted.tls.tls) {
        let fingerprint =
            files.fingerprint().map_err(|error| CliError::new(error, "name another folder with --data-dir"))?;
        tracing::info!("the certificate's SHA-256 fingerprint is {fingerprint}");
    }
    Ok(())
}

fn open_sessions(wanted: &ServeFlags, pack: Arc<dyn Pack>) -> Result<Arc<Sessions>, CliError> {
    let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let config = SessionsConfig {
        max_sessions: usize::from(wanted.max_sessions),
        max_viewers: usize::from(wanted.max_viewers),
        workers: wanted.workers.map_or(cores, usize::from).max(1),
        resolution_px: wanted.resolution_px & !1,
        bitrate_bps: FIRST_BITRATE_BPS,
    };
    Ok(Sessions::open(config, pack, Wall)?)
}

fn open_net(wanted: &ServeFlags, sessions: &Arc<Sessions>, port: u16) -> Result<Arc<RtcServer>, CliError> {
    let config = RtcConfig {
        host: wanted.listen.host,
        udp_port: wanted.listen.udp_port.unwrap_or(port),
        public_ips: wanted.public_ip.clone(),
        capacity: usize::from(wanted.max_sessions),
    };
    let net =
        RtcServer::start(&config, Arc::clone(sessions), sessions.registry().counters(), Wall).map_err(|error| {
            let hint = match &error {
                RtcServerError::Bind { .. } => {
                    "another program uses that UDP port: choose one with --udp-port, or 0 for any free one"
                }
                _ => "visage serve --host 127.0.0.1 needs the least of the network",
            };
            CliError::new(error, hint)
        })?;
    Ok(Arc::new(net))
}

fn port_hint(error: ServeError) -> CliError {
    CliError::new(
        error,
        "another program uses that port, or the address does not belong to this machine: choose with --port and --host",
    )
}

fn tls_files(flags: &Flags, wanted: &ServeFlags) -> Result<Option<TlsFiles>, CliError> {
    if wanted.tls.tls.is_some() {
        let files = serve::self_signed(&data_dir(flags))
            .map_err(|error| CliError::new(error, "name another folder with --data-dir"))?;
        return Ok(Some(files));
    }
    let given = wanted.tls.tls_cert.clone().zip(wanted.tls.tls_key.clone());
    Ok(given.map(|(cert, key)| TlsFiles { cert, key }))
}

fn secured(files: &TlsFiles) -> Result<Secured, CliError> {
    let hint = "--tls-cert and --tls-key name PEM files that belong together; --tls self-signed creates a pair";
    files.secured().map_err(|error| CliError::new(error, hint))
}

fn facts(pack: &Portrait, gpus: Option<&GpuWatch>) -> Facts {
    let gpu = gpus.and_then(GpuWatch::first);
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        pack: pack.name().to_owned(),
        backend: pack.backend().to_owned(),
        video_codecs: VIDEO_CODECS,
        gpu: gpu.map(|(name, sm)| format!("{name} (SM {sm})")),
    }
}

/// The video codecs, with a note if the H.264 encoder is a slow one.
fn codecs(facts: &Facts) -> String {
    let note = if h264::has_assembly() || !cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        ""
    } else {
        " (built without nasm: three times slower)"
    };
    format!("{}{note}", facts.video_codecs)
}

fn print_address(wanted: &ServeFlags, url: &str, services: &Services) {
    let (facts, udp_port) = (&services.facts, services.net.udp_port());
    if wanted.json {
        let line = json!({
            "url": url, "udp_port": udp_port, "pid": std::process::id(), "pack": facts.pack, "backend": facts.backend,
            "video_codecs": facts.video_codecs.split(", ").collect::<Vec<_>>(), "h264_assembly": h264::has_assembly(),
            "gpu": facts.gpu,
        });
        println!("{line}");
    } else {
        let gpu = facts.gpu.as_deref().unwrap_or("no NVIDIA GPU found");
        println!("{url}   {} on {}, {}, UDP {udp_port}   ({gpu})", facts.pack, facts.backend, codecs(facts));
    }
}

/// Calls `then` on `runtime` at SIGINT or SIGTERM (Ctrl-C and closing elsewhere), which are caught from this call on.
///
/// # Errors
/// If the system does not let them be caught.
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
