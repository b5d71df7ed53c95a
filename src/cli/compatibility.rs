//! `visage doctor --rules`: what NVIDIA's parts want of each other, with where each figure is from.
//!
//! Decides how the tables are printed. Their contents are in `doctor`.

use serde_json::{Value, json};

use super::flags::ListFlags;
use super::lists::print_rows;
use super::wrap::print_wrapped;
use crate::doctor::compatibility::{
    CAPABILITIES, SmRow, Support, TOOLKITS, ToolkitRow, flavours, format_driver, min_driver,
};
use crate::doctor::machine::System;

/// Prints both tables, or all of it as JSON.
pub fn print(list: &ListFlags) {
    let mut sources = Sources::default();
    let toolkits: Vec<Value> = TOOLKITS.iter().map(|row| toolkit(row, &mut sources)).collect();
    let devices: Vec<Value> = CAPABILITIES.iter().map(|row| device(row, &mut sources)).collect();
    if list.json {
        println!("{}", json!({ "toolkits": toolkits, "gpus": devices, "sources": sources.0 }));
        return;
    }
    let least = |major| min_driver(major, System::Linux).map_or_else(String::new, format_driver);
    println!("Minimum driver for each CUDA toolkit:\n");
    print_rows(list, &toolkits, &["cuda", "linux", "windows", "recommended", "source"]);
    let (of_12, of_13) = (least(12), least(13));
    let older = "An older driver supports toolkits of its own major version as well";
    println!();
    print_wrapped(
        "",
        &format!(
            "{older} (minor-version compatibility): 12.x with driver {of_12} or newer, 13.x with {of_13} or newer."
        ),
    );
    println!("\nMinimum CUDA and driver for each GPU, its encoder, its TensorRT flavour:\n");
    print_rows(list, &devices, &["sm", "gpus", "cuda", "linux", "windows", "recommended", "enc", "flavour", "source"]);
    println!();
    sources.0.iter().enumerate().for_each(|(at, source)| print_wrapped(&format!("{}  ", at + 1), source));
}

/// The sources of the tables, each once; rows refer to them by number.
#[derive(Default)]
struct Sources(Vec<&'static str>);

impl Sources {
    fn number(&mut self, source: &'static str) -> usize {
        let found = self.0.iter().position(|known| *known == source);
        found.map_or_else(
            || {
                self.0.push(source);
                self.0.len()
            },
            |at| at + 1,
        )
    }
}

fn toolkit(row: &ToolkitRow, sources: &mut Sources) -> Value {
    let mut from = sources.number(row.source).to_string();
    if let Some((_, why)) = row.recommended {
        from = format!("{from}, {}", sources.number(why));
    }
    json!({
        "cuda": row.cuda.to_string(), "linux": format_driver(row.linux), "windows": row.windows.map(format_driver),
        "recommended": row.recommended.map(|(driver, _)| format_driver(driver)), "source": from,
    })
}

fn device(row: &SmRow, sources: &mut Sources) -> Value {
    let support = match row.support {
        Support::Full => "full",
        Support::Limited => "limited",
        Support::None => "none",
    };
    let flavours = flavours(row.sm);
    json!({
        "sm": row.sm.to_string(), "gpus": row.devices, "use": support, "cuda": row.min_cuda.to_string(),
        "linux": format_driver(row.min_driver.0), "windows": format_driver(row.min_driver.1),
        "recommended": row.recommended_driver.map(format_driver), "enc": if row.has_encoder { "yes" } else { "no" },
        "flavour": flavours.first().map(|flavour| flavour.name()), "note": row.note,
        "source": sources.number(row.source).to_string(),
    })
}
