//! The result: a short table for people, JSON with stable names for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::measure::FrameTally;
use super::procfs::Machine;
use super::signed_percentiles::SignedPercentiles;
use crate::telemetry::{Percentiles, Stage, StepTimes};

/// Result of a benchmark. Names in JSON are stable; new ones may be added. Aliases read older results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchReport {
    /// Machine of clients and server.
    pub machine: Machine,
    /// Answer to `GET /v1/server`.
    pub server: serde_json::Value,
    /// Callers at once.
    pub sessions: usize,
    /// Length of the measured interval.
    pub seconds: f64,
    /// Frame counts of all clients.
    pub frames: FrameTally,
    /// Freezes of all clients.
    pub freezes: u64,
    /// Total duration of the freezes.
    pub frozen_ms: f64,
    /// End-to-end latency: from sending the audio packet that holds a frame's instant to receiving the frame.
    pub voice_to_frame_ms: Percentiles,
    /// The server's share of it, measured by the server.
    pub server_share_ms: Percentiles,
    /// Arrival of a frame minus arrival of the audio of the same instant; positive: the audio is early.
    pub av_offset_ms: SignedPercentiles,
    /// Share of the frames with an offset from -40 to +20 ms.
    pub av_within_ratio: f64,
    /// Difference between the sender reports and the common time base of audio and video.
    pub report_skew_ms: Option<f64>,
    /// Lateness of the frames against a timeline of one frame every 40 ms.
    pub lateness_ms: Percentiles,
    /// Interruption latency: from the request to the last audio or video of the utterance.
    pub stop_ms: Percentiles,
    /// Interruption latency of the audio.
    #[serde(alias = "stop_voice_ms")]
    pub stop_audio_ms: Percentiles,
    /// Interruption latency of the video.
    #[serde(alias = "stop_picture_ms")]
    pub stop_video_ms: Percentiles,
    /// RTP time of the first frame in which the mouth moves minus RTP time of the sound's onset; negative: the mouth is early.
    pub lip_lag_ms: Option<SignedPercentiles>,
    /// Time that frames spend in each stage of the server, as `<name>_ms`.
    pub stages: BTreeMap<String, Percentiles>,
    /// The same for blocks of 20 ms of audio; `queue_ms` is the wait for the frame of the same instant.
    #[serde(default)]
    pub voice_stages: BTreeMap<String, Percentiles>,
    /// GPU time of uploads, inference and downloads, by CUDA events. Empty on the CPU backend.
    pub gpu: BTreeMap<String, Percentiles>,
    /// Markers sent and detected.
    pub markers: MarkerCount,
    /// Number of changes of the audio delay.
    #[serde(alias = "slips")]
    pub delay_changes: u64,
    /// Network metrics, measured by the clients.
    #[serde(alias = "wire")]
    pub network: NetworkMetrics,
    /// Processor time and memory.
    pub cost: Cost,
    /// Sessions that start and end.
    pub churn: Option<Churn>,
    /// Steps of a ramp.
    pub ramp: Vec<RampStep>,
    /// Reasons to distrust the result.
    pub warnings: Vec<String>,
}

/// Markers in the speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct MarkerCount {
    pub sent: u64,
    pub found: u64,
}

/// Network metrics, averaged over the clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NetworkMetrics {
    #[serde(alias = "voice_jitter_ms")]
    pub audio_jitter_ms: f64,
    pub frame_jitter_ms: f64,
    pub video_bps: f64,
    /// Delay of the clients' own packets against their schedule.
    #[serde(alias = "caller_lateness_ms")]
    pub client_lateness_ms: Percentiles,
}

/// Resources used by server and clients; zero if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Cores used by the server.
    pub server_cores: f64,
    /// Cores used by the clients.
    #[serde(alias = "caller_cores")]
    pub client_cores: f64,
    /// Memory of the server before the first session, in megabytes.
    pub idle_mb: f64,
    /// Memory added per session, in megabytes.
    pub per_session_mb: f64,
    /// Threads of the server during the measurement.
    pub threads: u64,
}

