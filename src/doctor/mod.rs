//! Checks of a machine before anything fails, and explanations of errors: symptoms with their causes.
//!
//! Decides what is checked, what is correct and what to do. Prints nothing; only `probe` accesses the machine.

mod checks;
pub mod compatibility;
pub mod machine;
pub mod probe;
pub mod symptoms;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use checks::CHECKS;
pub use machine::Machine;

/// The backend to check for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An NVIDIA GPU.
    Gpu,
    /// The CPU.
    Cpu,
}

/// A check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, for scripts.
    pub id: &'static str,
    /// Its subject.
    pub title: &'static str,
    /// Which targets need it.
    pub scope: Scope,
    /// The check itself.
    pub run: fn(&Machine) -> CheckResult,
}

/// Which targets need a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Only the GPU backend.
    Gpu,
    /// Every target.
    All,
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No problem.
    Ok,
    /// It works, with a limitation.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be checked.
    Unknown,
}

impl Verdict {
    /// Its printed name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    verdict: Verdict,
    finding: String,
    cause: Option<String>,
    hint: Option<Hint>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hint {
    /// In words.
    pub text: String,
    /// Commands, line by line; may be empty.
    pub commands: Vec<String>,
}

impl CheckResult {
    fn of(verdict: Verdict, finding: impl Into<String>) -> Self {
        Self { verdict, finding: finding.into(), cause: None, hint: None }
    }

    /// No problem.
    pub(crate) fn ok(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, finding)
    }

    /// It works, with a limitation.
    pub(crate) fn warn(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Warn, finding)
    }

    /// It does not work.
    pub(crate) fn fail(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Fail, finding)
    }

    /// It could not be checked.
    pub(crate) fn unknown(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Unknown, finding)
    }

    /// The cause.
    pub(crate) fn cause(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// What to do, in words and commands.
    pub(crate) fn hint(self, text: impl Into<String>, commands: &[&str]) -> Self {
        let commands = commands.iter().map(|line| (*line).to_owned()).collect();
        Self { hint: Some(Hint { text: text.into(), commands }), ..self }
    }
}

/// A check with its result on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub id: &'static str,
    /// Its subject.
    pub title: &'static str,
    /// Which targets need it.
    pub scope: Scope,
    /// Whether the chosen target needs it.
    pub is_required: bool,
    /// The result.
    pub verdict: Verdict,
    /// The observation.
    pub finding: String,
    /// The cause.
    pub cause: Option<String>,
    /// What to do.
    pub hint: Option<Hint>,
}

impl Finding {
    /// Whether it prevents the chosen target from starting.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.is_required && self.verdict == Verdict::Fail
    }
}

impl Check {
    /// Checks `machine` for `target`.
    #[must_use]
    pub fn look(&self, machine: &Machine, target: Target) -> Finding {
        let CheckResult { verdict, finding, cause, hint } = (self.run)(machine);
        let is_required = self.scope == Scope::All || target == Target::Gpu;
        Finding { id: self.id, title: self.title, scope: self.scope, is_required, verdict, finding, cause, hint }
    }
}

/// Runs every check.
#[must_use]
pub fn examine(machine: &Machine, target: Target) -> Vec<Finding> {
    CHECKS.iter().map(|check| check.look(machine, target)).collect()
}

/// Runs the checks that must pass before `target` starts. Ports are reported where they are bound, and the requirements of a
/// pack where it is loaded.
#[must_use]
pub fn examine_before_start(machine: &Machine, target: Target) -> Vec<Finding> {
    let is_needed = |check: &&Check| match check.scope {
        Scope::All => REQUIRED_BEFORE_START.contains(&check.id),
        Scope::Gpu => target == Target::Gpu && REQUIRED_BEFORE_GPU.contains(&check.id),
    };
    CHECKS.iter().filter(is_needed).map(|check| check.look(machine, target)).collect()
}

/// Checks of every target before a start.
const REQUIRED_BEFORE_START: &[&str] = &["open-files", "microphone", "h264"];
/// Checks of the GPU backend before a start.
const REQUIRED_BEFORE_GPU: &[&str] = &[
    "gpu",
    "driver",
    "container",
    "device-files",
    "visible",
    "driver-version",
    "cuda",
    "capability",
    "flavour",
    "gpu-memory",
    "tensorrt",
];
