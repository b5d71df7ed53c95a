//! Unknown `VISAGE_*` variables are refused like unknown flags, because a setting without effect would only be noticed in
//! production.
//!
//! The known variables come from the flags; there is no other list.

use std::collections::BTreeSet;

use clap::Command;
use thiserror::Error;

/// The prefix of the program's variables.
const PREFIX: &str = "VISAGE_";
/// Read when visage is built and tested, not when it runs: both may well happen in one shell.
const BUILD_VARIABLES: [&str; 1] = ["VISAGE_BUILD_ENGINES"];
/// A name with more edits than this is another word, not a typing error.
const MAX_EDITS: usize = 3;

/// An unknown variable with the program's prefix.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown variable {name} in the environment")]
pub struct UnknownVariable {
    name: String,
    nearest: Option<String>,
}

impl UnknownVariable {
    /// A hint.
    pub fn hint(&self) -> String {
        let name = &self.name;
        match &self.nearest {
            Some(nearest) => format!("{nearest} is similar; `unset {name}` runs without it"),
            None => format!("`unset {name}`; `visage serve --help` lists the variables"),
        }
    }
}

/// Checks the variables of the environment against those of `command` and its subcommands.
///
/// # Errors
/// If a variable has the program's prefix and is unknown.
pub fn check(command: &Command, names: impl Iterator<Item = String>) -> Result<(), UnknownVariable> {
    let known: BTreeSet<String> = variables(command).into_iter().chain(BUILD_VARIABLES.map(str::to_owned)).collect();
    let ours = names.filter(|name| name.starts_with(PREFIX));
    // The first by name, so that the error is deterministic.
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
