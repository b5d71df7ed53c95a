//! The cross-check that markers tell the truth: when do the lips move, seen in the pictures themselves?

use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::client::{Client, ClientPlan, Pictures, Speech};
use super::mouth_tracker::{Seen, distance, mouth, rest, watch};
use super::plan::BenchPlan;
use super::recording::{Recording, Unwrapped};
use super::server::Server;
use super::speech_loop::VoiceLoop;
use crate::time::Wall;

/// A packet louder than this sounds; softer than a tenth of it is silent.
const AUDIBLE: f32 = 0.03;
/// Silence that must precede an onset, in packets of 20 ms.
const SILENT_PACKETS: usize = 4;

/// Lags of the lips in milliseconds of media time, one for each burst.
///
/// # Errors
/// If the server refuses or the call does not stand.
pub async fn measure(server: &Server, voice: &Arc<VoiceLoop>, plan: &BenchPlan) -> Result<Vec<f64>, BenchError> {
    let epoch = Wall.now();
    let who = ClientPlan { number: 0, pictures: Pictures::Keep, speech: Speech::Loop, epoch };
    let caller = Client::call(server, Arc::clone(voice), who, plan.avatar.as_deref()).await?;
    tokio::time::sleep(plan.warm_up + plan.measured).await;
    let tape = caller.hang_up(server).await;
    let seen = watch(&tape).map_err(|e| BenchError::VideoFrame { found: e.to_string() })?;
    let onsets = onsets(&tape, plan.warm_up)?;
    Ok(lags(&seen, &onsets))
}

/// Where bursts begin on the RTP line of the returned voice, in milliseconds of media time (to 2 ms).
fn onsets(tape: &Recording, after: Duration) -> Result<Vec<f64>, opus::Error> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let (mut line, mut block, mut silent, mut found) = (Unwrapped::default(), [0.0; 5760], 0, Vec::new());
    for packet in &tape.voice {
        let length = decoder.decode_float(&packet.payload, &mut block, false).unwrap_or(0);
        let at = line.place(packet.rtp.0);
        let level = |part: &[f32]| (part.iter().map(|s| s * s).sum::<f32>() / part.len().max(1) as f32).sqrt();
        let loud = block[..length].chunks(96).position(|part| level(part) > AUDIBLE);
        match loud {
            Some(part) if silent >= SILENT_PACKETS && packet.arrived > after => {
                // One codec delay (6.5 ms) earlier than it sounds: the line is what the server encoded.
                found.push(at as f64 / 48.0 + part as f64 * 2.0 - 6.5);
            }
            _ => {}
        }
        silent = if loud.is_none() { silent + 1 } else { 0 };
    }
    Ok(found)
}

/// For each onset, the moment of the first frame whose mouth has gone a fifth of its way, minus the onset.
fn lags(seen: &[Seen], onsets: &[f64]) -> Vec<f64> {
    let moment = |one: &Seen| one.frame.ticks as f64 / 90.0;
    let at = |from: f64, to: f64| -> Vec<&Seen> {
        seen.iter().filter(|one| moment(one) >= from && moment(one) < to).collect()
    };
    let lag = |onset: &f64| {
        let (quiet, speaking) = (at(onset - 120.0, onset - 20.0), at(*onset, onset + 500.0));
        let still = rest(&quiet);
        let mouth = mouth(&speaking, &quiet);
        let far = speaking.iter().map(|one| distance(one, &still, &mouth)).fold(0.0, f32::max);
        let first =
            at(onset - 100.0, onset + 500.0).into_iter().find(|one| distance(one, &still, &mouth) > far / 5.0)?;
        (far > 2.0).then(|| moment(first) - onset)
    };
    onsets.iter().filter_map(lag).collect()
}
