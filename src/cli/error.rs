//! How an error is printed: what happened, its causes, and a hint.

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
    /// An error with a hint.
    pub fn new(error: impl Error + Send + Sync + 'static, hint: impl Into<String>) -> Self {
        Self { error: error.into(), hint: Some(hint.into()) }
    }

    /// A plain message with a hint, where no module has an error type for it.
    pub fn message(error: impl fmt::Display + fmt::Debug + Send + Sync + 'static, hint: impl Into<String>) -> Self {
        Self { error: anyhow::Error::msg(error), hint: Some(hint.into()) }
    }

    /// Prints it to stderr and returns the exit code 1.
    pub fn print(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::FAILURE
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.error)?;
        let mut printed = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Many errors contain the text of their cause.
            if !printed.contains(&cause) {
                write!(f, "\ncause: {cause}")?;
            }
            printed = cause;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint:  {hint}"))
    }
}
