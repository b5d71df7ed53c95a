//! The result of a benchmark as JSON with stable names. `table` prints it for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measure::FrameTally;
use super::procfs::Machine;
use super::signed_percentiles::SignedPercentiles;
use super::viewers::ViewersReport;
use crate::telemetry::Percentiles;

/// Result of a benchmark. Names in JSON are stable; new ones may be added. Aliases read older results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchReport {
    /// Machine of clients and server.
    pub machine: Machine,
    /// Answer to `GET /v1/server`.
    pub server: serde_json::Value,
    /// Concurrent sessions.
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
    #[serde(alias = "voice_to_frame_ms")]
    pub audio_to_frame_ms: Percentiles,
    /// The server's part of it without look-ahead and the wait for the frame's turn, measured by the server.
    #[serde(alias = "server_share_ms")]
    pub processing_ms: Percentiles,
    /// Arrival of a frame minus arrival of the audio of the same instant; positive: the audio is early.
    pub av_offset_ms: SignedPercentiles,
    /// Share of the frames with an offset from -40 to +20 ms.
    pub av_within_ratio: f64,
    /// Difference between the sender reports and the common time base of audio and video.
    pub report_skew_ms: Option<f64>,
    /// Lateness of the frames against a timeline of one frame every 40 ms.
    pub lateness_ms: Percentiles,
    /// Interruption latency: from the request to the last audio or video of the utterance.
    #[serde(alias = "stop_ms")]
    pub interruption_ms: Percentiles,
    /// Interruption latency of the audio.
    #[serde(alias = "stop_audio_ms", alias = "stop_voice_ms")]
    pub interruption_audio_ms: Percentiles,
    /// Interruption latency of the video.
    #[serde(alias = "stop_video_ms", alias = "stop_picture_ms")]
    pub interruption_video_ms: Percentiles,
    /// Latency of streamed speech: from sending the first samples to receiving the first audible packet.
    pub speech_to_audio_ms: Percentiles,
    /// RTP time of the first frame in which the mouth moves minus RTP time of the sound's onset; negative: the mouth is early.
    pub lip_lag_ms: Option<SignedPercentiles>,
    /// Time that frames spend in each stage of the server, as `<name>_ms`.
    #[serde(alias = "stages")]
    pub video_stages: BTreeMap<String, Percentiles>,
    /// The same for blocks of 20 ms of audio; `queue_ms` is the wait for the frame of the same instant.
    #[serde(alias = "voice_stages")]
    pub audio_stages: BTreeMap<String, Percentiles>,
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
    /// One session with additional viewers.
    pub viewers: Option<ViewersReport>,
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
    #[serde(alias = "voice_to_frame_p95_ms")]
    pub audio_to_frame_p95_ms: f64,
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
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stable_names_are_in_the_json() {
        let mut report = BenchReport::default();
        report.video_stages.insert("render_ms".into(), Percentiles::default());
        report.audio_stages.insert("encode_ms".into(), Percentiles::default());
        report.gpu.insert("compute_ms".into(), Percentiles::default());
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("json");
        for path in
            ["/machine", "/sessions", "/frames/due", "/frames/on_time", "/frames/late", "/frames/dropped", "/freezes"]
        {
            assert!(json.pointer(path).is_some(), "{path}");
        }
        let spans = ["audio_to_frame_ms", "processing_ms", "av_offset_ms", "interruption_ms", "speech_to_audio_ms"];
        for name in spans.into_iter().chain(["video_stages/render_ms", "audio_stages/encode_ms", "gpu/compute_ms"]) {
            for part in ["n", "p50", "p90", "p95", "p99", "max"] {
                assert!(json.pointer(&format!("/{name}/{part}")).is_some(), "{name} {part}");
            }
        }
        assert_eq!(serde_json::from_str::<BenchReport>(&report.json()).expect("reads its own output"), report);
    }

    #[test]
    fn results_of_older_versions_are_read() {
        let ms = |n: u64| json!({ "n": n, "p50": 1.0, "p90": 1.0, "p95": 2.0, "p99": 2.0, "max": 3.0 });
        let old = json!({ "voice_to_frame_ms": ms(1), "stop_ms": ms(2), "stages": { "draw_ms": ms(3) } });
        let report: BenchReport = serde_json::from_value(old).expect("a report");
        assert_eq!((report.audio_to_frame_ms.p95, report.interruption_ms.n), (2.0, 2));
        assert_eq!(report.video_stages["draw_ms"].n, 3);
    }
}
