//! `visage doctor --rules`: what NVIDIA's parts want of each other, with where each figure is from.
//!
//! Decides how the tables are told. What stands in them, `doctor` knows.

use serde_json::{Value, json};

use super::flags::ListFlags;
use super::lists::print_rows;
use super::wrap::tell_words;
use crate::doctor::compatibility::{CAPABILITIES, SmRow, TOOLKITS, ToolkitRow, Use, flavours, least_driver, written};
use crate::doctor::machine::System;

/// Prints both tables, or all of it as JSON.
pub fn tell(list: &ListFlags) {
    let mut sources = Sources::default();
    let toolkits: Vec<Value> = TOOLKITS.iter().map(|row| toolkit(row, &mut sources)).collect();
    let cards: Vec<Value> = CAPABILITIES.iter().map(|row| card(row, &mut sources)).collect();
    if list.json {
        println!("{}", json!({ "toolkits": toolkits, "cards": cards, "sources": sources.0 }));
        return;
    }
    let least = |major| least_driver(major, System::Linux).map_or_else(String::new, written);
    println!("The first driver that serves all of a CUDA toolkit:\n");
    print_rows(list, &toolkits, &["cuda", "linux", "windows", "advised", "from"]);
    let (of_12, of_13) = (least(12), least(13));
    let older = "An older driver runs a toolkit of its own major version too";
    println!();
    tell_words("", &format!("{older} (minor-version compatibility): 12.x from {of_12} on, 13.x from {of_13} on."));
    println!("\nThe first CUDA and driver for a card, its encoder, its flavour of TensorRT:\n");
    print_rows(list, &cards, &["sm", "cards", "cuda", "linux", "windows", "advised", "enc", "flavour", "from"]);
    println!();
    sources.0.iter().enumerate().for_each(|(at, source)| tell_words(&format!("{}  ", at + 1), source));
}

/// What tables are from, each once; rows name them by number.
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
    if let Some((_, why)) = row.advised {
        from = format!("{from}, {}", sources.number(why));
    }
    json!({
        "cuda": row.cuda.to_string(), "linux": written(row.linux), "windows": row.windows.map(written),
        "advised": row.advised.map(|(driver, _)| written(driver)), "from": from,
    })
}

fn card(row: &SmRow, sources: &mut Sources) -> Value {
    let used = match row.used {
        Use::Full => "full",
        Use::Limited => "limited",
        Use::None => "none",
    };
    let flavours = flavours(row.sm);
    json!({
        "sm": row.sm.to_string(), "cards": row.cards, "use": used, "cuda": row.least_cuda.to_string(),
        "linux": written(row.least_driver.0), "windows": written(row.least_driver.1),
        "advised": row.advised_driver.map(written), "enc": if row.has_encoder { "yes" } else { "no" },
        "flavour": flavours.first().map(|flavour| flavour.name()), "note": row.note,
        "from": sources.number(row.source).to_string(),
    })
}
