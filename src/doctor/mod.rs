//! What is wrong with this machine, before anything fails: checks as data over a described machine, symptoms and their causes.
//!
//! Decides what is looked at, what is right and what to do. Prints nothing; only `probe` touches the machine.

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

/// What faces are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// An NVIDIA card.
    Gpu,
    /// The processor.
    CpuBackend,
}

/// A thing to look at.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name, for scripts.
    pub id: &'static str,
    /// What is looked at.
    pub looks_at: &'static str,
    /// Who needs it to be right.
    pub needed_by: Need,
    /// The look.
    pub judge: fn(&Machine) -> Judgement,
}

/// Who needs a check to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Whoever draws on a card.
    Gpu,
    /// Everyone.
    Everyone,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Right.
    Ok,
    /// It works, with less than there could be.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be looked at.
    Unknown,
}

impl Verdict {
    /// As it is printed.
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

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    verdict: Verdict,
    finding: String,
    cause: Option<String>,
    remedy: Option<Remedy>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// In words.
    pub says: String,
    /// What to type, line by line; empty where nothing can be typed.
    pub types: Vec<String>,
}

impl Judgement {
    fn of(verdict: Verdict, finding: impl Into<String>) -> Self {
        Self { verdict, finding: finding.into(), cause: None, remedy: None }
    }

    /// It is right.
    pub(crate) fn ok(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Ok, finding)
    }

    /// It could be better.
    pub(crate) fn warn(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Warn, finding)
    }

    /// It does not work.
    pub(crate) fn fail(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Fail, finding)
    }

    /// It could not be looked at.
    pub(crate) fn unknown(finding: impl Into<String>) -> Self {
        Self::of(Verdict::Unknown, finding)
    }

    /// Why it is so.
    pub(crate) fn because(self, cause: impl Into<String>) -> Self {
        Self { cause: Some(cause.into()), ..self }
    }

    /// What to do, in words and lines to type.
    pub(crate) fn so(self, says: impl Into<String>, types: &[&str]) -> Self {
        let types = types.iter().map(|line| (*line).to_owned()).collect();
        Self { remedy: Some(Remedy { says: says.into(), types }), ..self }
    }
}

/// A check and what it found on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub id: &'static str,
    /// What was looked at.
    pub looks_at: &'static str,
    /// Who needs it to be right.
    pub needed_by: Need,
    /// Whether the chosen target needs it.
    pub counts: bool,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// Why it is so.
    pub cause: Option<String>,
    /// What to do.
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// Whether this stops the chosen target.
    #[must_use]
    pub fn stops(&self) -> bool {
        self.counts && self.verdict == Verdict::Fail
    }
}

impl Check {
    /// Looks at `machine` on behalf of `target`.
    #[must_use]
    pub fn look(&self, machine: &Machine, target: Target) -> Finding {
        let Judgement { verdict, finding, cause, remedy } = (self.judge)(machine);
        let counts = self.needed_by == Need::Everyone || target == Target::Gpu;
        Finding {
            id: self.id,
            looks_at: self.looks_at,
            needed_by: self.needed_by,
            counts,
            verdict,
            finding,
            cause,
            remedy,
        }
    }
}

/// Runs every check.
#[must_use]
pub fn examine(machine: &Machine, target: Target) -> Vec<Finding> {
    CHECKS.iter().map(|check| check.look(machine, target)).collect()
}

/// Runs what must be right before `target` begins to draw. Ports are left to whoever binds them and says the same, and what
/// only some packs need, to whoever loads them.
#[must_use]
pub fn examine_before_start(machine: &Machine, target: Target) -> Vec<Finding> {
    let is_needed = |check: &&Check| match check.needed_by {
        Need::Everyone => BEFORE_START.contains(&check.id),
        Need::Gpu => target == Target::Gpu && BEFORE_A_CARD.contains(&check.id),
    };
    CHECKS.iter().filter(is_needed).map(|check| check.look(machine, target)).collect()
}

/// What everyone needs before a start.
const BEFORE_START: &[&str] = &["open-files", "microphone"];
/// What a card needs before it is touched.
const BEFORE_A_CARD: &[&str] = &[
    "card",
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
