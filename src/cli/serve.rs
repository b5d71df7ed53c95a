//! `visage serve`: puts the rooms together, says where it listens, and takes them apart again when asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::complaint::Complaint;
use super::embedded;
use super::flags::{Flags, ServeFlags};
use super::packs::{data_dir, open_pack};
use crate::model::Pack;
use crate::pipeline::{Studio, StudioConfig};
use crate::rtc::{Net, NetConfig, NetError};
use crate::serve::{self, AppState, Facts, ServeError, Shared, TlsFiles};
use crate::time::Wall;

/// Bits a second a session begins with.
const FIRST_BITRATE_BPS: u32 = 1_200_000;

/// Serves until a signal comes.
pub fn run(flags: &Flags, wanted: &ServeFlags) -> Result<(), Complaint> {
    let runtime = Runtime::new()?;
    let pack: Arc<dyn Pack> = Arc::new(open_pack(flags)?);
    let listener = serve::bind(SocketAddr::new(wanted.host, wanted.port)).map_err(port_hint)?;
    let facts = facts(&*pack);
    let studio = open_studio(wanted, pack)?;
    let net = open_net(wanted, &studio, listener.address.port())?;
    let tls = tls_files(flags, wanted)?;
    let (close, closing) = watch::channel(false);
    let state = AppState::new(Shared {
        studio: Arc::clone(&studio),
        net: Arc::clone(&net),
        facts: facts.clone(),
        token: wanted.token.clone(),
        assets: embedded::PAGE,
        closing,
        stills: Mutex::default(),
        wall: Wall,
    });
    tell(wanted, listener.address, &net, &facts, tls.is_some());
    let router = serve::router(state, &wanted.allow_origin);
    let served = runtime.block_on(async {
        let stop = async move {
            signalled().await;
            // Event streams end when this turns.
            let _ = close.send(true);
        };
        let served = serve::serve(listener, router, tls, stop).await;
        studio.begin_closing();
        net.close().await;
        served
    });
    studio.close();
    served.map_err(Complaint::from)
}

fn open_studio(wanted: &ServeFlags, pack: Arc<dyn Pack>) -> Result<Arc<Studio>, Complaint> {
    let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let config = StudioConfig {
        max_sessions: usize::from(wanted.max_sessions),
        workers: wanted.workers.unwrap_or(cores).max(1),
        picture_px: wanted.picture_px & !1,
        bitrate_bps: FIRST_BITRATE_BPS,
    };
    Ok(Studio::open(config, pack, Wall)?)
}

fn open_net(wanted: &ServeFlags, studio: &Arc<Studio>, port: u16) -> Result<Arc<Net>, Complaint> {
    let config = NetConfig {
        host: wanted.host,
        udp_port: wanted.udp_port.unwrap_or(port),
        public_ips: wanted.public_ip.clone(),
        places: usize::from(wanted.max_sessions),
    };
    let lobby = Arc::clone(studio);
    let net = Net::start(&config, lobby, studio.counters(), Wall).map_err(|error| {
        let hint = match &error {
            NetError::Bind { .. } => "another program has that UDP port: choose one with --udp-port, or 0 for any",
            _ => "visage serve --host 127.0.0.1 needs the least of the machine",
        };
        Complaint::new(error, hint)
    })?;
    Ok(Arc::new(net))
}

fn port_hint(error: ServeError) -> Complaint {
    Complaint::new(
        error,
        "another program has that port, or the address is not this machine's: choose with --port and --host",
    )
}

fn tls_files(flags: &Flags, wanted: &ServeFlags) -> Result<Option<TlsFiles>, Complaint> {
    if wanted.tls.is_some() {
        let files = serve::self_signed(&data_dir(flags))
            .map_err(|error| Complaint::new(error, "--data-dir names another folder"))?;
        return Ok(Some(files));
    }
    let given = wanted.tls_cert.clone().zip(wanted.tls_key.clone());
    Ok(given.map(|(cert, key)| TlsFiles { cert, key }))
}

fn facts(pack: &dyn Pack) -> Facts {
    let gpu = visage_kernels::find_cards().into_iter().next();
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        pack: pack.name().to_owned(),
        backend: "cpu".to_owned(),
        codec: "h264",
        gpu: gpu.map(|card| format!("{} (SM {}.{})", card.name, card.sm.0, card.sm.1)),
    }
}

fn tell(wanted: &ServeFlags, address: SocketAddr, net: &Net, facts: &Facts, is_https: bool) {
    let scheme = if is_https { "https" } else { "http" };
    let host = if address.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { address.ip() };
    let url = format!("{scheme}://{}", SocketAddr::new(host, address.port()));
    if wanted.json {
        let line = json!({
            "url": url, "udp_port": net.udp_port(), "pid": std::process::id(), "pack": facts.pack,
            "backend": facts.backend, "codec": facts.codec, "gpu": facts.gpu,
        });
        println!("{line}");
    } else {
        let gpu = facts.gpu.as_deref().unwrap_or("no NVIDIA GPU found");
        println!("{url}   {} on {}, {}, UDP {}   ({gpu})", facts.pack, facts.backend, facts.codec, net.udp_port());
    }
}

/// Waits for Ctrl-C, or for what the system sends to end a process.
async fn signalled() {
    let interrupt = async {
        // Where signals cannot be had, the server runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    {
        let Ok(mut end) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return interrupt.await;
        };
        tokio::select! {
            () = interrupt => {}
            _ = end.recv() => {}
        }
    }
    #[cfg(not(unix))]
    interrupt.await;
}

/// Calls `then` when a signal comes, from a runtime of its own that lives as long as the process.
pub fn on_signal(runtime: &Runtime, then: impl FnOnce() + Send + 'static) {
    runtime.spawn(async move {
        signalled().await;
        then();
    });
}
