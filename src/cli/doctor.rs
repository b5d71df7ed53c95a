//! `visage doctor`: what is wrong with this machine as a table, as JSON, or as nothing but what to type.
//!
//! Decides how findings are printed. The checks are in `doctor`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::WRONG_USAGE;
use super::compatibility;
use super::error::CliError;
use super::flags::{DoctorFlags, DoctorTarget, Flags, ListFlags};
use super::packs::data_dir;
use super::preflight::{listen_options, options};
use super::wrap::{COLUMNS, print_wrapped};
use crate::doctor::probe::{look, relay, subprocess};
use crate::doctor::symptoms::{self, Explanation, Presence, RankedCause, Symptoms};
use crate::doctor::{Finding, Machine, Target, Verdict, examine};
use crate::time::Wall;

/// Checks and prints: 0 if the target works, 1 if a check fails, 2 for wrong usage.
pub fn run(flags: &Flags, wanted: &DoctorFlags) -> ExitCode {
    match examined(flags, wanted) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn examined(flags: &Flags, wanted: &DoctorFlags) -> Result<ExitCode, CliError> {
    if let Some(query) = wanted.ask {
        println!("{}", subprocess::answer(query));
        return Ok(ExitCode::SUCCESS);
    }
    if wanted.rules {
        compatibility::print(&ListFlags { json: wanted.json });
        return Ok(ExitCode::SUCCESS);
    }
    let machine = match &wanted.machine {
        Some(file) => read(file)?,
        None => look_here(flags, wanted)?,
    };
    if let Some(text) = &wanted.explain {
        print_causes(wanted, &explain(&all_symptoms(flags, wanted)?, text, &machine)?);
        return Ok(ExitCode::SUCCESS);
    }
    let target = wanted.target.map_or(wanted.backend.into(), Target::from);
    let findings = examine(&machine, target);
    if wanted.json {
        println!("{}", report(&machine, target, &findings));
    } else if wanted.fix_hints {
        print_commands(target, &findings);
    } else {
        print_result((target, wanted.backend.into()), &findings, &examine(&machine, other(target)));
    }
    Ok(ExitCode::from(u8::from(findings.iter().any(Finding::stops))))
}

impl From<DoctorTarget> for Target {
    fn from(target: DoctorTarget) -> Self {
        match target {
            DoctorTarget::Gpu => Self::Gpu,
            DoctorTarget::Cpu => Self::Cpu,
        }
    }
}

fn other(target: Target) -> Target {
    match target {
        Target::Gpu => Target::Cpu,
        Target::Cpu => Target::Gpu,
    }
}

/// A machine described by `--json`: the whole report, or the machine alone.
fn read(file: &Path) -> Result<Machine, CliError> {
    let hint = "--machine wants what `visage doctor --json` printed on that machine";
    let wrong = |found: String| {
        CliError::message(format!("cannot read a machine description from {}: {found}", file.display()), hint)
    };
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mut value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let machine = value.get_mut("machine").map(Value::take);
    serde_json::from_value(machine.unwrap_or(value)).map_err(|error| wrong(error.to_string()))
}

fn look_here(flags: &Flags, wanted: &DoctorFlags) -> Result<Machine, CliError> {
    let mut options = options(flags);
    options.listen = Some(listen_options(&wanted.listen, &wanted.tls, wanted.max_sessions));
    options.tensorrt_lib.clone_from(&wanted.library.tensorrt_lib);
    options.nvrtc_lib.clone_from(&wanted.nvrtc.nvrtc_lib);
    let mut machine = look(&options);
    if let Some(server) = &wanted.turn {
        let runtime = Runtime::new()?;
        machine.listen.relay = Some(runtime.block_on(relay::ask(server, Wall)));
        // A pending DNS lookup must not delay the exit.
        runtime.shutdown_background();
    }
    Ok(machine)
}

/// The version of the `--json` format; raised when a field changes its meaning or is removed.
const JSON_VERSION: u32 = 2;

fn report(machine: &Machine, target: Target, findings: &[Finding]) -> Value {
    json!({
        "layout": JSON_VERSION, "version": env!("CARGO_PKG_VERSION"), "target": target,
        "is_fine": !findings.iter().any(Finding::stops), "checks": findings, "machine": machine,
    })
}

fn name(target: Target) -> &'static str {
    match target {
        Target::Gpu => "gpu",
        Target::Cpu => "cpu",
    }
}

/// The table, the faults for the target, and the state of the other target in short.
fn print_result((target, served): (Target, Target), findings: &[Finding], others: &[Finding]) {
    let (counted, idle): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| finding.is_required);
    print_table(&counted);
    if !idle.is_empty() {
        println!("\nFor the GPU backend, which is not used here:\n");
        print_table(&idle);
    }
    counted.into_iter().filter(|finding| is_wrong(finding)).for_each(print_finding);
    println!();
    print_wrapped("", &summary((target, served), findings));
    let hint = format!("; see `visage doctor --for {}`", name(other(target)));
    let hint = if others.iter().any(Finding::stops) { hint } else { String::new() };
    print_wrapped("", &format!("{}{hint}", summary((other(target), served), others)));
}

