//! What is looked at before faces are drawn, so that a start stops with the cause instead of a library's error.
//!
//! Decides what is asked of the machine. What is right and wrong, `doctor` knows.

use thiserror::Error;
use visage_engines::search_paths;

use super::error::CliError;
use super::flags::{BackendChoice, EngineFlags, Flags, ListenFlags, ServeFlags, TlsFlags};
use super::packs::{data_dir, environment};
use crate::doctor::probe::{Asked, DoorAsked, look_before_start};
use crate::doctor::{Finding, Target, Verdict, examine_before_start};

/// What stands in the way of a start.
#[derive(Debug, Error)]
#[error("{looks_at}: {finding}")]
struct Stopped {
    looks_at: &'static str,
    finding: String,
    #[source]
    cause: Option<Because>,
}

#[derive(Debug, Error)]
#[error("{0}")]
struct Because(String);

/// Looks before `serve` begins; what could be better is said in the log.
pub fn before_serving(flags: &Flags, wanted: &ServeFlags) -> Result<(), CliError> {
    let door = door_asked(&wanted.door, &wanted.tls, wanted.max_sessions);
    look_for_engine(&wanted.engine, Asked { door: Some(door), ..asked(flags) })
}

/// Looks before `render` begins.
pub fn before_rendering(flags: &Flags, wanted: &EngineFlags) -> Result<(), CliError> {
    look_for_engine(wanted, asked(flags))
}

fn look_for_engine(wanted: &EngineFlags, asked: Asked) -> Result<(), CliError> {
    let tensorrt_lib = wanted.card.library.tensorrt_lib.clone();
    look_and_stop(&Asked { tensorrt_lib, ..asked }, wanted.backend.into())
}

impl From<BackendChoice> for Target {
    fn from(backend: BackendChoice) -> Self {
        match backend {
            BackendChoice::CpuBackend => Self::CpuBackend,
            BackendChoice::Tensorrt => Self::Gpu,
        }
    }
}

fn look_and_stop(asked: &Asked, target: Target) -> Result<(), CliError> {
    let findings = examine_before_start(&look_before_start(asked, target), target);
    for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Warn) {
        let hint = finding.remedy.as_ref().and_then(|remedy| remedy.types.first()).map_or("", String::as_str);
        tracing::warn!(hint, "{}: {}", finding.id, finding.finding);
    }
    findings.into_iter().find(Finding::stops).map_or(Ok(()), |finding| Err(stopped(finding)))
}

fn stopped(finding: Finding) -> CliError {
    let Finding { id, looks_at, finding, cause, remedy, .. } = finding;
    let says = remedy.map_or_else(String::new, |remedy| match remedy.types.as_slice() {
        [] => remedy.says,
        lines => format!("{}: {}", remedy.says, lines.join("; ")),
    });
    CliError::new(Stopped { looks_at, finding, cause: cause.map(Because) }, format!("{says} (visage doctor: {id})"))
}

/// What to look at, with what the environment says of it.
pub fn asked(flags: &Flags) -> Asked {
    Asked {
        data_dir: data_dir(flags),
        tensorrt_lib: None,
        nvrtc_lib: None,
        python_roots: search_paths::python_roots(&environment),
        program: std::env::current_exe().ok(),
        hidden_by: hidden_by(),
        seen_by: seen_by(),
        container: container(),
        door: None,
    }
}

/// Where `serve` would listen.
pub fn door_asked(door: &ListenFlags, tls: &TlsFlags, max_sessions: u16) -> DoorAsked {
    DoorAsked {
        host: door.host,
        port: door.port,
        udp_port: door.udp_port.unwrap_or(door.port),
        is_https: tls.tls.is_some() || tls.tls_cert.is_some(),
        max_sessions,
    }
}

/// Values of these variables that leave CUDA, or a container, no card.
const HIDING: &[(&str, &[&str])] =
    &[("CUDA_VISIBLE_DEVICES", &["", "-1", "NoDevFiles"]), ("NVIDIA_VISIBLE_DEVICES", &["", "void", "none"])];

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn hidden_by() -> Option<String> {
    HIDING.iter().find_map(|(name, values)| {
        let value = std::env::var(name).ok()?;
        values.contains(&value.as_str()).then(|| format!("{name}={value}"))
    })
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn seen_by() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok().map(|value| format!("CUDA_VISIBLE_DEVICES={value}"))
}

/// systemd's convention, and what Kubernetes sets in every pod.
#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn container() -> Option<String> {
    let pod = std::env::var_os("KUBERNETES_SERVICE_HOST").map(|_| "kubernetes".to_owned());
    pod.or_else(|| std::env::var("container").ok().filter(|kind| !kind.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::examine;
    use crate::doctor::machine::Machine;

    #[test]
    fn what_stops_a_start_is_told_with_cause_and_hint() {
        let mut machine = Machine::default();
        machine.limits.open_files = Some(16);
        let finding = examine(&machine, Target::CpuBackend).into_iter().find(Finding::stops).expect("too few files");
        assert_eq!(
            stopped(finding).to_string(),
            "error: open files that the system allows: wanted 32 open files, allowed are 16\n\
             cause: sockets and files are held by the program itself, and by each caller\n\
             hint:  raise the limit in this shell, or LimitNOFILE= in a service: ulimit -n 4096 (visage doctor: open-files)"
        );
        let card = examine(&machine, Target::Gpu).into_iter().find(|finding| finding.id == "card").expect("a finding");
        let said = stopped(card).to_string();
        assert!(said.starts_with("error: an NVIDIA card in this machine: no NVIDIA card\ncause: "), "{said}");
    }
}
