//! The result: a short table for people, stable names for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::measure::FrameTally;
use super::procfs::Machine;
use super::signed_percentiles::SignedPercentiles;
use crate::telemetry::{Percentiles, Stage, StepTimes};

/// The result of a bench. The names in JSON stay as they are; new ones may come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchReport {
    /// The machine.
    pub machine: Machine,
    /// What the server said it is (`GET /v1/server`).
    pub server: serde_json::Value,
    /// Callers at once.
    pub sessions: usize,
    /// Seconds that counted.
    pub seconds: f64,
    /// Frames of all callers.
    pub frames: FrameTally,
    /// Freezes of all callers.
    pub freezes: u64,
    /// Their length in all.
    pub frozen_ms: f64,
    /// From the packet of voice with a frame's moment leaving the caller to the frame being back.
    pub voice_to_frame_ms: Percentiles,
    /// The server's own share, measured by the server.
    pub server_share_ms: Percentiles,
    /// Arrival of the picture minus arrival of the voice of the same moment; positive: the voice is early.
    pub av_offset_ms: SignedPercentiles,
    /// Share of frames with an offset from -40 to +20 ms.
    pub av_within_ratio: f64,
    /// Disagreement of the sender reports with the streams' common line.
    pub report_skew_ms: Option<f64>,
    /// Lateness of frames against their timeline.
    pub lateness_ms: Percentiles,
    /// From asking to stop to the last of the old utterance, heard or seen.
    pub stop_ms: Percentiles,
    /// The part of that which is heard.
    pub stop_voice_ms: Percentiles,
    /// The part of that which is seen.
    pub stop_picture_ms: Percentiles,
    /// Moment of the first frame in which the mouth moves minus moment of the sound's onset; negative: the mouth is early.
    pub lip_lag_ms: Option<SignedPercentiles>,
    /// Time of a frame in each stage inside the server, as `<name>_ms`.
    pub stages: BTreeMap<String, Percentiles>,
    /// The same of 20 ms of voice; `queue_ms` is the wait for the picture of its moment.
    #[serde(default)]
    pub voice_stages: BTreeMap<String, Percentiles>,
    /// Time on the card of the network's steps, by the card's own clock: copies up, runs, copies down. Empty on a processor.
    pub gpu: BTreeMap<String, Percentiles>,
    /// Markers sent and found.
    pub markers: MarkerCount,
    /// How often the delay of the voice changed.
    pub slips: u64,
    /// The wire, seen by the callers.
    pub wire: Wire,
    /// What it cost.
    pub cost: Cost,
    /// Callers that came and went.
    pub churn: Option<Churn>,
    /// The steps of a ramp.
    pub ramp: Vec<RampStep>,
    /// Why the numbers should not be trusted.
    pub warnings: Vec<String>,
}

/// Markers in the voice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MarkerCount {
    pub sent: u64,
    pub found: u64,
}

/// Numbers of the wire: means over the callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Wire {
    pub voice_jitter_ms: f64,
    pub frame_jitter_ms: f64,
    pub video_bps: f64,
    /// Lateness of the callers' own packets.
    pub caller_lateness_ms: Percentiles,
}

/// What server and callers used; zero where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Cores that the server kept busy.
    pub server_cores: f64,
    /// Cores that the callers kept busy.
    pub caller_cores: f64,
    /// Memory of the server before the first call, in megabytes.
    pub idle_mb: f64,
    /// Memory that each session added, in megabytes.
    pub per_session_mb: f64,
    /// Threads of the server in the run.
    pub threads: u64,
}

/// Callers that came and went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// How many.
    pub joined: usize,
    /// How many did not come to stand.
    pub failed: usize,
    /// Why the first of these did not.
    pub first_failure: Option<String>,
    /// Memory after sixteen calls that warmed the allocator up, in megabytes.
    pub before_mb: f64,
    /// Memory afterwards.
    pub after_mb: f64,
    /// Threads before.
    pub threads_before: u64,
    /// Threads afterwards.
    pub threads_after: u64,
    /// Sessions that the server still counts afterwards.
    pub left_over: u64,
    /// From the offer to a call that stands.
    pub join_ms: Percentiles,
}

/// One step of a ramp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RampStep {
    pub sessions: usize,
    pub on_time_ratio: f64,
    pub lateness_p95_ms: f64,
    pub voice_to_frame_p95_ms: f64,
    pub server_cores: f64,
    pub caller_cores: f64,
    pub holds: bool,
    /// Why it does not hold.
    pub breaks: Vec<String>,
}

