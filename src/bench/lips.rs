//! Lag of the lips behind the audio, measured in decoded video: validates the RTP timestamps that all other metrics rely on.

use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::calls::{check, hold};
use super::client::{Client, ClientPlan, Payloads, Speech};
use super::mouth_tracker::{LumaFrame, decode_frames, distance, median_frame, mouth_cells};
use super::plan::BenchPlan;
use super::recording::{Recording, TimeExtender};
use super::server::Server;
use super::speech_loop::SpeechLoop;
use crate::time::Wall;

/// RMS level above which audio is audible.
const AUDIBLE: f32 = 0.03;
/// Silence before an onset, in packets of 20 ms.
const SILENT_PACKETS: usize = 4;

/// Lag of the lips in milliseconds of media time, one value per burst.
///
/// # Errors
/// If the server refuses, the call does not connect, or the server ends it.
pub async fn measure(server: &Server, speech: &Arc<SpeechLoop>, plan: &BenchPlan) -> Result<Vec<f64>, BenchError> {
    let epoch = Wall.now();
    let client_plan = ClientPlan { number: 0, payloads: Payloads::VideoAndAudio, speech: Speech::Loop, epoch };
    let client = Client::connect(server, Arc::clone(speech), client_plan, plan.avatar.as_deref()).await?;
    let clients = [client];
    hold(server, &clients, plan.warm_up + plan.measured).await?;
    check(server, &clients).await?;
    let [client] = clients;
    let recording = client.close(server).await;
    let frames = decode_frames(&recording).map_err(|e| BenchError::VideoDecoder { found: e.to_string() })?;
    let onsets = onsets(&recording, plan.warm_up)?;
    Ok(lags(&frames, &onsets))
}

/// Onsets of the bursts in the returned audio, in milliseconds of RTP time, with a resolution of 2 ms.
fn onsets(recording: &Recording, after: Duration) -> Result<Vec<f64>, opus::Error> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let (mut timestamps, mut block, mut silent_packets, mut found) =
        (TimeExtender::default(), [0.0; 5760], 0, Vec::new());
    for packet in &recording.audio {
        let length = decoder.decode_float(&packet.payload, &mut block, false).unwrap_or(0);
        let at = timestamps.extend(packet.rtp.0);
        let level = |part: &[f32]| (part.iter().map(|s| s * s).sum::<f32>() / part.len().max(1) as f32).sqrt();
        let loud = block[..length].chunks(96).position(|part| level(part) > AUDIBLE);
        match loud {
            Some(part) if silent_packets >= SILENT_PACKETS && packet.arrived > after => {
                // The encoder's delay (6.5 ms) comes after the RTP timestamp.
                found.push(at as f64 / 48.0 + part as f64 * 2.0 - 6.5);
            }
            _ => {}
        }
        silent_packets = if loud.is_none() { silent_packets + 1 } else { 0 };
    }
    Ok(found)
}

/// For each onset, the RTP time of the first frame whose mouth has moved a fifth of its maximum, minus the onset.
fn lags(frames: &[LumaFrame], onsets: &[f64]) -> Vec<f64> {
    let time_ms = |one: &LumaFrame| one.frame.ticks as f64 / 90.0;
    let at = |from: f64, to: f64| -> Vec<&LumaFrame> {
        frames.iter().filter(|one| time_ms(one) >= from && time_ms(one) < to).collect()
    };
    let lag = |onset: &f64| {
        let (silent, speaking) = (at(onset - 120.0, onset - 20.0), at(*onset, onset + 500.0));
        let rest = median_frame(&silent);
        let mouth = mouth_cells(&speaking, &silent);
        let far = speaking.iter().map(|one| distance(one, &rest, &mouth)).fold(0.0, f32::max);
        let first =
            at(onset - 100.0, onset + 500.0).into_iter().find(|one| distance(one, &rest, &mouth) > far / 5.0)?;
        (far > 2.0).then(|| time_ms(first) - onset)
    };
    onsets.iter().filter_map(lag).collect()
}
