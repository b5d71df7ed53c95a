//! The rules: each checks one file and reports its violations.
//!
//! Decides what violates a rule. The tables of what is allowed are in `tests/architecture.rs`.

use super::source::{Source, is_of_name, name_at};
use super::{EMPTY_WORDS, FILE_LINES, FORBIDDEN_CODE, FUNCTION_LINES, LAYERS, OWNERS, UNRESTRICTED};

/// Returns the violations in one file as `path:line: text`.
pub type Rule = fn(&Source) -> Vec<String>;

pub fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

pub fn layering(source: &Source) -> Vec<String> {
    if ["lib", "main"].contains(&source.module.as_str()) {
        return Vec::new();
    }
    let Some(own) = layer(&source.module) else { return vec![source.fault(0, "the module is not in the layer table")] };
    let upwards = "super::".repeat(source.depth);
    let named: Vec<_> = source.names_after("crate::").chain(source.names_after(&upwards)).collect();
    let wrong = named
        .into_iter()
        .filter(|(_, module)| *module != source.module && layer(module).is_none_or(|module| module >= own));
    wrong.map(|(at, module)| source.fault(at, &format!("{} may not use {module}", source.module))).collect()
}

/// Where `library` begins a path or is imported as a whole.
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
    let strangers = OWNERS.iter().filter(|(_, owners)| !owners.contains(&source.module.as_str()));
    strangers
        .flat_map(|(library, owners)| {
            uses(source, library).map(move |at| source.fault(at, &format!("{library} belongs to {owners:?}")))
        })
        .collect()
}

pub fn forbidden_code(source: &Source) -> Vec<String> {
    let strict =
        FORBIDDEN_CODE.iter().filter(|(_, places, _)| !places.iter().any(|place| source.path.starts_with(place)));
    strict
        .flat_map(|(word, _, reason)| {
            source.places(word).map(move |at| source.fault(at, &format!("\"{word}\": {reason}")))
        })
        .collect()
}

/// Unsafe code is only in kernels, each block below a comment that states why it is sound.
pub fn unsafe_code(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for at in source.places("unsafe") {
        let row = source.code[..at].matches('\n').count();
        let above = source.lines[..row].iter().rev().map(|line| line.trim());
        let ends = |line: &str| line.is_empty() || !line.starts_with("//") && line.ends_with([';', '}']);
        let mut reasons = above.take_while(|line| !ends(line));
        let is_declared = name_at(source.code[at + "unsafe".len()..].trim_start()) == "fn";
        if source.module != "kernels" {
            faults.push(source.fault(at, "unsafe code is allowed only in kernels"));
        } else if !reasons.any(|line| line.contains(if is_declared { "# Safety" } else { "SAFETY:" })) {
            faults.push(source.fault(at, "unsafe without \"// SAFETY:\" in the lines above"));
        }
    }
    faults
}

pub fn file_heads(source: &Source) -> Vec<String> {
    let has_head = source.lines.first().is_some_and(|line| line.starts_with("//! "));
    if has_head {
        Vec::new()
    } else {
        vec![source.fault(0, "the first line is not a //! line that states the file's responsibility")]
    }
}

pub fn file_length(source: &Source) -> Vec<String> {
    let lines = source.lines.len();
    let fault = || format!("{}:{lines}: {lines} lines before tests, {FILE_LINES} at most", source.path);
    if lines > FILE_LINES { vec![fault()] } else { Vec::new() }
}

/// Names of files, modules and types do not end in an empty word; a function's name is not an empty word alone.
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
    empty.map(|(at, name, _)| source.fault(*at, &format!("the name {name} carries no meaning"))).collect()
}

/// The last word of a name in `snake_case` or CamelCase.
fn last_word(name: &str) -> String {
    let begin = name.rfind(|c: char| c == '_' || c.is_uppercase()).unwrap_or(0);
    name[begin..].trim_start_matches('_').to_lowercase()
}

/// Lengths of functions with their first line. rustfmt puts the closing brace at the indentation of the first line.
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

/// Dependencies of the root package without an owner, or unused by it.
pub fn ownership(manifest: &str, uses: impl Fn(&str, &str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = manifest.lines().enumerate().skip_while(|(_, line)| *line != "[dependencies]").skip(1);
    let listed = lines.take_while(|(_, line)| !line.starts_with('[')).filter(|(_, line)| line.starts_with(is_of_name));
    for (row, line) in listed {
        let name = line.split([' ', '.', '=']).next().unwrap_or_default().replace('-', "_");
        let owners = OWNERS.iter().find(|(library, _)| *library == name).map(|(_, owners)| *owners);
        let modules: Vec<&str> = LAYERS.iter().map(|(module, _)| *module).collect();
        let fault = |what: &str| format!("Cargo.toml:{}: {name} {what}", row + 1);
        match owners {
            None if !UNRESTRICTED.contains(&name.as_str()) => {
                faults.push(fault("has no owner in tests/architecture.rs"));
            }
            None if !modules.iter().any(|module| uses(module, &name)) => faults.push(fault("is used by nobody")),
            None => {}
            Some(owners) => {
                let idle = owners.iter().filter(|module| !uses(module, &name));
                faults.extend(idle.map(|module| fault(&format!("belongs to {module}, which does not use it"))));
            }
        }
    }
    faults
}
