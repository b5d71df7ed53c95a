//! A strict parser of Prometheus' text format 0.0.4: it panics at everything that promtool reports.

#![expect(clippy::panic, reason = "the checker panics with its finding")]

use std::collections::BTreeMap;

/// One family of metrics.
#[derive(Debug, Default)]
pub struct Family {
    kind: String,
    /// Names, labels (in the order of their names) and values.
    pub samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Suffixes with another unit than Prometheus' base units.
const OTHER_UNITS: [&str; 7] = ["_ms", "_us", "_bps", "_kb", "_mb", "_percent", "_ppm"];

/// All families of a page.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line ends with a line feed");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let (mut current, mut is_typed) = (String::new(), true);
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').expect("a name and a text");
            assert!(is_name(name) && help.ends_with('.'), "{line}");
            assert!(is_typed, "{current} has no type");
            assert!(families.insert(name.to_owned(), Family::default()).is_none(), "{name} twice");
            (current, is_typed) = (name.to_owned(), false);
            continue;
        }
        let family = families.get_mut(&current).unwrap_or_else(|| panic!("no family before {line}"));
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').expect("a name and a type");
            assert!(name == current && !is_typed, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let base = name.trim_end_matches("_total");
            assert!(!OTHER_UNITS.iter().any(|unit| base.ends_with(unit)), "{line}");
            (family.kind, is_typed) = (kind.to_owned(), true);
            continue;
        }
        assert!(is_typed && !line.starts_with('#'), "{line}");
        family.samples.push(sample(line, &current, &family.kind));
    }
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn sample(line: &str, family: &str, kind: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| {
        (name, rest.strip_suffix('}').unwrap_or_else(|| panic!("no closing bracket: {line}")))
    });
    let end = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} under {family}"));
    let ends: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
    assert!(ends.contains(&end), "{line}");
    assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
    (name.to_owned(), pairs(labels, line), value)
}

/// `a="b",c="d"`, with backslashes before quotes, backslashes and `n`.
fn pairs(mut text: &str, line: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let (mut value, mut letters) = (String::new(), rest.char_indices());
        let end = loop {
            match letters.next().unwrap_or_else(|| panic!("no closing quote: {line}")) {
                (at, '"') => break at,
                (_, '\\') => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, letter @ ('\\' | '"'))) => value.push(letter),
                    other => panic!("{other:?} after a backslash: {line}"),
                },
                (_, letter) => value.push(letter),
            }
        };
        assert!(is_name(name) && found.insert(name.to_owned(), value).is_none(), "{line}");
        text = &rest[end + 1..];
        text = text.strip_prefix(',').inspect(|next| assert!(!next.is_empty(), "{line}")).unwrap_or(text);
    }
    found
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// No series occurs twice; buckets are cumulative, and the last one has the total.
fn check(name: &str, family: &Family) {
    let mut seen: Vec<(&String, &BTreeMap<String, String>)> = Vec::new();
    let mut last: Option<(BTreeMap<String, String>, f64)> = None;
    for (series, labels, value) in &family.samples {
        assert!(!seen.contains(&(series, labels)), "{series} {labels:?} twice");
        seen.push((series, labels));
        let mut others = labels.clone();
        if let Some(bound) = others.remove("le") {
            let before = last.take().filter(|(of, _)| *of == others).map_or(0.0, |(_, count)| count);
            assert!(*value >= before && (bound == "+Inf" || bound.parse::<f64>().is_ok()), "{series} {labels:?}");
            last = Some((others, *value));
        } else if series.ends_with("_count") && family.kind == "histogram" {
            assert_eq!(last.as_ref(), Some(&(others, *value)), "{name}: the last bucket holds all");
        }
    }
}
