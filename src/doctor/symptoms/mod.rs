//! Errors and sights that people paste: what they come from, in order of likelihood, and which of that is seen on a machine.
//!
//! Decides which words mean which symptom. What tells causes apart is in `signs`, what is said of each in `symptoms/`.

mod artifacts;
mod errors;
mod evidence;

use serde::Serialize;

use super::checks::{INSTALL as DRIVER, driver_install};
use super::{Machine, Remedy};

/// Something that people see.
#[derive(Clone, Copy, Debug)]
pub struct Symptom {
    /// Its name, for scripts.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Texts by which it is known, in lower case.
    texts: &'static [&'static str],
    /// What people see, in words of their own: the beginning of a word of the one list, and of one of the other.
    sights: &'static [Sight],
    /// Names and numbers by which it is known, in lower case (CUDA's `CUresult` and `cudaError_t`).
    codes: &'static [&'static str],
    /// What it comes from, the likeliest first.
    causes: &'static [Cause],
}

/// Beginnings of words for a thing, and of those for what is wrong with it.
type Sight = (&'static [&'static str], &'static [&'static str]);

/// Where a symptom comes from.
#[derive(Clone, Copy, Debug)]
struct Cause {
    says: &'static str,
    /// What on a machine speaks for or against it.
    sign: fn(&Machine) -> Sign,
    remedy: &'static str,
    types: &'static [&'static str],
}

/// What a machine says of a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// It is so here, and this shows it.
    Seen(String),
    /// The same, and whoever saw it knows better what to do.
    Known(String, Remedy),
    /// It is not so here, and this shows it.
    NotSeen(String),
    /// The machine does not tell; this would.
    Hidden(&'static str),
}

/// Whether a cause is seen on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Here {
    /// It is.
    Yes,
    /// The machine does not tell.
    Unknown,
    /// It is not.
    No,
}

/// A cause, held against a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RankedCause {
    /// What it is.
    pub cause: &'static str,
    /// Whether it is seen here.
    pub here: Here,
    /// What shows it, or how to tell.
    pub because: String,
    /// What to do.
    pub remedy: Remedy,
}

/// A symptom, held against a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The symptom's name.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Its causes: those that are seen here first, then by likelihood.
    pub causes: Vec<RankedCause>,
}

/// All symptoms.
pub fn all() -> impl Iterator<Item = &'static Symptom> {
    errors::SYMPTOMS.iter().chain(artifacts::SYMPTOMS)
}

/// What `text`, pasted from a log or a code alone, can come from on `machine`; empty if it is none that is known.
#[must_use]
pub fn explain(text: &str, machine: &Machine) -> Vec<Explained> {
    all().filter(|symptom| symptom.is_in(text)).map(|symptom| symptom.weigh(machine)).collect()
}

impl Symptom {
    /// Whether `text` tells of it.
    fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase().replace('\u{2019}', "'");
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
        text.trim() == self.id
            || self.texts.iter().any(|known| text.contains(known))
            || self.sights.iter().any(|(things, wrongs)| is_told(things, &text) && is_told(wrongs, &text))
            || self.codes.iter().any(|code| is_said(code, &words))
    }

    fn weigh(&self, machine: &Machine) -> Explained {
        let mut causes: Vec<RankedCause> = self.causes.iter().map(|cause| cause.weigh(machine)).collect();
        // Stable: likelihood stays the order among equals.
        causes.sort_by_key(|cause| cause.here);
        Explained { id: self.id, title: self.title, causes }
    }
}

/// Whether a word of the text begins with one of `beginnings`.
fn is_told(beginnings: &[&str], text: &str) -> bool {
    let begins = |at: usize| !text[..at].ends_with(char::is_alphanumeric);
    beginnings.iter().any(|beginning| text.match_indices(beginning).any(|(at, _)| begins(at)))
}

/// Words after which a number is a code.
const BEFORE_A_NUMBER: &[&str] =
    &["error", "code", "err", "status", "cuda", "cuerror", "cudaerror", "returned", "result"];

/// Whether the words hold a code: a name anywhere, a number only alone or where one says that it is a code.
fn is_said(code: &str, words: &[&str]) -> bool {
    let is_number = code.bytes().all(|byte| byte.is_ascii_digit());
    // How a program ended is its own business.
    let introduced = |at: usize| {
        words.len() == 1 || at > 0 && BEFORE_A_NUMBER.contains(&words[at - 1]) && (at < 2 || words[at - 2] != "exit")
    };
    words.iter().enumerate().any(|(at, word)| *word == code && (!is_number || introduced(at)))
}

impl Cause {
    fn weigh(&self, machine: &Machine) -> RankedCause {
        let types = if self.types == DRIVER { driver_install(machine.system) } else { self.types };
        let types = types.iter().map(|line| (*line).to_owned()).collect();
        let remedy = Remedy { says: self.remedy.to_owned(), types };
        let (here, because, remedy) = match (self.sign)(machine) {
            Sign::Seen(because) => (Here::Yes, because, remedy),
            Sign::Known(because, better) => (Here::Yes, because, better),
            Sign::NotSeen(because) => (Here::No, because, remedy),
            Sign::Hidden(how) => (Here::Unknown, how.to_owned(), remedy),
        };
        RankedCause { cause: self.says, here, because, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ada, driverless, hopper, library, sole_card, version, with};
    use super::*;

    fn ids(text: &str) -> Vec<&'static str> {
        explain(text, &Machine::default()).into_iter().map(|explained| explained.id).collect()
    }

