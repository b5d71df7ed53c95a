//! A GPU that heats up, fills up and stops answering: admission and what the API reports, with invented readings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use visage::gpu_load::{DeviceCounts, GpuReading, GpuRequirement};
use visage::model::portrait::Portrait;
use visage::model::{Animator, AvatarInfo, ModelError, Pack, Still};
use visage::session::GpuMonitor;
use visage::time::Wall;

use super::{TestServer, document, exposition, offer, portrait, schema, server, server_with};

const GB: u64 = 1_000_000_000;

/// A pack that says that it draws on a card.
struct OnCard(Portrait);

impl Pack for OnCard {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.0.avatars()
    }

    fn gpu(&self) -> Option<GpuRequirement> {
        Some(GpuRequirement { bus_address: None, index: 1, session_bytes: GB })
    }

    fn device_counts(&self) -> Option<DeviceCounts> {
        Some(DeviceCounts { steps: 400, runs: 120, replays: 119, kernels: 800, ..DeviceCounts::default() })
    }

    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        self.0.animator(avatar, side_px)
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.0.still(avatar, side_px)
    }
}

/// A server of four sessions, and a second GPU with invented readings, once a second.
struct Warm {
    server: TestServer,
    watcher: GpuMonitor,
    now: Instant,
}

impl Warm {
    fn new() -> Self {
        let server = server_with(Arc::new(OnCard(portrait())), 4, None, 128);
        let now = Wall.now();
        Self { watcher: server.sessions.gpu().monitor(now), server, now }
    }

    fn read(&mut self, temperature_c: u32, free_bytes: u64) {
        self.now += Duration::from_secs(1);
        let idle = GpuReading { name: "A \"small\" card".into(), temperature_c: Some(30), ..GpuReading::default() };
        let own = GpuReading {
            index: 1,
            name: "A card".into(),
            temperature_c: Some(temperature_c),
            memory_bytes: Some(24 * GB),
            memory_used_bytes: Some(24 * GB - free_bytes),
            memory_free_bytes: Some(free_bytes),
            utilization_percent: Some(71),
            power_w: Some(312.5),
            sm_clock_mhz: Some(1980),
            throttle_reasons: if temperature_c > 80 { vec!["sw_thermal_slowdown".into()] } else { Vec::new() },
            encoder_sessions: Some(0),
            ..GpuReading::default()
        };
        self.watcher.on_reading(vec![idle, own], self.now);
    }

    fn hold(&mut self, temperature_c: u32, seconds: u32) {
        (0..seconds).for_each(|_| self.read(temperature_c, 20 * GB));
    }

    /// Tries to join: the status, when to come back, and what was said.
    async fn join(&self) -> (StatusCode, Option<String>, Value) {
        let request = self.server.ask(Method::POST, "/v1/sessions").header("content-type", "application/sdp");
        let response = request.body(offer()).send().await.expect("an answer");
        let again = response.headers().get("retry-after").map(|value| value.to_str().expect("text").to_owned());
        let status = response.status();
        (status, again, serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default())
    }

