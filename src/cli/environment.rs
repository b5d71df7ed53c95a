//! Unknown `VISAGE_*` variables are refused like unknown flags, because a setting that silently has no effect is noticed in
//! production.
//!
//! Which variables there are is asked of the flags; it is written nowhere else.

use std::collections::BTreeSet;

use clap::Command;
use thiserror::Error;

/// What variables of this program begin with.
const PREFIX: &str = "VISAGE_";
/// Read when visage is built and tested, not when it runs: both may well happen in one shell.
const BUILD_VARIABLES: [&str; 1] = ["VISAGE_BUILD_ENGINES"];
/// More edits than this make another word, not a slip of the finger.
const MAX_EDITS: usize = 3;

/// A variable that looks like ours and is not.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown variable {name} in the environment")]
pub struct UnknownVariable {
    name: String,
    nearest: Option<String>,
}

impl UnknownVariable {
    /// What to type next.
    pub fn hint(&self) -> String {
        let name = &self.name;
        match &self.nearest {
            Some(nearest) => format!("{nearest} is similar; `unset {name}` runs without it"),
            None => format!("`unset {name}`; `visage serve --help` lists the variables"),
        }
    }
}

/// Checks the variables of the environment against those that `command` and the commands below it read.
///
/// # Errors
/// If one begins as ours do and is none of them.
pub fn check(command: &Command, names: impl Iterator<Item = String>) -> Result<(), UnknownVariable> {
    let known: BTreeSet<String> = variables(command).into_iter().chain(BUILD_VARIABLES.map(str::to_owned)).collect();
    let ours = names.filter(|name| name.starts_with(PREFIX));
    // The first by name, so that the same environment always gives the same error.
    match ours.filter(|name| !known.contains(name)).min() {
        Some(name) => Err(UnknownVariable { nearest: nearest(&name, &known), name }),
        None => Ok(()),
    }
}

fn variables(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned));
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

fn nearest(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let near = known.iter().map(|other| (strsim::levenshtein(name, other), other)).min()?;
    (near.0 <= MAX_EDITS).then(|| near.1.clone())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::flags::Flags;
    use super::*;

    fn found(names: &[&str]) -> Option<(String, Option<String>)> {
        let found = check(&Flags::command(), names.iter().map(|&name| name.to_owned()));
        found.err().map(|unknown| (unknown.name, unknown.nearest))
    }

    #[test]
    fn variables_of_every_command_and_of_the_build_are_known() {
        assert_eq!(
            found(&["PATH", "VISAGE_PORT", "VISAGE_DATA_DIR", "VISAGE_BENCH_URL", "VISAGE_BUILD_ENGINES"]),
            None
        );
    }

    #[test]
    fn a_typing_error_is_answered_with_the_nearest_name() {
        for (slip, meant) in [("VISAGE_PROT", "VISAGE_PORT"), ("VISAGE_MAX_SESSION", "VISAGE_MAX_SESSIONS")] {
            assert_eq!(found(&["VISAGE_HOST", slip]), Some((slip.to_owned(), Some(meant.to_owned()))));
        }
        assert_eq!(found(&["VISAGE_ELEPHANTS"]), Some(("VISAGE_ELEPHANTS".to_owned(), None)));
    }
}
