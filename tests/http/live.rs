//! Connected sessions: options change what is sent, and what is sent appears in the statistics.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::{TestServer, document, exposition, offer, response_of, schema, server_of_size};

const LIMIT: Duration = Duration::from_secs(20);

async fn metrics(server: &TestServer) -> BTreeMap<String, exposition::Family> {
    let response = server.ask(Method::GET, "/metrics").send().await.expect("an answer");
    exposition::read(&response.text().await.expect("text"))
}

/// The value of a series with these labels, if there is one.
fn value(page: &BTreeMap<String, exposition::Family>, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted = labels.iter().map(|&(name, of)| (name.to_owned(), of.to_owned())).collect();
    let samples = &page.get(family)?.samples;
    samples.iter().find(|(name, labels, _)| name == family && *labels == wanted).map(|(_, _, value)| *value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_change_what_is_sent_and_statistics_show_a_live_session() {
    let server = server_of_size(2, None, 512);
    let options = json!({ "resolution_px": 256, "bitrate_bps": 400_000, "audio": false });
    let (mut held, mut free) = (Call::join(&server, options.clone()).await, Call::join(&server, Value::Null).await);
    // Two seconds: statistics of network and playout are updated once a second.
    let enough = |call: &Call| call.frames.len() >= 60;
    let lived = tokio::join!(held.live(LIMIT, enough), free.live(LIMIT, enough));
    assert_eq!(lived, (true, true), "{} and {} frames", held.frames.len(), free.frames.len());
    assert_eq!((held.width_px(), free.width_px()), (256, 512));
    assert!(
        held.audio_packets == 0 && free.audio_packets > 50,
        "{} and {} audio packets",
        held.audio_packets,
        free.audio_packets
    );
    let page = metrics(&server).await;

    let (_, session) = response_of(server.ask(Method::GET, &held.location)).await;
    assert_eq!(session["options"], options);
    let (_, stats) = response_of(server.ask(Method::GET, &format!("{}/stats", held.location))).await;
    assert_eq!(stats["quality"]["resolution_px"], 256, "{stats}");
    assert!(stats["quality"]["bitrate_bps"].as_u64().is_some_and(|bps| bps <= 400_000), "{stats}");
    let (_, stats) = response_of(server.ask(Method::GET, &format!("{}/stats", free.location))).await;
    assert!(stats["quality"]["bitrate_bps"].as_u64().is_some_and(|bps| bps > 400_000), "{stats}");
    let document = document();
    let faults = schema::faults(&document, &document["components"]["schemas"]["Stats"], &stats);
    assert!(faults.is_empty(), "{faults:#?}");
    for number in ["rtt_ms", "egress_loss_ratio", "bandwidth_estimate_bps", "sent_bps", "sent_bytes", "received_bytes"]
    {
        assert!(stats["network"][number].is_number(), "{number} in {stats}");
    }
    assert!(stats["jitter_buffer_ms"].as_f64().is_some_and(|depth| depth > 0.0), "{stats}");

    for family in [
        "visage_sent_bytes_total",
        "visage_received_bytes_total",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_threads",
        "process_open_fds",
    ] {
        assert!(value(&page, family, &[]).is_some_and(|found| found > 0.0), "{family} in {page:#?}");
    }
    for family in [
        "visage_session_sent_bytes_per_second",
        "visage_session_bandwidth_estimate_bytes_per_second",
        "visage_session_encoder_target_bytes_per_second",
        "visage_session_rtt_seconds",
        "visage_session_jitter_buffer_seconds",
    ] {
        let of =
            |stat: &str| value(&page, family, &[("stat", stat)]).unwrap_or_else(|| panic!("{family} in {page:#?}"));
        assert!(of("min") <= of("median") && of("median") <= of("max") && of("max") > 0.0, "{family} in {page:#?}");
    }
    // Over loopback nothing is lost and the clocks agree: only the presence of the values is checked.
    for family in
        ["visage_session_egress_loss_ratio", "visage_session_audio_concealed_ratio", "visage_session_clock_drift_ratio"]
    {
        assert!(value(&page, family, &[("stat", "max")]).is_some(), "{family} in {page:#?}");
    }

    let swap_avatar = server.ask(Method::PATCH, &held.location).json(&json!({ "avatar": "mira" }));
    assert_eq!(response_of(swap_avatar).await.0, StatusCode::OK);
    let before = held.frames.len();
    assert!(held.live(LIMIT, |call| call.frames.len() > before + 10).await);
    assert_eq!(held.width_px(), 256, "another avatar keeps the options");
    assert_eq!(response_of(server.ask(Method::DELETE, &held.location)).await.0, StatusCode::NO_CONTENT);
    let page = metrics(&server).await;
    assert_eq!(value(&page, "visage_sessions_ended_total", &[("reason", "deleted")]), Some(1.0));
    assert_eq!(value(&page, "visage_sessions", &[]), Some(1.0));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_of_a_session_never_exceed_those_of_the_server() {
    let server = server_of_size(1, None, 128);
    let body = json!({ "sdp": offer(), "options": { "resolution_px": 512 } });
    let (_, joined) = response_of(server.ask(Method::POST, "/v1/sessions").json(&body)).await;
    let (_, session) = response_of(server.ask(Method::GET, joined["location"].as_str().expect("a location"))).await;
    assert_eq!(session["options"], json!({ "resolution_px": 128, "bitrate_bps": null, "audio": true }));
    server.close().await;
}
