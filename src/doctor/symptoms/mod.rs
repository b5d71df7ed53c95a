//! Errors and visible faults that users paste: their causes in order of likelihood, and which of them this machine shows.
//!
//! Decides which text matches which symptom. The symptoms are data (`symptoms.toml`); evidence is in `evidence`.

mod catalogue;
mod evidence;
mod nearest;

use serde::Serialize;

pub use catalogue::{Symptoms, SymptomsError};

use super::checks::driver_install;
use super::{Hint, Machine};
use catalogue::{Cause, Symptom};
use evidence::Evidence;

/// Placeholder for the commands that install the driver on a system.
const INSTALL_DRIVER: &str = "@install-driver";

/// Whether a cause is present on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// The machine shows it.
    Present,
    /// The machine does not show whether.
    Unknown,
    /// The machine shows that it is not.
    Absent,
}

/// A cause with its evidence on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RankedCause {
    /// Its description.
    pub cause: String,
    /// Whether it is present on the machine.
    pub presence: Presence,
    /// The observation, or how to find out.
    pub evidence: String,
    /// What to do.
    pub hint: Hint,
}

/// A symptom with its causes on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The symptom's name.
    pub id: String,
    /// Its title, in Chinese for a Chinese question.
    pub title: String,
    /// Its causes: those that are present first, then by likelihood.
    pub causes: Vec<RankedCause>,
}

/// The name and title of a symptom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its name.
    pub id: String,
    /// Its title, in Chinese for a Chinese question.
    pub title: String,
}

/// The causes of `text`, an error text or a single code, on `machine`; empty if no symptom matches.
#[must_use]
pub fn explain(symptoms: &Symptoms, text: &str, machine: &Machine) -> Vec<Explanation> {
    let question = Question::new(text);
    let matching = symptoms.0.iter().filter(|symptom| symptom.matches(&question));
    matching.map(|symptom| symptom.explain(machine, &question)).collect()
}

/// The symptoms most similar to a `text` that matches none, the most similar first; empty if none is similar.
#[must_use]
pub fn nearest(symptoms: &Symptoms, text: &str) -> Vec<Named> {
    let question = Question::new(text);
    let name = |symptom: &Symptom| Named { id: symptom.id.clone(), title: symptom.title_for(&question) };
    nearest::nearest(symptoms, text).into_iter().map(name).collect()
}

/// The names of all symptoms.
#[must_use]
pub fn ids(symptoms: &Symptoms) -> Vec<&str> {
    symptoms.0.iter().map(|symptom| symptom.id.as_str()).collect()
}

/// A text in lower case, and its words.
struct Question {
    text: String,
    words: Vec<String>,
}

impl Question {
    fn new(text: &str) -> Self {
        // Terminals and browsers turn apostrophes into typographic ones.
        let text = text.trim().to_lowercase().replace('\u{2019}', "'");
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
        Self { words: words.map(str::to_owned).collect(), text }
    }

    /// Whether it contains CJK unified ideographs: many users write Chinese.
    fn is_chinese(&self) -> bool {
        self.text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
    }

    /// Whether a word begins with one of `beginnings`. Chinese words have no spaces between them and begin anywhere.
    fn has_word(&self, beginnings: &[String]) -> bool {
        let begins = |at: usize| !self.text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        beginnings.iter().any(|beginning| self.text.match_indices(beginning.as_str()).any(|(at, _)| begins(at)))
    }

    /// Whether it contains a code: a name anywhere, a number alone or after a word that introduces codes. A program's exit code is
    /// not one.
    fn has_code(&self, code: &str) -> bool {
        let is_number = code.bytes().all(|byte| byte.is_ascii_digit());
        let is_introduced = |at: usize| {
            let before = |back: usize| at.checked_sub(back).map_or("", |at| self.words[at].as_str());
            self.words.len() == 1 || BEFORE_A_NUMBER.contains(&before(1)) && before(2) != "exit"
        };
        self.words.iter().enumerate().any(|(at, word)| *word == code && (!is_number || is_introduced(at)))
    }
}

