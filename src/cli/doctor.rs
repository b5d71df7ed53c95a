//! `visage doctor`: what is wrong with this machine as a table, as JSON, or as nothing but what to type.
//!
//! Decides how findings are told. What is right and wrong, `doctor` knows.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::WRONG_USAGE;
use super::compatibility;
use super::error::CliError;
use super::flags::{DoctorFlags, DoctorTarget, Flags, ListFlags};
use super::preflight::{asked, door_asked};
use super::wrap::{COLUMNS, tell_words};
use crate::doctor::probe::{look, relay, subprocess};
use crate::doctor::symptoms::{self, Explained, Here, RankedCause};
use crate::doctor::{Finding, Machine, Target, Verdict, examine};
use crate::time::Wall;

/// Looks and tells: 0 if nothing stops the target, 1 if something does, 2 if it was asked wrongly.
pub fn run(flags: &Flags, wanted: &DoctorFlags) -> ExitCode {
    match examined(flags, wanted) {
        Ok(code) => code,
        Err(complaint) => {
            complaint.tell();
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn examined(flags: &Flags, wanted: &DoctorFlags) -> Result<ExitCode, CliError> {
    if let Some(question) = wanted.ask {
        println!("{}", subprocess::answer(question));
        return Ok(ExitCode::SUCCESS);
    }
    if wanted.rules {
        compatibility::tell(&ListFlags { json: wanted.json });
        return Ok(ExitCode::SUCCESS);
    }
    let machine = match &wanted.machine {
        Some(file) => read(file)?,
        None => look_here(flags, wanted)?,
    };
    if let Some(text) = &wanted.explain {
        tell_causes(wanted, &explained(text, &machine)?);
        return Ok(ExitCode::SUCCESS);
    }
    let target = wanted.target.map_or(wanted.backend.into(), Target::from);
    let findings = examine(&machine, target);
    if wanted.json {
        println!("{}", report(&machine, target, &findings));
    } else if wanted.fix_hints {
        tell_what_to_type(target, &findings);
    } else {
        tell((target, wanted.backend.into()), &findings, &examine(&machine, other(target)));
    }
    Ok(ExitCode::from(u8::from(findings.iter().any(Finding::stops))))
}

impl From<DoctorTarget> for Target {
    fn from(target: DoctorTarget) -> Self {
        match target {
            DoctorTarget::Gpu => Self::Gpu,
            DoctorTarget::CpuBackend => Self::CpuBackend,
        }
    }
}

fn other(target: Target) -> Target {
    match target {
        Target::Gpu => Target::CpuBackend,
        Target::CpuBackend => Target::Gpu,
    }
}

/// A machine that `--json` described: the whole report, or the machine alone.
fn read(file: &Path) -> Result<Machine, CliError> {
    let hint = "--machine wants what `visage doctor --json` printed on that machine";
    let wrong =
        |found: String| CliError::said(format!("wanted a described machine, found {found}: {}", file.display()), hint);
    let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let mut value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let machine = value.get_mut("machine").map(Value::take);
    serde_json::from_value(machine.unwrap_or(value)).map_err(|error| wrong(error.to_string()))
}

fn look_here(flags: &Flags, wanted: &DoctorFlags) -> Result<Machine, CliError> {
    let mut asked = asked(flags);
    asked.door = Some(door_asked(&wanted.door, &wanted.tls, wanted.max_sessions));
    asked.tensorrt_lib.clone_from(&wanted.library.tensorrt_lib);
    asked.nvrtc_lib.clone_from(&wanted.nvrtc.nvrtc_lib);
    let mut machine = look(&asked);
    if let Some(server) = &wanted.turn {
        let runtime = Runtime::new()?;
        machine.door.relay = Some(runtime.block_on(relay::ask(server, Wall)));
        // A name that is still looked up must not hold the program.
        runtime.shutdown_background();
    }
    Ok(machine)
}

/// The layout of `--json`; raised when a field changes its meaning or goes.
const LAYOUT: u32 = 1;

fn report(machine: &Machine, target: Target, findings: &[Finding]) -> Value {
    json!({
        "layout": LAYOUT, "version": env!("CARGO_PKG_VERSION"), "target": target,
        "is_fine": !findings.iter().any(Finding::stops), "checks": findings, "machine": machine,
    })
}

fn name(target: Target) -> &'static str {
    match target {
        Target::Gpu => "gpu",
        Target::CpuBackend => "cpu",
    }
}

/// The table, what is wrong with the target, and in a word how the other target is.
fn tell((target, served): (Target, Target), findings: &[Finding], others: &[Finding]) {
    let (counted, idle): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| finding.counts);
    tell_table(&counted);
    if !idle.is_empty() {
        println!("\nFor a graphics card, which faces here are not drawn with:\n");
        tell_table(&idle);
    }
    counted.into_iter().filter(|finding| is_wrong(finding)).for_each(tell_one);
    println!();
    tell_words("", &summary((target, served), findings));
    let hint = format!("; `visage doctor --for {}` says what to do", name(other(target)));
    let hint = if others.iter().any(Finding::stops) { hint } else { String::new() };
    tell_words("", &format!("{}{hint}", summary((other(target), served), others)));
}

fn tell_table(findings: &[&Finding]) {
    let (unseen, looked): (Vec<&Finding>, Vec<&Finding>) =
        findings.iter().partition(|finding| finding.verdict == Verdict::Unknown);
    let width = looked.iter().map(|finding| finding.id.len()).max().unwrap_or(0).max("CHECK".len());
    println!("VERDICT  {:<width$}  FINDING", "CHECK");
    for finding in looked {
        tell_words(&format!("{:<7}  {:<width$}  ", finding.verdict.name(), finding.id), &finding.finding);
    }
    tell_unseen(&unseen);
}

/// What could not be looked at, for one reason, is one line.
fn tell_unseen(unseen: &[&Finding]) {
    let mut reasons: Vec<&str> = Vec::new();
    for finding in unseen.iter().filter(|finding| finding.verdict == Verdict::Unknown) {
        if !reasons.contains(&finding.finding.as_str()) {
            reasons.push(&finding.finding);
        }
    }
    for reason in reasons {
        let ids = unseen.iter().filter(|finding| finding.finding == reason).map(|finding| finding.id);
        tell_words("unknown  ", &format!("{}: {reason}", ids.collect::<Vec<_>>().join(", ")));
    }
}

fn is_wrong(finding: &Finding) -> bool {
    finding.counts && matches!(finding.verdict, Verdict::Warn | Verdict::Fail)
}

fn tell_one(finding: &Finding) {
    println!();
    let lead = format!("{}: ", finding.verdict.name());
    tell_words(&lead, &format!("{} ({}): {}", finding.id, finding.looks_at, finding.finding));
    if let Some(cause) = &finding.cause {
        tell_words("cause: ", cause);
    }
    if let Some(remedy) = &finding.remedy {
        tell_words("hint:  ", &remedy.says);
        remedy.types.iter().for_each(|line| println!("       {line}"));
    }
}

fn summary((target, served): (Target, Target), findings: &[Finding]) -> String {
    let stops: Vec<&str> = findings.iter().filter(|finding| finding.stops()).map(|finding| finding.id).collect();
    let name = name(target);
    let served = if target == served { ", which serve draws with here" } else { "" };
    if stops.is_empty() {
        format!("{name}{served}: fine")
    } else {
        format!("{name}{served}: does not work: {}", stops.join(", "))
    }
}

/// Lines for a shell, each under a comment that says what it is for.
fn tell_what_to_type(target: Target, findings: &[Finding]) {
    let mut wrong = findings.iter().filter(|finding| is_wrong(finding)).peekable();
    if wrong.peek().is_none() {
        println!("# {}: nothing is wrong", name(target));
    }
    for (finding, remedy) in wrong.filter_map(|finding| Some((finding, finding.remedy.as_ref()?))) {
        println!("# {}: {}: {}", finding.id, finding.finding, remedy.says);
        remedy.types.iter().for_each(|line| println!("{line}"));
    }
}

fn explained(text: &str, machine: &Machine) -> Result<Vec<Explained>, CliError> {
    let explained = symptoms::explain(text, machine);
    if !explained.is_empty() {
        return Ok(explained);
    }
    let known = symptoms::all().map(|symptom| symptom.id).collect::<Vec<_>>().join(", ");
    let found: String = text.trim().chars().take(COLUMNS).collect();
    Err(CliError::said(
        format!("wanted an error or a sight that doctor knows, found \"{found}\""),
        format!(
            "paste the line with the error, its code alone, or one of: {known}; without --explain everything is looked at"
        ),
    ))
}

fn tell_causes(wanted: &DoctorFlags, symptoms: &[Explained]) {
    if wanted.json {
        println!("{}", json!({ "layout": LAYOUT, "version": env!("CARGO_PKG_VERSION"), "symptoms": symptoms }));
        return;
    }
    for symptom in symptoms {
        tell_words("", &format!("{}: {}", symptom.id, symptom.title));
        symptom.causes.iter().enumerate().for_each(|(at, cause)| tell_cause(at + 1, cause));
    }
}

fn tell_cause(number: usize, cause: &RankedCause) {
    let (word, lead) = match cause.here {
        Here::Yes => ("seen here", "found: "),
        Here::Unknown => ("this machine does not tell", "to tell: "),
        Here::No => ("not here", "found: "),
    };
    println!();
    tell_words(&format!("{number}. "), &format!("{} ({word})", cause.cause));
    tell_words(&format!("   {lead}"), &cause.because);
    tell_words("   hint: ", &cause.remedy.says);
    cause.remedy.types.iter().for_each(|line| println!("         {line}"));
}