    #[test]
    fn each_pasted_text_and_code_is_known() {
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
        ] {
            assert_eq!(ids(text), [id], "{text}");
        }
    }

    #[test]
    fn a_number_that_is_no_code_means_nothing() {
        for text in
            ["", "drawn in 700 ms with 35 pictures", "hello", "7000", "step 2 of 100", "exit code 3", "exit status 2"]
        {
            assert_eq!(ids(text), <[&str; 0]>::default(), "{text}");
        }
    }

    #[test]
    fn every_symptom_is_known_by_its_name_and_each_cause_has_something_to_do() {
        for symptom in all() {
            assert_eq!(ids(symptom.id), [symptom.id]);
            assert!(symptom.causes.len() >= 2, "{}: one cause needs no telling apart", symptom.id);
            let lower = |words: &[&str]| words.iter().all(|word| *word == word.to_lowercase());
            assert!(lower(symptom.texts) && lower(symptom.codes), "{}", symptom.id);
            assert!(symptom.causes.iter().all(|cause| !cause.remedy.is_empty()), "{}", symptom.id);
        }
    }

    /// The first cause that is told for `text` on `machine`, and whether it is seen there.
    fn first(text: &str, machine: &Machine) -> (Here, &'static str) {
        let explained = explain(text, machine).swap_remove(0);
        (explained.causes[0].here, explained.causes[0].cause)
    }

    #[test]
    fn what_is_seen_on_the_machine_is_told_first() {
        let cases: &[(&str, Machine, &str)] = &[
            (
                "209",
                with(ada(), |machine| machine.libraries.engines = vec!["unet.512x25.fp16.sm120.rtx1.7.1-0".into()]),
                "another card",
            ),
            ("209", with(ada(), |machine| sole_card(machine).sm = "6.1".parse().ok()), "too old"),
            (
                "209",
                with(ada(), |machine| {
                    sole_card(machine).sm = "12.0".parse().ok();
                    machine.gpu.driver = Some(version("560.28.03"));
                }),
                "driver is older",
            ),
            ("35", with(ada(), |machine| machine.gpu.driver = Some(version("515.65.01"))), "older than"),
            ("CUDA initialization failed", driverless(), "no driver"),
            ("out of memory", with(ada(), |machine| sole_card(machine).memory_free_bytes = 1), "another program"),
            ("out of memory", with(ada(), |machine| machine.gpu.driver = Some(version("515.65.01"))), "driver"),
            ("error 700", with(hopper(), |machine| sole_card(machine).ecc_errors = Some(2)), "memory is broken"),
            ("black frames", with(ada(), |machine| sole_card(machine).temperature_c = Some(91)), "hot"),
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
            let (here, cause) = first(text, machine);
            assert!(here == Here::Yes && cause.contains(words), "{text}: wanted {words}, found {here:?} {cause}");
        }
    }

    #[test]
    fn what_is_seen_by_a_check_is_answered_as_the_check_answers_it() {
        let updated = with(ada(), |machine| {
            machine.gpu.management = visage_kernels::nvml::Management::Mismatch;
            machine.gpu.cards.clear();
        });
        let cause = explain("CUDA initialization failed", &updated).swap_remove(0).causes.swap_remove(0);
        assert_eq!((cause.here, cause.remedy.types), (Here::Yes, vec!["sudo reboot".to_owned()]), "and no new driver");
        let windows = with(ada(), |machine| machine.system = crate::doctor::machine::System::Wsl);
        let said = serde_json::to_string(&explain("out of memory", &windows)).expect("JSON");
        assert!(said.contains("nvidia.com/drivers") && !said.contains("apt-get"), "{said}");
    }

    #[test]
    fn where_nothing_speaks_for_a_cause_likelihood_is_the_order() {
        let (here, cause) = first("mouth is stiff", &ada());
        assert!(here == Here::Unknown && cause.contains("dynamic_scale"), "{here:?} {cause}");
        let explained = explain("209", &ada()).swap_remove(0);
        assert!(explained.causes.iter().all(|cause| cause.here != Here::Yes), "{explained:#?}");
    }

    #[test]
    fn remedies_say_what_was_found_to_help() {
        let said = |text: &str| serde_json::to_string(&explain(text, &ada())).expect("JSON");
        for (text, words) in [
            ("mouth", &["1.0 to 1.2", "1.1", "align"][..]),
            ("out of memory", &["768", "fp16", "driver"]),
            ("out of step", &["as long as its sound"]),
            ("black frames", &["Sessions", "reinstall", "Xid"]),
        ] {
            let said = said(text);
            assert!(words.iter().all(|word| said.contains(word)), "{text}: {words:?} in {said}");
        }
    }
}