/// Words after which a number is a code.
const BEFORE_A_NUMBER: &[&str] =
    &["error", "code", "err", "status", "cuda", "cuerror", "cudaerror", "returned", "result"];

impl Symptom {
    fn matches(&self, question: &Question) -> bool {
        question.text == self.id
            || self.phrases.iter().any(|phrase| question.text.contains(phrase.as_str()))
            || self.pairs.iter().any(|[things, faults]| question.has_word(things) && question.has_word(faults))
            || self.codes.iter().any(|code| question.has_code(code))
    }

    fn title_for(&self, question: &Question) -> String {
        self.title_zh.as_ref().filter(|_| question.is_chinese()).unwrap_or(&self.title).clone()
    }

    fn explain(&self, machine: &Machine, question: &Question) -> Explanation {
        let mut causes: Vec<RankedCause> = self.causes.iter().map(|cause| cause.rank(machine)).collect();
        // The sort is stable, so that causes of equal presence stay in order of likelihood.
        causes.sort_by_key(|cause| cause.presence);
        Explanation { id: self.id.clone(), title: self.title_for(question), causes }
    }
}

impl Cause {
    fn rank(&self, machine: &Machine) -> RankedCause {
        let found = self.evidence.as_deref().and_then(evidence::by_name).map(|find| find(machine));
        let (presence, evidence, better) = match found {
            Some(Evidence::Present(finding)) => (Presence::Present, finding, None),
            Some(Evidence::PresentWithHint(finding, better)) => (Presence::Present, finding, Some(better)),
            Some(Evidence::Absent(finding)) => (Presence::Absent, finding, None),
            Some(Evidence::Unknown(how)) => {
                (Presence::Unknown, self.how.clone().unwrap_or_else(|| how.to_owned()), None)
            }
            None => (Presence::Unknown, self.how.clone().unwrap_or_default(), None),
        };
        RankedCause {
            cause: self.text.clone(),
            presence,
            evidence,
            hint: better.unwrap_or_else(|| self.hint_on(machine)),
        }
    }

