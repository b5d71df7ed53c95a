//! Checks before a start, so that it stops with the cause instead of a library's error.
//!
//! Decides what is probed. The checks are in `doctor`.

use thiserror::Error;
use visage_engines::search_paths;

use super::error::CliError;
use super::flags::{BackendChoice, EngineFlags, Flags, ListenFlags, ServeFlags, TlsFlags};
use super::packs::{data_dir, environment};
use crate::doctor::probe::{ListenOptions, ProbeOptions, probe_before_start};
use crate::doctor::{Finding, Target, Verdict, examine_before_start};

/// What prevents a start.
#[derive(Debug, Error)]
#[error("{title}: {finding}")]
struct StartError {
    title: &'static str,
    finding: String,
    #[source]
    cause: Option<Cause>,
}

#[derive(Debug, Error)]
#[error("{0}")]
struct Cause(String);

/// Checks before `serve` starts; warnings go to the log.
pub fn before_serving(flags: &Flags, wanted: &ServeFlags) -> Result<(), CliError> {
    let listen = listen_options(&wanted.listen, &wanted.tls, wanted.max_sessions);
    check_engine(&wanted.engine, ProbeOptions { listen: Some(listen), ..options(flags) })
}

/// Checks before `render` starts.
pub fn before_rendering(flags: &Flags, wanted: &EngineFlags) -> Result<(), CliError> {
    check_engine(wanted, options(flags))
}

fn check_engine(wanted: &EngineFlags, options: ProbeOptions) -> Result<(), CliError> {
    let tensorrt_lib = wanted.gpu.library.tensorrt_lib.clone();
    check_machine(&ProbeOptions { tensorrt_lib, ..options }, wanted.backend.into())
}

impl From<BackendChoice> for Target {
    fn from(backend: BackendChoice) -> Self {
        match backend {
            BackendChoice::Cpu => Self::Cpu,
            BackendChoice::Tensorrt => Self::Gpu,
        }
    }
}

fn check_machine(options: &ProbeOptions, target: Target) -> Result<(), CliError> {
    let findings = examine_before_start(&probe_before_start(options, target), target);
    for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Warn) {
        let hint = finding.hint.as_ref().and_then(|hint| hint.commands.first()).map_or("", String::as_str);
        tracing::warn!(hint, "{}: {}", finding.id, finding.finding);
    }
    findings.into_iter().find(Finding::stops).map_or(Ok(()), |finding| Err(start_error(finding)))
}

fn start_error(finding: Finding) -> CliError {
    let Finding { id, title, finding, cause, hint, .. } = finding;
    let text = hint.map_or_else(String::new, |hint| match hint.commands.as_slice() {
        [] => hint.text,
        lines => format!("{}: {}", hint.text, lines.join("; ")),
    });
    CliError::new(StartError { title, finding, cause: cause.map(Cause) }, format!("{text} (visage doctor: {id})"))
}

/// What to probe, with the facts from the environment.
pub fn options(flags: &Flags) -> ProbeOptions {
    ProbeOptions {
        data_dir: data_dir(flags),
        tensorrt_lib: None,
        nvrtc_lib: None,
        python_roots: search_paths::python_roots(&environment),
        program: std::env::current_exe().ok(),
        hidden_by_variable: hidden_by_variable(),
        visible_devices_variable: visible_devices_variable(),
        container: container(),
        listen: None,
    }
}

/// The listening addresses of `serve`.
pub fn listen_options(listen: &ListenFlags, tls: &TlsFlags, max_sessions: u16) -> ListenOptions {
    ListenOptions {
        host: listen.host,
        port: listen.port,
        udp_port: listen.udp_port.unwrap_or(listen.port),
        is_https: tls.tls.is_some() || tls.tls_cert.is_some(),
        max_sessions,
    }
}

/// Values of these variables that hide every GPU from CUDA or a container.
const HIDING: &[(&str, &[&str])] =
    &[("CUDA_VISIBLE_DEVICES", &["", "-1", "NoDevFiles"]), ("NVIDIA_VISIBLE_DEVICES", &["", "void", "none"])];

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn hidden_by_variable() -> Option<String> {
    HIDING.iter().find_map(|(name, values)| {
        let value = std::env::var(name).ok()?;
        values.contains(&value.as_str()).then(|| format!("{name}={value}"))
    })
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
fn visible_devices_variable() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok().map(|value| format!("CUDA_VISIBLE_DEVICES={value}"))
}

/// Detection by systemd's convention and by a variable that Kubernetes sets in every pod.
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
    fn a_finding_that_prevents_a_start_has_a_cause_and_a_hint() {
        let mut machine = Machine::default();
        machine.limits.open_files = Some(16);
        let finding = examine(&machine, Target::Cpu).into_iter().find(Finding::stops).expect("too few files");
        assert_eq!(
            start_error(finding).to_string(),
            "error: limit of open files: wanted 32 open files, the limit is 16\n\
             cause: the program and each session keep sockets and files open\n\
             hint:  raise the limit in this shell, or LimitNOFILE= in a service: ulimit -n 4096 (visage doctor: open-files)"
        );
        let device = examine(&machine, Target::Gpu).into_iter().find(|finding| finding.id == "gpu").expect("a finding");
        let said = start_error(device).to_string();
        assert!(said.starts_with("error: NVIDIA GPU: no NVIDIA GPU\ncause: "), "{said}");
    }
}
