//! The symptoms most similar to a text that matches none of them.
//!
//! Decides the measure of similarity: shared pieces of words, weighted by their rarity among all symptoms. Words in the Latin
//! script are cut into runs of three letters, so that inflected or misspelled words still match in part;
//! Chinese, which has no spaces, into runs of two characters.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Symptom, Symptoms};

/// Maximum number of symptoms named.
const MAX_NAMED: usize = 3;
/// Below this share of the question's weight a symptom counts as unrelated. Measured: unrelated words of the tests
/// share up to 0.2, related questions 0.35 and more.
const MIN_SHARE: f64 = 0.3;

/// The symptoms that share the most with `text`, the most similar first.
pub(super) fn nearest<'a>(symptoms: &'a Symptoms, text: &str) -> Vec<&'a Symptom> {
    let pieces: Vec<BTreeSet<String>> = symptoms.0.iter().map(|symptom| pieces_of(&symptom.words())).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    pieces.iter().flatten().for_each(|piece| *counts.entry(piece).or_default() += 1);
    let weight = |piece: &str| (pieces.len() as f64 / counts.get(piece).map_or(0.5, |count| *count as f64)).ln();
    let options = pieces_of(text);
    let total: f64 = options.iter().map(|piece| weight(piece)).sum();
    let share = |own: &BTreeSet<String>| options.intersection(own).map(|piece| weight(piece)).sum::<f64>() / total;
    let mut ranked: Vec<_> = symptoms.0.iter().zip(pieces.iter().map(share)).collect();
    ranked.retain(|(_, share)| *share >= MIN_SHARE);
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.into_iter().take(MAX_NAMED).map(|(symptom, _)| symptom).collect()
}

impl Symptom {
    /// All texts that describe it.
    fn words(&self) -> String {
        let title = [self.id.as_str(), &self.title, self.title_zh.as_deref().unwrap_or_default()];
        let pairs = self.pairs.iter().flatten().flatten();
        let listed = self.phrases.iter().chain(&self.codes).chain(pairs).map(String::as_str);
        let causes = self.causes.iter().map(|cause| cause.text.as_str());
        title.into_iter().chain(listed).chain(causes).collect::<Vec<_>>().join(" ")
    }
}

/// The pieces of a text's words.
fn pieces_of(text: &str) -> BTreeSet<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.flat_map(pieces_of_word).collect()
}

fn pieces_of_word(word: &str) -> Vec<String> {
    let (length, padded) = if word.is_ascii() { (3, format!(" {word} ")) } else { (2, word.to_owned()) };
    let letters: Vec<char> = padded.chars().collect();
    letters.windows(length.min(letters.len())).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str) -> Option<String> {
        nearest(&Symptoms::built_in(), text).first().map(|symptom| symptom.id.clone())
    }

    #[test]
    fn misspelled_texts_are_nearest_to_the_right_symptom() {
        for (text, id) in [
            ("cannot alocate gpu memmory", "out-of-memory"),
            ("engine was serialised by an older release", "plan-not-compatible"),
            ("the mouths are drifting", "mouth"),
            ("显存", "out-of-memory"),
            ("音画不对", "out-of-step"),
        ] {
            let ids: Vec<_> = nearest(&Symptoms::built_in(), text).iter().map(|found| found.id.clone()).collect();
            assert!(ids.iter().any(|found| found == id), "{text}: wanted {id}, found {ids:?}");
        }
    }

    #[test]
    fn unrelated_texts_have_no_nearest_symptom() {
        for text in ["elephants", "", "???", "大象", "my cat likes the sofa"] {
            assert_eq!(first(text), None, "{text}");
        }
    }
}