/// Sessions that start and end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// Sessions that connected and received a frame.
    pub joined: usize,
    /// Sessions that failed.
    pub failed: usize,
    /// Error of the first that failed.
    pub first_failure: Option<String>,
    /// Memory after 16 warm-up sessions, in megabytes.
    pub before_mb: f64,
    /// Memory at the end, in megabytes.
    pub after_mb: f64,
    /// Threads after the warm-up.
    pub threads_before: u64,
    /// Threads at the end.
    pub threads_after: u64,
    /// Sessions that the server still counts at the end.
    #[serde(alias = "left_over")]
    pub leaked_sessions: u64,
    /// Connection time: from the offer to the connected call.
    pub join_ms: Percentiles,
}

/// A step of a ramp.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct RampStep {
    pub sessions: usize,
    pub on_time_ratio: f64,
    pub lateness_p95_ms: f64,
    pub voice_to_frame_p95_ms: f64,
    pub server_cores: f64,
    #[serde(alias = "caller_cores")]
    pub client_cores: f64,
    #[serde(alias = "holds")]
    pub passes: bool,
    /// Rules that the step violates.
    #[serde(alias = "breaks")]
    pub failures: Vec<String>,
}

impl BenchReport {
    /// The result as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain numbers and names")
    }

    /// The result as a table for a terminal of 80 columns.
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
            line(&mut out, "  ! these numbers are unreliable: measure again on a quiet machine");
        }
        out
    }

    fn headline(&self, out: &mut String) {
        let info = |name: &str| self.server[name].as_str().unwrap_or("?").to_owned();
        let codecs = self.server["video_codecs"].as_array().into_iter().flatten().filter_map(|name| name.as_str());
        let codecs = codecs.collect::<Vec<_>>().join(", ");
        let what = if self.ramp.is_empty() { sessions(self.sessions) } else { "ramp, each step".to_owned() };
        line(out, &format!("{what}, {:.0} s, {} on {}, {}", self.seconds, info("pack"), info("backend"), codecs));
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
        // The first stage is the origin of the times.
        for name in Stage::ALL.into_iter().skip(1).map(Stage::name) {
            stage(name).into_iter().for_each(|spans| row(out, &format!("  {name}").replace('_', " "), spans));
            if name == Stage::Inferred.name() {
                self.gpu_steps(out);
            }
        }
        for name in ["jitter_buffer", "queue", "encode", "send"] {
            let spans = self.voice_stages.get(&format!("{name}_ms"));
            spans.into_iter().for_each(|spans| row(out, &format!("  audio: {name}").replace('_', " "), spans));
        }
        let s = self.av_offset_ms;
        row(out, "video after audio", &s.upper());
        if self.stop_ms.n > 0 {
            row(out, "stop to last frame", &self.stop_video_ms);
            row(out, "stop to last audio", &self.stop_audio_ms);
        }
        if let Some(s) = self.lip_lag_ms {
            row(out, "lips after audio", &s.upper());
        }
        out.push('\n');
    }

    fn gpu_steps(&self, out: &mut String) {
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
                "  a/v sync  {:.2} % of frames within +20/-40 ms; {} of {} markers detected",
                100.0 * self.av_within_ratio,
                self.markers.found,
                self.markers.sent
            ),
        );
        let c = self.cost;
        line(
            out,
            &format!(
                "  cost      server {:.3} cores, clients {:.3}; {:.0} MB idle + {:.1} MB per session, {} threads",
                c.server_cores, c.client_cores, c.idle_mb, c.per_session_mb, c.threads
            ),
        );
    }

    fn extras(&self, out: &mut String) {
        if let Some(c) = &self.churn {
            line(
                out,
                &format!(
                    "  churn     {} connected ({} failed) in {:.0} ms (p95 {:.0}); {} sessions leaked",
                    c.joined, c.failed, c.join_ms.p50, c.join_ms.p95, c.leaked_sessions
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
            c.first_failure.iter().for_each(|why| line(out, &format!("            first failure: {why}")));
        }
    }

    /// The steps of a ramp and the capacity that they result in.
    fn steps(&self, out: &mut String) {
        let Some(last) = self.ramp.last() else { return };
        line(out, "  sessions   on time   late p95 latency p95   server cores   client cores");
        for s in &self.ramp {
            let mut text = format!("  {:>8}", s.sessions);
            if s.client_cores > 0.0 || s.on_time_ratio > 0.0 {
                let (late, latency) = (s.lateness_p95_ms, s.voice_to_frame_p95_ms);
                let (on_time, server, clients) = (100.0 * s.on_time_ratio, s.server_cores, s.client_cores);
                let _ =
                    write!(text, " {on_time:>7.2} % {late:>7.1} ms {latency:>8.1} ms {server:>14.2} {clients:>14.2}");
            }
            if !s.passes {
                let _ = write!(text, "   fails: {}", s.failures.join(", "));
            }
            line(out, &text);
        }
        let most = self.ramp.iter().filter(|s| s.passes).map(|s| s.sessions).max();
        let capacity = match most {
            None => "capacity: less than 1 session; the table below is the first step".to_owned(),
            Some(most) if last.passes => format!("capacity: at least {} (the last step tried)", sessions(most)),
            Some(most) => format!("capacity: {}", sessions(most)),
        };
        line(out, &format!("\n{capacity}\n"));
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
    fn the_stable_names_are_in_the_json() {
        let mut report = BenchReport::default();
        report.stages.insert("render_ms".into(), Percentiles::default());
        report.voice_stages.insert("encode_ms".into(), Percentiles::default());
        report.gpu.insert("compute_ms".into(), Percentiles::default());
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("json");
        for path in
            ["/machine", "/sessions", "/frames/due", "/frames/on_time", "/frames/late", "/frames/dropped", "/freezes"]
        {
            assert!(json.pointer(path).is_some(), "{path}");
        }
        let spans = ["voice_to_frame_ms", "server_share_ms", "av_offset_ms", "stop_ms"];
        for name in spans.into_iter().chain(["stages/render_ms", "voice_stages/encode_ms", "gpu/compute_ms"]) {
            for part in ["n", "p50", "p90", "p95", "p99", "max"] {
                assert!(json.pointer(&format!("/{name}/{part}")).is_some(), "{name} {part}");
            }
        }
        assert_eq!(serde_json::from_str::<BenchReport>(&report.json()).expect("reads its own output"), report);
    }

    #[test]
    fn gpu_steps_are_listed_below_the_model_stage_and_only_with_a_gpu() {
        let mut report =
            BenchReport { frames: FrameTally { due: 1, ..FrameTally::default() }, ..BenchReport::default() };
        report.stages.insert("inference_ms".into(), Percentiles::default());
        report.stages.insert("render_ms".into(), Percentiles::default());
        let names = |report: &BenchReport| {
            let table = report.table();
            let rows = table.lines().filter(|line| line.starts_with("  ") && line.ends_with('0'));
            rows.map(|line| line[..20].trim_end().to_owned()).collect::<Vec<_>>()
        };
        let rows = names(&report);
        let model = rows.iter().position(|name| name == "    inference").expect("a row");
        assert_eq!(rows[model + 1], "    render");
        report.gpu = StepTimes::NAMES.map(|part| (format!("{part}_ms"), Percentiles::default())).into();
        assert_eq!(names(&report)[model + 1..][..4], ["      upload", "      compute", "      download", "    render"]);
    }

    #[test]
    fn a_ramp_reports_its_capacity_and_why_the_next_step_fails() {
        let good = |sessions| RampStep { sessions, on_time_ratio: 1.0, passes: true, ..RampStep::default() };
        let bad = RampStep { sessions: 3, on_time_ratio: 0.9, failures: vec!["late".into()], ..RampStep::default() };
        let table = |ramp: Vec<RampStep>| BenchReport { ramp, ..BenchReport::default() }.table();
        let failed = table(vec![good(1), good(2), bad.clone()]);
        assert!(failed.contains("capacity: 2 sessions\n") && failed.contains("fails: late"), "{failed}");
        assert!(table(vec![good(1)]).contains("capacity: at least 1 session (the last step tried)"));
        assert!(table(vec![RampStep { sessions: 1, ..bad }]).contains("capacity: less than 1 session"));
    }
}