impl BenchReport {
    /// The result as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain numbers and names")
    }

    /// The result as a table of a terminal's width.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        self.headline(&mut out);
        self.steps(&mut out);
        if self.frames.due > 0 {
            self.delays(&mut out);
            self.health(&mut out);
        }
        self.extras(&mut out);
        self.warnings.iter().for_each(|warning| line(&mut out, &format!("  ! {warning}")));
        if !self.warnings.is_empty() {
            line(&mut out, "  ! measure again when the machine is quiet before you trust these numbers");
        }
        out
    }

    fn headline(&self, out: &mut String) {
        let said = |name: &str| self.server[name].as_str().unwrap_or("?").to_owned();
        let what = if self.ramp.is_empty() { sessions(self.sessions) } else { "ramp, each step".to_owned() };
        line(
            out,
            &format!("{what}, {:.0} s, {} on {}, {}", self.seconds, said("pack"), said("backend"), said("codec")),
        );
        line(
            out,
            &format!(
                "{}, {} cores, {} MB, Linux {}\n",
                self.machine.cpu, self.machine.cores, self.machine.memory_mb, self.machine.kernel
            ),
        );
    }

    fn delays(&self, out: &mut String) {
        line(
            out,
            &format!("  {:<26}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}", "milliseconds", "p50", "p90", "p95", "p99", "max", "n"),
        );
        row(out, "voice to frame", &self.voice_to_frame_ms);
        row(out, "server's own share", &self.server_share_ms);
        let stage = |name: &str| self.stages.get(&format!("{name}_ms"));
        // The first stage is where the time begins: nothing was done before it.
        for name in Stage::ALL.into_iter().skip(1).map(Stage::name) {
            stage(name).into_iter().for_each(|spans| row(out, &format!("  {name}").replace('_', " "), spans));
            if name == Stage::Inferred.name() {
                self.on_the_card(out);
            }
        }
        for name in ["jitter_buffer", "queue", "encode", "send"] {
            let spans = self.voice_stages.get(&format!("{name}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("  voice: {name}").replace('_', " "), spans));
        }
        let s = self.av_offset_ms;
        row(out, "picture after voice", &s.upper());
        if self.stop_ms.n > 0 {
            row(out, "stop to last old frame", &self.stop_picture_ms);
            row(out, "stop to last old sound", &self.stop_voice_ms);
        }
        if let Some(s) = self.lip_lag_ms {
            row(out, "lips after sound", &s.upper());
        }
        out.push('\n');
    }

    fn on_the_card(&self, out: &mut String) {
        for part in StepTimes::NAMES {
            let spans = self.gpu.get(&format!("{part}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("    {part}"), spans));
        }
    }

    fn health(&self, out: &mut String) {
        let f = self.frames;
        let share = 100.0 * f.on_time as f64 / f.due.max(1) as f64;
        line(
            out,
            &format!(
                "  frames    {} due, {} on time ({share:.2} %), {} late, {} dropped; {} freezes",
                f.due, f.on_time, f.late, f.dropped, self.freezes
            ),
        );
        line(
            out,
            &format!(
                "  in step   {:.2} % of frames within +20/-40 ms; {} of {} markers found",
                100.0 * self.av_within_ratio,
                self.markers.found,
                self.markers.sent
            ),
        );
        let c = self.cost;
        line(
            out,
            &format!(
                "  cost      server {:.3} cores, callers {:.3}; {:.0} MB idle + {:.1} MB a session, {} threads",
                c.server_cores, c.caller_cores, c.idle_mb, c.per_session_mb, c.threads
            ),
        );
    }

    fn extras(&self, out: &mut String) {
        if let Some(c) = &self.churn {
            line(
                out,
                &format!(
                    "  churn     {} joined ({} failed), connected in {:.0} ms (p95 {:.0}); {} sessions left",
                    c.joined, c.failed, c.join_ms.p50, c.join_ms.p95, c.left_over
                ),
            );
            line(
                out,
                &format!(
                    "            memory {:.1} -> {:.1} MB ({:+.1} %), threads {} -> {}",
                    c.before_mb,
                    c.after_mb,
                    100.0 * (c.after_mb / c.before_mb.max(1e-9) - 1.0),
                    c.threads_before,
                    c.threads_after
                ),
            );
            c.first_failure.iter().for_each(|why| line(out, &format!("            the first that failed: {why}")));
        }
    }

    /// The steps of a ramp, what they come to, and which of them the rest of the table is about.
    fn steps(&self, out: &mut String) {
        let Some(last) = self.ramp.last() else { return };
        line(out, "  sessions   on time   late p95   delay p95   server cores   caller cores");
        for s in &self.ramp {
            let mut text = format!("  {:>8}", s.sessions);
            if s.caller_cores > 0.0 || s.on_time_ratio > 0.0 {
                let (late, delay) = (s.lateness_p95_ms, s.voice_to_frame_p95_ms);
                let (on_time, server, callers) = (100.0 * s.on_time_ratio, s.server_cores, s.caller_cores);
                let _ = write!(text, " {on_time:>7.2} % {late:>7.1} ms {delay:>8.1} ms {server:>14.2} {callers:>14.2}");
            }
            if !s.holds {
                let _ = write!(text, "   breaks: {}", s.breaks.join(", "));
            }
            line(out, &text);
        }
        let most = self.ramp.iter().filter(|s| s.holds).map(|s| s.sessions).max();
        let told = match most {
            None => "not even one session fits; this is how it went".to_owned(),
            Some(most) if last.holds => format!("most that fit: {}, and no more were tried", sessions(most)),
            Some(most) => format!("most that fit: {}", sessions(most)),
        };
        line(out, &format!("\n{told}\n"));
    }
}

fn sessions(count: usize) -> String {
    format!("{count} session{}", if count == 1 { "" } else { "s" })
}

fn line(out: &mut String, text: &str) {
    // Writing into a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn row(out: &mut String, name: &str, p: &Percentiles) {
    line(out, &format!("  {name:<26}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>8.1}{:>8}", p.p50, p.p90, p.p95, p.p99, p.max, p.n));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_others_build_on_are_there() {
        let mut report = BenchReport::default();
        report.stages.insert("draw_ms".into(), Percentiles::default());
        report.voice_stages.insert("encode_ms".into(), Percentiles::default());
        report.gpu.insert("run_ms".into(), Percentiles::default());
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("json");
        for path in
            ["/machine", "/sessions", "/frames/due", "/frames/on_time", "/frames/late", "/frames/dropped", "/freezes"]
        {
            assert!(json.pointer(path).is_some(), "{path}");
        }
        let spans = ["voice_to_frame_ms", "server_share_ms", "av_offset_ms", "stop_ms"];
        for name in spans.into_iter().chain(["stages/draw_ms", "voice_stages/encode_ms", "gpu/run_ms"]) {
            for part in ["n", "p50", "p90", "p95", "p99", "max"] {
                assert!(json.pointer(&format!("/{name}/{part}")).is_some(), "{name} {part}");
            }
        }
        assert_eq!(serde_json::from_str::<BenchReport>(&report.json()).expect("back"), report);
    }

    #[test]
    fn what_a_card_took_stands_below_the_model_and_of_a_processor_nothing_does() {
        let mut report =
            BenchReport { frames: FrameTally { due: 1, ..FrameTally::default() }, ..BenchReport::default() };
        report.stages.insert("model_ms".into(), Percentiles::default());
        report.stages.insert("draw_ms".into(), Percentiles::default());
        let names = |report: &BenchReport| {
            let table = report.table();
            let rows = table.lines().filter(|line| line.starts_with("  ") && line.ends_with('0'));
            rows.map(|line| line[..20].trim_end().to_owned()).collect::<Vec<_>>()
        };
        let rows = names(&report);
        let model = rows.iter().position(|name| name == "    model").expect("a row");
        assert_eq!(rows[model + 1], "    draw");
        report.gpu = StepTimes::NAMES.map(|part| (format!("{part}_ms"), Percentiles::default())).into();
        assert_eq!(names(&report)[model + 1..][..4], ["      up", "      run", "      down", "    draw"]);
    }

    #[test]
    fn a_ramp_says_first_how_many_hold_and_why_the_next_does_not() {
        let good = |sessions| RampStep { sessions, on_time_ratio: 1.0, holds: true, ..RampStep::default() };
        let bad = RampStep { sessions: 3, on_time_ratio: 0.9, breaks: vec!["late".into()], ..RampStep::default() };
        let told = |ramp: Vec<RampStep>| BenchReport { ramp, ..BenchReport::default() }.table();
        let broke = told(vec![good(1), good(2), bad.clone()]);
        assert!(broke.contains("most that fit: 2 sessions\n") && broke.contains("breaks: late"), "{broke}");
        assert!(told(vec![good(1)]).contains("most that fit: 1 session, and no more were tried"));
        assert!(told(vec![RampStep { sessions: 1, ..bad }]).contains("not even one session fits"));
    }
}
