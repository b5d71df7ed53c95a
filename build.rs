//! Embeds the page and the built-in pack, after checking every file of the pack against its digest.

#![expect(clippy::disallowed_methods, reason = "a build script is told where things are by its environment")]

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use visage_engines::{DIGEST_FILE, PackFiles};

const PACK: &str = "engines/packs/portrait";
const PAGE: &str = "web";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for watched in [PACK, PAGE, "build.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let pack = root.join(PACK);
    PackFiles::read(&pack).map_err(|error| format!("{error}\nafter a change on purpose run: engines/packs/digest"))?;
    let list = fs::read_to_string(pack.join(DIGEST_FILE))?;
    let listed = list.lines().filter_map(|line| line.split_once("  ")).map(|(_, path)| path.to_owned());
    let mut table = String::new();
    embed(&mut table, "PACK", &pack, listed)?;
    embed(&mut table, "PAGE", &root.join(PAGE), files_under(&root.join(PAGE), "")?.into_iter())?;
    fs::write(out.join("embedded.rs"), table)?;
    Ok(())
}

/// Writes `name` as a table of paths and bytes.
fn embed(
    table: &mut String,
    name: &str,
    root: &Path,
    paths: impl Iterator<Item = String>,
) -> Result<(), Box<dyn Error>> {
    writeln!(table, "pub static {name}: &[(&str, &[u8])] = &[")?;
    for path in paths {
        writeln!(table, "    ({path:?}, include_bytes!({:?})),", root.join(&path).to_string_lossy())?;
    }
    writeln!(table, "];")?;
    Ok(())
}

/// Paths of all files under `folder`, sorted, with `/` between their parts.
fn files_under(folder: &Path, prefix: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut paths = Vec::new();
    for entry in entries {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            paths.extend(files_under(&entry.path(), &format!("{path}/"))?);
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}
