//! `visage avatars`, `visage packs` and `visage completions`.

use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;
use visage_engines::PackFiles;

use super::error::CliError;
use super::flags::{Flags, ListFlags};
use super::packs::pack_files;

/// Lists the avatars.
pub fn avatars(flags: &Flags, list: &ListFlags) -> Result<(), CliError> {
    let files = pack_files(flags)?;
    let manifest = files.manifest()?;
    let mut rows = Vec::new();
    for name in &manifest.avatars {
        let avatar = files.avatar(name)?;
        rows.push(json!({ "name": name, "title": avatar.title, "kind": avatar.kind, "licence": avatar.licence }));
    }
    print_rows(list, &rows, &["name", "title", "kind"]);
    Ok(())
}

/// Lists the packs.
pub fn packs(flags: &Flags, list: &ListFlags) -> Result<(), CliError> {
    let files = pack_files(flags)?;
    print_rows(list, &[pack_row(flags, &files)?], &["name", "model", "avatars", "bytes", "from"]);
    Ok(())
}

fn pack_row(flags: &Flags, files: &PackFiles) -> Result<serde_json::Value, CliError> {
    let manifest = files.manifest()?;
    let from = flags.pack.as_ref().map_or_else(|| "built in".to_owned(), |folder| folder.display().to_string());
    Ok(json!({
        "name": manifest.name,
        "title": manifest.title,
        "model": manifest.model,
        "avatars": manifest.avatars.len(),
        "bytes": files.total_bytes(),
        "licence": manifest.licence,
        "from": from,
    }))
}

/// Prints completions for `shell`.
pub fn completions(shell: Shell) {
    clap_complete::generate(shell, &mut Flags::command(), "visage", &mut std::io::stdout());
}

/// Prints rows as JSON or as a table of `columns`.
pub fn print_rows(list: &ListFlags, rows: &[serde_json::Value], columns: &[&str]) {
    if list.json {
        println!("{}", serde_json::Value::from(rows));
        return;
    }
    let cell = |row: &serde_json::Value, column: &str| {
        let cell = &row[column];
        if cell.is_null() { "-".to_owned() } else { cell.as_str().map_or_else(|| cell.to_string(), str::to_owned) }
    };
    let width =
        |column: &str| rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(column.len());
    let line = |cells: Vec<String>| {
        let padded = columns.iter().zip(cells).map(|(column, text)| format!("{text:<0$}", width(column)));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    println!("{}", line(columns.iter().map(|column| column.to_uppercase()).collect()));
    rows.iter().for_each(|row| println!("{}", line(columns.iter().map(|column| cell(row, column)).collect())));
}