    async fn get(&self, path: &str) -> String {
        self.server.ask(Method::GET, path).send().await.expect("an answer").text().await.expect("text")
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_gpu_reduces_capacity_and_restores_it_when_it_has_cooled() {
    let mut warm = Warm::new();
    warm.hold(60, 2);
    for _ in 0..3 {
        assert_eq!(warm.join().await.0, StatusCode::CREATED);
    }
    warm.hold(86, 11);
    let (status, again, problem) = warm.join().await;
    assert_eq!((status, again.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, Some("60")), "{problem}");
    let detail = "the GPU is at 86 °C after being too hot and leaves 3 of 4 session slots, all in use";
    assert_eq!(problem["detail"], detail);
    let ready = json!({ "ready": false, "reasons": [detail] });
    assert_eq!(warm.json("/readyz").await, ready);
    assert_eq!(warm.json("/v1/gpus").await["admission"]["capacity"], 3);
    // Nobody is sent away; who leaves makes room for nobody while it is still hot.
    warm.hold(86, 10);
    assert_eq!(warm.server.sessions.registry().count(), 3);
    let first = warm.server.sessions.registry().list(Wall.now())[0].id.clone();
    warm.server.sessions.end(&first, visage::session::EndReason::Deleted);
    assert_eq!(warm.join().await.0, StatusCode::SERVICE_UNAVAILABLE);
    let metrics = warm.get("/metrics").await;
    for line in [
        "visage_gpu_capacity 2",
        "visage_gpu_steps_total 400",
        "visage_gpu_replays_total 119",
        "visage_gpu_kernels_total 800",
        "visage_gpu_loop_stalls_total 0",
        "visage_gpu_changes_total{change=\"lowered\"} 2",
        "visage_sessions_refused_total{reason=\"gpu_hot\"} 2",
        "visage_gpu_temperature_celsius{gpu=\"1\"} 86",
        "visage_gpu_memory_free_bytes{gpu=\"1\"} 20000000000",
        "visage_gpu_throttled{gpu=\"1\",reason=\"sw_thermal_slowdown\"} 1",
    ] {
        assert!(metrics.contains(&format!("{line}\n")), "{line} in\n{metrics}");
    }
    warm.hold(70, 122);
    assert_eq!(warm.join().await.0, StatusCode::CREATED);
    assert_eq!(warm.json("/readyz").await, json!({ "ready": true, "reasons": [] }));
    warm.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gpu_without_memory_for_one_more_session_admits_none() {
    let mut warm = Warm::new();
    // Two fit, whenever they come between two readings.
    warm.read(60, 2 * GB + GB / 2);
    let joined = [warm.join().await.0, warm.join().await.0, warm.join().await.0];
    assert_eq!(joined, [StatusCode::CREATED, StatusCode::CREATED, StatusCode::SERVICE_UNAVAILABLE]);
    warm.read(60, GB / 2);
    let (_, again, problem) = warm.join().await;
    assert_eq!(again.as_deref(), Some("10"));
    let detail = "one more session needs 1000 MB of GPU memory, 500 MB are free";
    assert_eq!(problem["detail"], detail);
    assert_eq!(warm.json("/readyz").await["reasons"], json!([detail]));
    assert!(warm.get("/metrics").await.contains("visage_sessions_refused_total{reason=\"gpu_memory_full\"} 2\n"));
    (0..3).for_each(|_| warm.read(60, 8 * GB));
    assert_eq!(warm.join().await.0, StatusCode::CREATED);
    warm.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gpu_readings_are_as_described_and_a_silent_gpu_is_in_them() {
    let mut warm = Warm::new();
    warm.hold(60, 1);
    let document = document();
    let faults = |answer: &Value| schema::faults(&document, &json!({ "$ref": "#/components/schemas/Gpus" }), answer);
    let answer = warm.json("/v1/gpus").await;
    assert_eq!(faults(&answer), Vec::<String>::new(), "{answer}");
    assert_eq!(
        (&answer["gpus"][1]["power_w"], &answer["admission"]["additional_sessions"]),
        (&json!(312.5), &json!(20))
    );
    let lost = GpuReading { index: 1, error: Some("a GPU was lost".into()), ..GpuReading::default() };
    for _ in 0..6 {
        warm.now += Duration::from_secs(1);
        warm.watcher.on_reading(vec![lost.clone()], warm.now);
    }
    let answer = warm.json("/v1/gpus").await;
    assert_eq!(faults(&answer), Vec::<String>::new(), "{answer}");
    assert_eq!(answer["gpus"][0]["error"], "a GPU was lost");
    let metrics = warm.get("/metrics").await;
    exposition::read(&metrics);
    assert!(metrics.contains("visage_gpu_up{gpu=\"1\"} 0\n"), "{metrics}");
    assert!(metrics.contains("visage_gpu_changes_total{change=\"silent\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("visage_gpu_temperature_celsius{"), "what is not known is left out: {metrics}");
    warm.server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_cpu_backend_a_hot_gpu_is_reported_and_limits_nothing() {
    let server = server(1, None);
    let begun = Wall.now();
    let mut watcher = server.sessions.gpu().monitor(begun);
    for second in 0..60 {
        let hot = GpuReading { temperature_c: Some(95), memory_free_bytes: Some(0), ..GpuReading::default() };
        watcher.on_reading(vec![hot], begun + Duration::from_secs(second));
    }
    assert_eq!(server.sessions.refusal(), None);
    let seen = server.sessions.gpu().latest().expect("a reading");
    assert_eq!((seen.readings[0].temperature_c, seen.allowance), (Some(95), None));
    server.close().await;
}
