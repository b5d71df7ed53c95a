//! The rules: each looks at one file and says where it is broken.
//!
//! Decides what breaks a rule. What is allowed stands in the tables of `tests/architecture.rs`.

use super::source::{Source, is_of_name, name_at};
use super::{ABSENCES, ANYONE, EMPTY_WORDS, FILE_LINES, FLOORS, FUNCTION_LINES, OWNERS};

/// What a rule finds in one file.
pub type Rule = fn(&Source) -> Vec<String>;

pub fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

pub fn arrows(source: &Source) -> Vec<String> {
    if ["lib", "main"].contains(&source.room.as_str()) {
        return Vec::new();
    }
    let Some(own) = floor(&source.room) else { return vec![source.fault(0, "the room has no floor")] };
    let upwards = "super::".repeat(source.depth);
    let named: Vec<_> = source.names_after("crate::").chain(source.names_after(&upwards)).collect();
    let wrong =
        named.into_iter().filter(|(_, room)| *room != source.room && floor(room).is_none_or(|room| room >= own));
    wrong.map(|(at, room)| source.fault(at, &format!("{} may not name {room}", source.room))).collect()
}

/// Where `library` begins a path, or is taken in whole.
pub fn uses<'a>(source: &'a Source, library: &'a str) -> impl Iterator<Item = usize> + 'a {
    source.places(library).filter(move |at| {
        let (before, after) = (source.code[..*at].trim_end(), &source.code[at + library.len()..]);
        let is_imported = before.ends_with("use") || before.ends_with("extern crate");
        !before.ends_with("::")
            && !before.ends_with('.')
            && (after.starts_with("::") || is_imported && (after.starts_with(';') || after.starts_with(" as ")))
    })
}

pub fn libraries(source: &Source) -> Vec<String> {
    let strangers = OWNERS.iter().filter(|(_, owners)| !owners.contains(&source.room.as_str()));
    strangers
        .flat_map(|(library, owners)| {
            uses(source, library).map(move |at| source.fault(at, &format!("{library} belongs to {owners:?}")))
        })
        .collect()
}

pub fn absences(source: &Source) -> Vec<String> {
    let strict = ABSENCES.iter().filter(|(_, places, _)| !places.iter().any(|place| source.path.starts_with(place)));
    strict
        .flat_map(|(word, _, reason)| {
            source.places(word).map(move |at| source.fault(at, &format!("\"{word}\": {reason}")))
        })
        .collect()
}

/// Unsafe code stands in kernels, each piece under the words that say why it is sound.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for at in source.places("unsafe") {
        let row = source.code[..at].matches('\n').count();
        let above = source.lines[..row].iter().rev().map(|line| line.trim());
        let ends = |line: &str| line.is_empty() || !line.starts_with("//") && line.ends_with([';', '}']);
        let mut reasons = above.take_while(|line| !ends(line));
        let is_declared = name_at(source.code[at + "unsafe".len()..].trim_start()) == "fn";
        if source.room != "kernels" {
            faults.push(source.fault(at, "unsafe code lives in kernels"));
        } else if !reasons.any(|line| line.contains(if is_declared { "# Safety" } else { "SAFETY:" })) {
            faults.push(source.fault(at, "unsafe without its \"// SAFETY:\" in the lines above"));
        }
    }
    faults
}

pub fn heads(source: &Source) -> Vec<String> {
    let has_head = source.lines.first().is_some_and(|line| line.starts_with("//! "));
    if has_head { Vec::new() } else { vec![source.fault(0, "begins with no //! line that says what it decides")] }
}

pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.lines.len();
    let fault = || format!("{}:{lines}: {lines} lines before tests, {FILE_LINES} at most", source.path);
    if lines > FILE_LINES { vec![fault()] } else { Vec::new() }
}

/// Files, modules and types do not end in an empty word, functions are not named by one alone.
pub fn names(source: &Source) -> Vec<String> {
    let stem = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    let mut found = vec![(0, stem, last_word(stem))];
    for kind in ["mod ", "struct ", "enum ", "trait ", "type ", "fn "] {
        found.extend(source.places(kind).map(|at| {
            let name = name_at(&source.code[at + kind.len()..]);
            (at, name, if kind == "fn " { name.to_owned() } else { last_word(name) })
        }));
    }
    let empty = found.iter().filter(|(_, _, said)| EMPTY_WORDS.contains(&said.as_str()));
    empty.map(|(at, name, _)| source.fault(*at, &format!("the name {name} says nothing"))).collect()
}

/// The last word of a name, of either way of writing it.
fn last_word(name: &str) -> String {
    let begin = name.rfind(|c: char| c == '_' || c.is_uppercase()).unwrap_or(0);
    name[begin..].trim_start_matches('_').to_lowercase()
}

/// Lengths of functions with where they begin; rustfmt has put their ends at the depth of their beginnings.
pub fn functions(source: &Source) -> Vec<(usize, String)> {
    let mut lengths = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (row, line) in source.code.lines().enumerate() {
        let (text, indent) = (line.trim(), line.len() - line.trim_start().len());
        if open.is_none() && text.split(' ').take(4).any(|word| word == "fn") {
            open = Some((row, indent));
        }
        let Some((start, depth)) = open else { continue };
        let is_end = if row == start { text.ends_with('}') } else { indent == depth && text == "}" };
        if is_end {
            lengths.push((row - start + 1, format!("{}:{}", source.path, start + 1)));
        }
        if is_end || indent == depth && text.ends_with(';') {
            open = None;
        }
    }
    lengths
}

pub fn function_length(source: &Source) -> Vec<String> {
    let long = functions(source).into_iter().filter(|(lines, _)| *lines > FUNCTION_LINES);
    long.map(|(lines, place)| format!("{place}: a function of {lines} lines, {FUNCTION_LINES} at most")).collect()
}

/// Dependencies of the root package that nobody owns, or nobody uses.
pub fn ledger(manifest: &str, uses: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = manifest.lines().enumerate().skip_while(|(_, line)| *line != "[dependencies]").skip(1);
    let listed = lines.take_while(|(_, line)| !line.starts_with('[')).filter(|(_, line)| line.starts_with(is_of_name));
    for (row, line) in listed {
        let name = line.split([' ', '.', '=']).next().unwrap_or_default().replace('-', "_");
        let owners = OWNERS.iter().find(|(library, _)| *library == name).map(|(_, owners)| *owners);
        let rooms: Vec<&str> = FLOORS.iter().map(|(room, _)| *room).collect();
        let fault = |what: &str| format!("Cargo.toml:{}: {name} {what}", row + 1);
        match owners {
            None if !ANYONE.contains(&name.as_str()) => faults.push(fault("has no owner in tests/architecture.rs")),
            None if !rooms.iter().any(|room| uses(room, &name)) => faults.push(fault("is used by nobody")),
            None => {}
            Some(owners) => {
                let idle = owners.iter().filter(|room| !uses(room, &name));
                faults.extend(idle.map(|room| fault(&format!("belongs to {room}, which does not use it"))));
            }
        }
    }
    faults
}
