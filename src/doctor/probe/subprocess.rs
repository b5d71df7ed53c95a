//! The driver's libraries asked by a child of this program: a driver that hangs, or that ends who asks it, does so to the child.
//!
//! Decides what a child is asked and how long it is waited for. Where no child can be had the libraries are asked here.

use std::io;
use std::path::Path;
use std::process::Command;
#[cfg(unix)]
use std::process::{Child, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

#[cfg(unix)]
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
#[cfg(unix)]
use tokio::io::AsyncReadExt;
#[cfg(unix)]
use tokio::time::timeout;
use visage_kernels::libraries::{self, CudaDriver, Silent};
use visage_kernels::nvml::{self, Inventory, Management};

use crate::doctor::machine::Probed;

/// A driver that sleeps takes some seconds to wake each GPU.
const WAIT: Duration = Duration::from_secs(30);

/// What one child is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverQuery {
    /// The management library for its GPUs.
    Cards,
    /// The CUDA driver's for its version, and to start.
    Cuda,
}

impl DriverQuery {
    /// Its name on a command line.
    fn name(self) -> &'static str {
        match self {
            Self::Cards => "GPUs",
            Self::Cuda => "cuda",
        }
    }
}

impl FromStr for DriverQuery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Cards, Self::Cuda];
        all.into_iter().find(|query| query.name() == text).ok_or_else(|| format!("wanted GPUs or cuda, found {text}"))
    }
}

/// What a child prints.
#[must_use]
pub fn answer(query: DriverQuery) -> Value {
    match query {
        DriverQuery::Cards => json!(nvml::take_inventory()),
        DriverQuery::Cuda => json!(cuda()),
    }
}

/// What the CUDA driver's library reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Cuda {
    Is(CudaDriver),
    Absent(String),
    Foreign(String),
}

fn cuda() -> Cuda {
    match libraries::cuda_driver() {
        Ok(driver) => Cuda::Is(driver),
        Err(Silent::NotLoaded { said }) => Cuda::Absent(said),
        Err(Silent::Foreign { said }) => Cuda::Foreign(said),
    }
}

/// Asks both libraries: by children that run `program`, which is this one, or here where there is none.
#[must_use]
pub fn ask(program: Option<&Path>) -> (Inventory, Probed<CudaDriver>) {
    let answers = program.and_then(|program| query_both(|query| child(program, query), WAIT).ok());
    let Some((devices, cuda)) = answers else { return (nvml::take_inventory(), probed(Ok(cuda()))) };
    let silent = |said| Inventory { management: Management::Failed(said), ..Inventory::default() };
    (devices.unwrap_or_else(silent), probed(cuda))
}

fn probed(answered: Result<Cuda, String>) -> Probed<CudaDriver> {
    match answered {
        Ok(Cuda::Is(driver)) => Probed::Found(driver),
        Ok(Cuda::Absent(said)) => Probed::Missing(said),
        Ok(Cuda::Foreign(said)) => Probed::Failed(said),
        Err(said) => Probed::TimedOut(said),
    }
}

/// The command line by which this program answers.
fn child(program: &Path, query: DriverQuery) -> Command {
    let mut command = Command::new(program);
    command.args(["doctor", "--ask", query.name()]);
    command
}

type Answers = (Result<Inventory, String>, Result<Cuda, String>);

/// Runs both children at once, each for as long as `wait`.
#[cfg(unix)]
fn query_both(child: impl Fn(DriverQuery) -> Command, wait: Duration) -> io::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let (devices, cuda) =
        (ProbeOptions::start(child(DriverQuery::Cards))?, ProbeOptions::start(child(DriverQuery::Cuda))?);
    Ok(runtime.block_on(async { tokio::join!(devices.wait_for_answer(wait), cuda.wait_for_answer(wait)) }))
}

/// Elsewhere a pipe cannot be waited for by the clock.
#[cfg(not(unix))]
fn query_both(_child: impl Fn(DriverQuery) -> Command, _wait: Duration) -> io::Result<Answers> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A child that was asked.
#[cfg(unix)]
struct ProbeOptions {
    child: Child,
    pipe: tokio::net::unix::pipe::Receiver,
}

/// How long a child that has answered may take to end, and how often is looked.
#[cfg(unix)]
const LOOKS: (u32, Duration) = (100, Duration::from_millis(10));

#[cfg(unix)]
impl ProbeOptions {
    fn start(mut command: Command) -> io::Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = quiet.spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout.into())?;
        Ok(Self { child, pipe })
    }

    /// What it answers, or how it fell silent. A child that the kernel does not end is left behind.
    async fn wait_for_answer<T: DeserializeOwned>(mut self, wait: Duration) -> Result<T, String> {
        let mut text = Vec::new();
        let answers = timeout(wait, self.pipe.read_to_end(&mut text)).await;
        if answers.is_err() {
            // Whether it is gone already does not matter.
            let _ = self.child.kill();
        }
        let ended = self.end().await;
        match (answers, serde_json::from_slice(&text)) {
            (Err(_elapsed), _) => Err(format!("no answer after {wait:?}")),
            (Ok(_), Ok(answer)) => Ok(answer),
            (Ok(_), Err(_no_answer)) => Err(ended
                .map_or_else(|| "no answer".to_owned(), |how| format!("the driver ended the query process ({how})"))),
        }
    }

    async fn end(&mut self) -> Option<ExitStatus> {
        let mut looks = tokio::time::interval(LOOKS.1);
        for _ in 0..LOOKS.0 {
            looks.tick().await;
            if let Ok(Some(how)) = self.child.try_wait() {
                return Some(how);
            }
        }
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    }

    #[test]
    fn a_driver_that_hangs_or_ends_its_caller_is_reported() {
        let child = |query| match query {
            DriverQuery::Cards => shell("exec tail -f /dev/null"),
            DriverQuery::Cuda => shell("kill -SEGV $$"),
        };
        let (devices, cuda) = query_both(child, Duration::from_millis(200)).expect("children");
        assert_eq!(devices, Err("no answer after 200ms".to_owned()));
        let said = cuda.expect_err("it died");
        assert!(said.contains("ended the query process") && said.contains("SIGSEGV"), "{said}");
    }

    #[test]
    fn what_children_print_is_what_was_asked_for() {
        let child = |query| shell(&format!("echo '{}'", answer(query)));
        let (devices, cuda) = query_both(child, WAIT).expect("children");
        assert_eq!(devices, Ok(nvml::take_inventory()));
        assert_eq!(cuda, Ok(super::cuda()));
    }

    #[test]
    fn a_program_that_is_not_there_leaves_the_question_to_this_one() {
        let (devices, _) = ask(Some(Path::new("/nowhere/visage")));
        assert_eq!(devices, nvml::take_inventory());
    }

    #[test]
    fn a_question_has_a_name_on_the_command_line() {
        for query in [DriverQuery::Cards, DriverQuery::Cuda] {
            assert_eq!(query.name().parse(), Ok(query));
        }
        assert!("both".parse::<DriverQuery>().is_err());
    }
}
