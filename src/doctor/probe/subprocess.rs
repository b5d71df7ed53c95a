//! Queries the driver's libraries in subprocesses, so that a driver that hangs or ends the process does not affect this one.
//!
//! Decides the queries and their timeouts. Where no subprocess can be started, the query runs in this process.

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

/// Timeout: a sleeping driver takes some seconds to wake each GPU.
const WAIT: Duration = Duration::from_secs(30);

/// The query of one subprocess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverQuery {
    /// NVML: the GPUs.
    Gpus,
    /// The CUDA driver: its version and the result of `cuInit`.
    Cuda,
}

impl DriverQuery {
    /// Its name on a command line.
    fn name(self) -> &'static str {
        match self {
            Self::Gpus => "gpus",
            Self::Cuda => "cuda",
        }
    }
}

impl FromStr for DriverQuery {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Gpus, Self::Cuda];
        all.into_iter().find(|query| query.name() == text).ok_or_else(|| format!("wanted gpus or cuda, found {text}"))
    }
}

/// The JSON that a subprocess prints.
#[must_use]
pub fn answer(query: DriverQuery) -> Value {
    match query {
        DriverQuery::Gpus => json!(nvml::take_inventory()),
        DriverQuery::Cuda => json!(cuda()),
    }
}

/// The result of querying the CUDA driver.
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

/// Queries both libraries in subprocesses of `program`, which is this program, or in this process without one.
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

/// The command line of a subprocess.
fn child(program: &Path, query: DriverQuery) -> Command {
    let mut command = Command::new(program);
    command.args(["doctor", "--ask", query.name()]);
    command
}

type Answers = (Result<Inventory, String>, Result<Cuda, String>);

/// Runs both subprocesses at once, each with the timeout `wait`.
#[cfg(unix)]
fn query_both(child: impl Fn(DriverQuery) -> Command, wait: Duration) -> io::Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let (devices, cuda) = (Subprocess::start(child(DriverQuery::Gpus))?, Subprocess::start(child(DriverQuery::Cuda))?);
    Ok(runtime.block_on(async { tokio::join!(devices.wait_for_answer(wait), cuda.wait_for_answer(wait)) }))
}

/// On other systems a pipe cannot be read with a timeout.
#[cfg(not(unix))]
fn query_both(_child: impl Fn(DriverQuery) -> Command, _wait: Duration) -> io::Result<Answers> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A running subprocess.
#[cfg(unix)]
struct Subprocess {
    child: Child,
    pipe: tokio::net::unix::pipe::Receiver,
}

/// How often and at what interval to check whether a subprocess that has answered has exited.
#[cfg(unix)]
const EXIT_POLLS: (u32, Duration) = (100, Duration::from_millis(10));

#[cfg(unix)]
impl Subprocess {
    fn start(mut command: Command) -> io::Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = quiet.spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout.into())?;
        Ok(Self { child, pipe })
    }

    /// Its answer, or why there is none. A process that the kernel does not end is abandoned.
    async fn wait_for_answer<T: DeserializeOwned>(mut self, wait: Duration) -> Result<T, String> {
        let mut text = Vec::new();
        let answers = timeout(wait, self.pipe.read_to_end(&mut text)).await;
        if answers.is_err() {
            // It may have exited already.
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
        let mut looks = tokio::time::interval(EXIT_POLLS.1);
        for _ in 0..EXIT_POLLS.0 {
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
            DriverQuery::Gpus => shell("exec tail -f /dev/null"),
            DriverQuery::Cuda => shell("kill -SEGV $$"),
        };
        let (devices, cuda) = query_both(child, Duration::from_millis(200)).expect("children");
        assert_eq!(devices, Err("no answer after 200ms".to_owned()));
        let said = cuda.expect_err("it was killed");
        assert!(said.contains("ended the query process") && said.contains("SIGSEGV"), "{said}");
    }

    #[test]
    fn a_subprocess_prints_the_answer_to_its_query() {
        let child = |query| shell(&format!("echo '{}'", answer(query)));
        let (devices, cuda) = query_both(child, WAIT).expect("children");
        assert_eq!(devices, Ok(nvml::take_inventory()));
        assert_eq!(cuda, Ok(super::cuda()));
    }

    #[test]
    fn without_a_program_the_query_runs_in_this_process() {
        let (devices, _) = ask(Some(Path::new("/nowhere/visage")));
        assert_eq!(devices, nvml::take_inventory());
    }

    #[test]
    fn every_query_has_a_name_on_the_command_line() {
        for query in [DriverQuery::Gpus, DriverQuery::Cuda] {
            assert_eq!(query.name().parse(), Ok(query));
        }
        assert!("both".parse::<DriverQuery>().is_err());
    }
}
