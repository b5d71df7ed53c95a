//! Wraps text to the columns of a terminal.

/// Wraps with a hanging indent; commands are never broken.
pub fn print_wrapped(lead: &str, words: &str) {
    wrapped(lead, words).iter().for_each(|line| println!("{line}"));
}

/// Columns of a terminal of default size.
pub const COLUMNS: usize = 80;

fn wrapped(lead: &str, words: &str) -> Vec<String> {
    let mut lines = vec![lead.to_owned()];
    let (indent, mut is_begun) = (" ".repeat(lead.chars().count()), false);
    for word in words.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if is_begun && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(format!("{indent}{word}"));
            continue;
        }
        line.push_str(if is_begun { " " } else { "" });
        line.push_str(word);
        is_begun = true;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_wraps_with_a_hanging_indent_and_no_word_is_lost_or_broken() {
        let words = "one of many words that together do not fit into the eighty columns of a terminal, /a/path/that/is/longer/than/any/line/that/would/fit/into/them/and/is/not/broken and the end";
        let lines = wrapped("cause: ", words);
        assert!(
            lines.len() == 4 && lines[0].starts_with("cause: one") && lines[1].starts_with("       "),
            "{lines:#?}"
        );
        assert!(lines.iter().all(|line| line.len() <= COLUMNS || line.trim().starts_with("/a/path")), "{lines:#?}");
        let joined = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        assert_eq!(joined, format!("cause: {words}"));
        assert_eq!(wrapped("", "short"), ["short"]);
    }
}
