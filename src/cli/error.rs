//! How an error is told: what happened, why, and what to type next.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// An error with a hint.
#[derive(Debug)]
pub struct CliError {
    error: anyhow::Error,
    hint: Option<String>,
}

impl<E: Error + Send + Sync + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self { error: error.into(), hint: None }
    }
}

impl CliError {
    /// An error with what to do about it.
    pub fn new(error: impl Error + Send + Sync + 'static, hint: impl Into<String>) -> Self {
        Self { error: error.into(), hint: Some(hint.into()) }
    }

    /// Something that no room below complained of, with what to do about it.
    pub fn said(error: impl fmt::Display + fmt::Debug + Send + Sync + 'static, hint: impl Into<String>) -> Self {
        Self { error: anyhow::Error::msg(error), hint: Some(hint.into()) }
    }

    /// Prints it; the exit code is 1.
    pub fn tell(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut told = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // A cause that its error already tells is not told twice.
            if !told.contains(&cause) {
                write!(f, "\ncause: {cause}")?;
            }
            told = cause;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint:  {hint}"))
    }
}