    fn hint_on(&self, machine: &Machine) -> Hint {
        let expanded = self.commands.iter().flat_map(|command| match command.as_str() {
            INSTALL_DRIVER => driver_install(machine.system).iter().map(|line| (*line).to_owned()).collect(),
            _ => vec![command.clone()],
        });
        Hint { text: self.hint.clone(), commands: expanded.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ada, driverless, hopper, library, only_device, version, with};
    use super::*;

    fn explain(text: &str, machine: &Machine) -> Vec<Explanation> {
        super::explain(&Symptoms::built_in(), text, machine)
    }

    fn ids(text: &str) -> Vec<String> {
        explain(text, &Machine::default()).into_iter().map(|explained| explained.id).collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn each_pasted_text_and_code_matches_its_symptom() {
        for (text, id) in [
            ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "no-kernel-image"),
            ("CUDA_ERROR_NO_BINARY_FOR_GPU", "no-kernel-image"),
            ("cudaErrorNoKernelImageForDevice", "no-kernel-image"),
            ("209", "no-kernel-image"),
            ("cudaErrorInsufficientDriver", "insufficient-driver"),
            ("CUDA driver version is insufficient for CUDA runtime version", "insufficient-driver"),
            ("error 35", "insufficient-driver"),
            ("CUDA initialization failed", "initialization-failed"),
            ("CUDA initialization failure with error: 999", "initialization-failed"),
            ("CUDA_ERROR_NO_DEVICE", "initialization-failed"),
            ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "out-of-memory"),
            ("GPU OOM at the second session", "out-of-memory"),
            ("an illegal memory access was encountered", "illegal-access"),
            ("code=700", "illegal-access"),
            ("sound and picture out of step", "out-of-step"),
            ("the mouth drifts", "mouth"),
            ("mouth is stiff", "mouth"),
            ("black frames", "black-frames"),
            ("colour blocks in the video", "black-frames"),
            ("The engine plan file is not compatible with this version of TensorRT", "plan-not-compatible"),
            ("plan-not-compatible", "plan-not-compatible"),
            ("CUDA error: invalid device function", "no-kernel-image"),
            (
                "CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the provided PTX was compiled with an unsupported toolchain.",
                "insufficient-driver",
            ),
            ("The NVIDIA driver on your system is too old (found version 11040)", "insufficient-driver"),
            ("system has unsupported display driver / cuda driver combination", "insufficient-driver"),
            ("CUDA failed to initialise", "initialization-failed"),
            (
                "NVIDIA-SMI has failed because it couldn\u{2019}t communicate with the NVIDIA driver",
                "initialization-failed",
            ),
            ("could not select device driver \"\" with capabilities: [[gpu]]", "initialization-failed"),
            ("RuntimeError: No CUDA GPUs are available", "initialization-failed"),
            ("libcuda.so.1: cannot open shared object file", "initialization-failed"),
            ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "initialization-failed"),
            ("CUBLAS_STATUS_ALLOC_FAILED", "out-of-memory"),
            ("VRAM is full", "out-of-memory"),
            ("CUDA error: unspecified launch failure", "illegal-access"),
            ("cudaErrorLaunchFailure", "illegal-access"),
            (
                "generated on an incompatible device: the engine plan expects compute 8.9, got 8.6",
                "plan-not-compatible",
            ),
            ("IRuntime::deserializeCudaEngine: Error Code 1: Serialization", "plan-not-compatible"),
            ("audio and video are not synchronised", "out-of-step"),
            ("the sound comes before the lips move", "out-of-step"),
            ("the lips lag behind the voice", "out-of-step"),
            ("the mouth barely opens", "mouth"),
            ("her face is stiff", "mouth"),
            ("the lips don't move", "mouth"),
            ("the video is black", "black-frames"),
            ("green artifacts in the picture", "black-frames"),
            ("libnvinfer.so.10: cannot open shared object file: No such file or directory", "missing-library"),
            ("Could not load library libcudnn_ops_infer.so.8", "missing-library"),
            ("Target GPU SM 120 is not supported by this TensorRT release", "gpu-not-supported"),
            ("[TRT] Error: Unsupported SM: 0x809", "gpu-not-supported"),
            ("nvrtc: error: invalid value for --gpu-architecture (-arch)", "gpu-not-supported"),
            ("Assertion failed: magicTagRead == kPLAN_MAGIC_TAG", "plan-not-compatible"),
            ("visage: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found", "glibc-too-old"),
            ("the network's output is all zeros", "zero-outputs"),
            ("音画不同步", "out-of-step"),
            ("生成的视频声音比画面慢", "out-of-step"),
            ("显存不足", "out-of-memory"),
            ("第二个会话就爆显存了", "out-of-memory"),
            ("黑屏", "black-frames"),
            ("嘴型漂移", "mouth"),
            ("嘴有点僵", "mouth"),
        ] {
            assert_eq!(ids(text), [id], "{text}");
        }
    }

    #[test]
    fn a_number_that_is_not_a_code_matches_nothing() {
        for text in
            ["", "drawn in 700 ms with 35 pictures", "hello", "7000", "step 2 of 100", "exit code 3", "exit status 2"]
        {
            assert_eq!(ids(text), <[String; 0]>::default(), "{text}");
        }
    }

    #[test]
    fn every_symptom_matches_its_name_and_every_cause_has_a_hint() {
        for symptom in Symptoms::built_in().0 {
            assert_eq!(ids(&symptom.id), [symptom.id.as_str()]);
            assert!(symptom.causes.len() >= 2 && symptom.title_zh.is_some(), "{}", symptom.id);
            assert!(symptom.causes.iter().all(|cause| !cause.hint.is_empty()), "{}", symptom.id);
            for phrase in &symptom.phrases {
                assert_eq!(ids(phrase), [symptom.id.as_str()], "{phrase}");
            }
        }
    }

    #[test]
    fn a_chinese_question_has_a_chinese_title() {
        assert_eq!(explain("显存不足", &ada())[0].title, "显存不足");
        assert_eq!(
            explain("out of memory", &ada())[0].title,
            "the GPU has no memory left, at load or at the next session"
        );
    }

    /// The first cause of `text` on `machine`, and its presence.
    fn first(text: &str, machine: &Machine) -> (Presence, String) {
        let explained = explain(text, machine).swap_remove(0);
        let first = explained.causes.into_iter().next().expect("a cause");
        (first.presence, first.cause)
    }

    #[test]
    fn causes_present_on_the_machine_come_first() {
        let cases: &[(&str, Machine, &str)] = &[
            (
                "209",
                with(ada(), |machine| machine.libraries.engines = vec!["unet.512x25.fp16.sm120.rtx1.7.1-0".into()]),
                "another GPU",
            ),
            ("209", with(ada(), |machine| only_device(machine).sm = "6.1".parse().ok()), "too old"),
            (
                "209",
                with(ada(), |machine| {
                    only_device(machine).sm = "12.0".parse().ok();
                    machine.gpu.driver = Some(version("560.28.03"));
                }),
                "driver is older",
            ),
            ("35", with(ada(), |machine| machine.gpu.driver = Some(version("515.65.01"))), "older than"),
            ("CUDA initialization failed", driverless(), "no driver"),
            ("out of memory", with(ada(), |machine| only_device(machine).memory_free_bytes = 1), "another program"),
            ("out of memory", with(ada(), |machine| machine.gpu.driver = Some(version("515.65.01"))), "driver"),
            ("error 700", with(hopper(), |machine| only_device(machine).ecc_errors = Some(2)), "memory is faulty"),
            ("black frames", with(ada(), |machine| only_device(machine).temperature_c = Some(91)), "hot"),
            (
                "engine plan not compatible",
                with(ada(), |machine| {
                    machine.libraries.engines = vec!["unet.512x25.fp16.sm89.rtx1.4.0-0".into()];
                    machine.libraries.tensorrt = library("libtensorrt_rtx.so.1", "1.7.1");
                }),
                "another version",
            ),
        ];
        for (text, machine, words) in cases {
            let (presence, cause) = first(text, machine);
            assert!(
                presence == Presence::Present && cause.contains(words),
                "{text}: wanted {words}, found {presence:?} {cause}"
            );
        }
    }

    #[test]
    fn a_cause_found_by_a_check_has_the_hint_of_the_check() {
        let updated = with(ada(), |machine| {
            machine.gpu.management = visage_kernels::nvml::Management::Mismatch;
            machine.gpu.devices.clear();
        });
        let cause = explain("CUDA initialization failed", &updated).swap_remove(0).causes.swap_remove(0);
        assert_eq!(
            (cause.presence, cause.hint.commands),
            (Presence::Present, vec!["sudo reboot".to_owned()]),
            "not a new driver"
        );
        let windows = with(ada(), |machine| machine.system = crate::doctor::machine::System::Wsl);
        let said = serde_json::to_string(&explain("out of memory", &windows)).expect("JSON");
        assert!(said.contains("nvidia.com/drivers") && !said.contains("apt-get"), "{said}");
    }

    #[test]
    fn without_evidence_causes_are_in_order_of_likelihood() {
        let (presence, cause) = first("mouth is stiff", &ada());
        assert!(presence == Presence::Unknown && cause.contains("dynamic_scale"), "{presence:?} {cause}");
        let explained = explain("209", &ada()).swap_remove(0);
        assert!(explained.causes.iter().all(|cause| cause.presence != Presence::Present), "{explained:#?}");
    }

    #[test]
    fn hints_contain_the_known_remedies() {
        let said = |text: &str| serde_json::to_string(&explain(text, &ada())).expect("JSON");
        for (text, words) in [
            ("mouth", &["1.0 to 1.2", "1.1", "align"][..]),
            ("out of memory", &["768", "fp16", "driver"]),
            ("out of step", &["as long as its audio"]),
            ("black frames", &["Studio", "install it again", "Xid"]),
        ] {
            let said = said(text);
            assert!(words.iter().all(|word| said.contains(word)), "{text}: {words:?} in {said}");
        }
    }
}