fn print_table(findings: &[&Finding]) {
    let (unseen, looked): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.verdict == Verdict::Unknown);
    let width = looked.iter().map(|finding| finding.id.len()).max().unwrap_or(0).max("CHECK".len());
    println!("VERDICT  {:<width$}  FINDING", "CHECK");
    for finding in looked {
        print_wrapped(&format!("{:<7}  {:<width$}  ", finding.verdict.name(), finding.id), &finding.finding);
    }
    print_unknown(&unseen);
}

/// Checks that are unknown for the same reason are one line.
fn print_unknown(unseen: &[&Finding]) {
    let mut reasons: Vec<&str> = Vec::new();
    for finding in unseen.iter().filter(|finding| finding.verdict == Verdict::Unknown) {
        if !reasons.contains(&finding.finding.as_str()) {
            reasons.push(&finding.finding);
        }
    }
    for reason in reasons {
        let ids = unseen.iter().filter(|finding| finding.finding == reason).map(|finding| finding.id);
        print_wrapped("unknown  ", &format!("{}: {reason}", ids.collect::<Vec<_>>().join(", ")));
    }
}

fn is_wrong(finding: &Finding) -> bool {
    finding.is_required && matches!(finding.verdict, Verdict::Warn | Verdict::Fail)
}

fn print_finding(finding: &Finding) {
    println!();
    let lead = format!("{}: ", finding.verdict.name());
    print_wrapped(&lead, &format!("{} ({}): {}", finding.id, finding.title, finding.finding));
    if let Some(cause) = &finding.cause {
        print_wrapped("cause: ", cause);
    }
    if let Some(hint) = &finding.hint {
        print_wrapped("hint:  ", &hint.text);
        hint.commands.iter().for_each(|line| println!("       {line}"));
    }
}

fn summary((target, served): (Target, Target), findings: &[Finding]) -> String {
    let stops: Vec<&str> = findings.iter().filter(|finding| finding.stops()).map(|finding| finding.id).collect();
    let name = name(target);
    let served = if target == served { " (used by `serve` here)" } else { "" };
    if stops.is_empty() {
        format!("{name}{served}: OK")
    } else {
        format!("{name}{served}: does not work: {}", stops.join(", "))
    }
}

/// Commands for a shell, each below a comment with its purpose.
fn print_commands(target: Target, findings: &[Finding]) {
    let mut wrong = findings.iter().filter(|finding| is_wrong(finding)).peekable();
    if wrong.peek().is_none() {
        println!("# {}: no problems", name(target));
    }
    for (finding, hint) in wrong.filter_map(|finding| Some((finding, finding.hint.as_ref()?))) {
        println!("# {}: {}: {}", finding.id, finding.finding, hint.text);
        hint.commands.iter().for_each(|line| println!("{line}"));
    }
}

/// The built-in symptoms and those of the user: `symptoms.toml` in the data folder, and the file of `--symptoms`.
fn all_symptoms(flags: &Flags, wanted: &DoctorFlags) -> Result<Symptoms, CliError> {
    let mut symptoms = Symptoms::built_in();
    let own = Some(data_dir(flags).join("symptoms.toml")).filter(|file| file.exists());
    for file in own.iter().chain(&wanted.symptoms) {
        let hint = "src/doctor/symptoms/symptoms.toml describes the layout";
        let wrong =
            |found: String| CliError::message(format!("cannot read symptoms of {}: {found}", file.display()), hint);
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        symptoms.extend(&text).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(symptoms)
}

fn explain(symptoms: &Symptoms, text: &str, machine: &Machine) -> Result<Vec<Explanation>, CliError> {
    let explanations = symptoms::explain(symptoms, text, machine);
    if !explanations.is_empty() {
        return Ok(explanations);
    }
    let shown: String = text.trim().chars().take(COLUMNS).collect();
    let nearest = symptoms::nearest(symptoms, text);
    let hint = if nearest.is_empty() {
        format!("paste the line with the error, its code alone, or one of: {}", symptoms::ids(symptoms).join(", "))
    } else {
        let named = nearest.iter().map(|named| format!("{} ({})", named.id, named.title));
        format!("similar known symptoms: {}", named.collect::<Vec<_>>().join("; "))
    };
    Err(CliError::message(format!("unknown symptom \"{shown}\""), hint))
}

fn print_causes(wanted: &DoctorFlags, symptoms: &[Explanation]) {
    if wanted.json {
        println!("{}", json!({ "layout": JSON_VERSION, "version": env!("CARGO_PKG_VERSION"), "symptoms": symptoms }));
        return;
    }
    for symptom in symptoms {
        print_wrapped("", &format!("{}: {}", symptom.id, symptom.title));
        symptom.causes.iter().enumerate().for_each(|(at, cause)| print_cause(at + 1, cause));
    }
}

fn print_cause(number: usize, cause: &RankedCause) {
    let (word, lead) = match cause.presence {
        Presence::Present => ("present here", "found: "),
        Presence::Unknown => ("unknown on this machine", "to find out: "),
        Presence::Absent => ("not here", "found: "),
    };
    println!();
    print_wrapped(&format!("{number}. "), &format!("{} ({word})", cause.cause));
    print_wrapped(&format!("   {lead}"), &cause.evidence);
    print_wrapped("   hint: ", &cause.hint.text);
    cause.hint.commands.iter().for_each(|line| println!("         {line}"));
}
