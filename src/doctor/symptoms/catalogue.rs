//! The data files of symptoms: the built-in one, and the user's, which extend it.
//!
//! Decides the format, which `symptoms.toml` describes.

use serde::Deserialize;
use thiserror::Error;

use super::evidence;

const BUILT_IN: &str = include_str!("symptoms.toml");

/// All known symptoms.
#[derive(Clone, Debug)]
pub struct Symptoms(pub(super) Vec<Symptom>);

/// A visible fault, or an error that a library reports.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Symptom {
    pub id: String,
    #[serde(default)]
    pub title: String,
    #[serde(default)]
    pub title_zh: Option<String>,
    #[serde(default)]
    pub phrases: Vec<String>,
    #[serde(default)]
    pub pairs: Vec<[Vec<String>; 2]>,
    #[serde(default)]
    pub codes: Vec<String>,
    #[serde(default, rename = "cause")]
    pub causes: Vec<Cause>,
}

/// A cause of a symptom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cause {
    pub text: String,
    #[serde(default)]
    pub evidence: Option<String>,
    #[serde(default)]
    pub how: Option<String>,
    pub hint: String,
    #[serde(default)]
    pub commands: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "symptom")]
    symptoms: Vec<Symptom>,
}

/// A symptom file that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SymptomsError {
    /// It is not TOML, or a key is unknown.
    #[error("wanted a list of symptoms, found: {0}")]
    Layout(String),
    /// A new symptom lacks a title or a cause.
    #[error("wanted a title, a cause and a phrase, pair or code for a new symptom, found \"{id}\" without")]
    Incomplete {
        /// Its name.
        id: String,
    },
    /// A cause has neither known evidence nor a way to find out.
    #[error("wanted `how`, or `evidence` of: {known}; found {found} in the symptom \"{id}\"")]
    Evidence {
        /// The symptom's name.
        id: String,
        /// The invalid name, or what is missing.
        found: String,
        /// The valid names.
        known: String,
    },
}

impl Symptoms {
    /// The built-in symptoms.
    ///
    /// # Panics
    /// Never: a test reads the built-in file.
    #[must_use]
    pub fn built_in() -> Self {
        let mut symptoms = Self(Vec::new());
        symptoms.extend(BUILT_IN).expect("the built-in symptoms are valid");
        symptoms
    }

    /// Adds the symptoms of a user's file.
    ///
    /// # Errors
    /// If the text does not have the format that `symptoms.toml` describes. Nothing is added then.
    pub fn extend(&mut self, text: &str) -> Result<(), SymptomsError> {
        let document: Document = toml::from_str(text).map_err(|error| SymptomsError::Layout(error.to_string()))?;
        let mut all = self.0.clone();
        for mut added in document.symptoms {
            added
                .phrases
                .iter_mut()
                .chain(&mut added.codes)
                .chain(added.pairs.iter_mut().flatten().flatten())
                .for_each(|text| *text = text.to_lowercase());
            match all.iter_mut().find(|symptom| symptom.id == added.id) {
                Some(known) => known.add(added),
                None => all.push(added),
            }
        }
        all.iter().try_for_each(Symptom::check)?;
        self.0 = all;
        Ok(())
    }
}

impl Symptom {
    fn add(&mut self, more: Self) {
        self.phrases.extend(more.phrases);
        self.pairs.extend(more.pairs);
        self.codes.extend(more.codes);
        self.causes.extend(more.causes);
    }

    fn check(&self) -> Result<(), SymptomsError> {
        let is_found_by = !self.phrases.is_empty() || !self.pairs.is_empty() || !self.codes.is_empty();
        if self.title.is_empty() || self.causes.is_empty() || !is_found_by {
            return Err(SymptomsError::Incomplete { id: self.id.clone() });
        }
        self.causes.iter().try_for_each(|cause| {
            let is_known = cause.evidence.as_deref().map(|name| evidence::by_name(name).is_some());
            if is_known.unwrap_or(cause.how.is_some()) {
                return Ok(());
            }
            let found = cause.evidence.as_deref().map_or_else(|| "neither".to_owned(), |name| format!("\"{name}\""));
            Err(SymptomsError::Evidence { id: self.id.clone(), found, known: evidence::names().join(", ") })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_file_extends_a_known_symptom_and_adds_a_new_one() {
        let mut symptoms = Symptoms::built_in();
        let before = symptoms.0.len();
        let text = r#"
            [[symptom]]
            id = "mouth"
            phrases = ["Zunge klemmt"]
            [[symptom]]
            id = "fan-noise"
            title = "the fan is loud"
            phrases = ["fan noise"]
            [[symptom.cause]]
            text = "the GPU is hot"
            evidence = "heat"
            hint = "clean it"
        "#;
        symptoms.extend(text).expect("valid");
        assert_eq!(symptoms.0.len(), before + 1);
        let ids = |text: &str| {
            let found = super::super::explain(&symptoms, text, &crate::doctor::Machine::default());
            found.into_iter().map(|found| found.id).collect::<Vec<_>>()
        };
        assert_eq!((ids("die zunge klemmt"), ids("a FAN noise")), (vec!["mouth".into()], vec!["fan-noise".into()]));
    }

    #[test]
    fn an_invalid_users_file_is_refused_as_a_whole_with_the_reason() {
        let mut symptoms = Symptoms::built_in();
        let before = symptoms.0.len();
        for (text, words) in [
            ("symptom = 1", "wanted a list"),
            ("[[symptom]]\nid = 'a'\ncolour = 'red'", "colour"),
            ("[[symptom]]\nid = 'a'", "\"a\" without"),
            ("[[symptom]]\nid='a'\ntitle='A'\ncodes=['7']\n[[symptom.cause]]\ntext='t'\nhint='h'", "neither"),
            (
                "[[symptom]]\nid='a'\ntitle='A'\ncodes=['7']\n[[symptom.cause]]\ntext='t'\nhint='h'\nevidence='moon'",
                "\"moon\"",
            ),
        ] {
            let error = symptoms.extend(text).expect_err(text).to_string();
            assert!(error.contains(words), "{error}");
            assert_eq!(symptoms.0.len(), before);
        }
    }
}
