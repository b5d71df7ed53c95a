//! Interruption latency: the avatar speaks a long vowel and is interrupted in the middle of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BenchError;
use super::calls::{check, hold};
use super::client::{Client, ClientPlan, Payloads, Speech};
use super::levels::{AUDIBLE, levels};
use super::mouth_tracker::{LumaFrame, MouthOpening, decode_frames, frames_between, median_frame};
use super::plan::{BenchPlan, Progress};
use super::recording::{Recording, ms_between};
use super::server::Server;
use super::speech_loop::{SpeechLoop, long_vowel_wav};
use crate::time::Wall;

/// Speech before the interruption, and silence after it.
const SPEECH: Duration = Duration::from_millis(1500);
const SILENCE: Duration = Duration::from_millis(1500);

/// Latency of each interruption in milliseconds; `None` if its end was not detected.
#[derive(Clone, Debug, Default)]
pub struct InterruptionLatencies {
    /// Until the last audible packet arrived.
    pub audio: Vec<Option<f64>>,
    /// Until the last frame arrived in which the mouth was open.
    pub video: Vec<Option<f64>>,
}

impl InterruptionLatencies {
    /// The later of audio and video for each interruption; the one that was detected if only one was.
    pub fn later(&self) -> Vec<f64> {
        let rows = self.audio.len().max(self.video.len());
        let at = |values: &[Option<f64>], n: usize| values.get(n).copied().flatten();
        (0..rows)
            .filter_map(|n| [at(&self.audio, n), at(&self.video, n)].into_iter().flatten().reduce(f64::max))
            .collect()
    }
}

/// Measures `plan.interruptions` interruptions.
///
/// # Errors
/// If the server refuses, the call does not connect, or the server ends it.
pub async fn measure(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<InterruptionLatencies, BenchError> {
    let epoch = Wall.now();
    let client_plan = ClientPlan { number: 0, payloads: Payloads::VideoAndAudio, speech: Speech::Silence, epoch };
    let clients = [Client::connect(server, Arc::clone(speech), client_plan, plan.avatar.as_deref()).await?];
    hold(server, &clients, SILENCE).await?;
    let mut interrupted = Vec::with_capacity(plan.interruptions);
    for n in 0..plan.interruptions {
        interrupted.push(interrupt_speech(server, &clients, n).await?.saturating_duration_since(epoch));
        hold(server, &clients, SILENCE).await?;
        progress(Progress::Step { done: n + 1, of: plan.interruptions });
    }
    check(server, &clients).await?;
    let [client] = clients;
    analyze(&client.close(server).await, &interrupted)
}

/// Speaks, and interrupts the speech in the middle; returns the time before the request.
async fn interrupt_speech(server: &Server, clients: &[Client; 1], n: usize) -> Result<Instant, BenchError> {
    let id = &clients[0].id;
    server.speak(id, long_vowel_wav(6)).await?;
    // The offset spreads the interruptions over the frame interval.
    hold(server, clients, SPEECH + Duration::from_millis(n as u64 * 7 % 40)).await?;
    let at = Wall.now();
    server.interrupt(id).await?;
    Ok(at)
}

fn analyze(recording: &Recording, interrupted: &[Duration]) -> Result<InterruptionLatencies, BenchError> {
    let levels = levels(recording)?;
    let frames = decode_frames(recording).map_err(|e| BenchError::VideoDecoder { found: e.to_string() })?;
    let latency = |at: Duration, last: Option<Duration>| last.map(|last| ms_between(at, last).max(0.0));
    let audio = interrupted.iter().map(|at| latency(*at, last_audible(&levels, *at)));
    let video = interrupted.iter().zip(last_speaking(&frames, interrupted)).map(|(at, last)| latency(*at, last));
    Ok(InterruptionLatencies { audio: audio.collect(), video: video.collect() })
}

/// Arrival of the last audible packet before the silence ends. `None` if nothing was audible before `interrupted`: then there was
/// no speech to interrupt.
fn last_audible(levels: &[(Duration, f32)], interrupted: Duration) -> Option<Duration> {
    let audible = |from: Duration, to: Duration| {
        levels.iter().rev().find(|(at, level)| *at >= from && *at < to && *level > AUDIBLE).map(|(at, _)| *at)
    };
    let from = interrupted.saturating_sub(SPEECH / 2);
    audible(from, interrupted)?;
    audible(from, interrupted + SILENCE)
}

/// Arrival of the last frame with an open mouth, for each interruption. The vowel keeps the mouth open until the interruption
/// takes effect. The head keeps swaying; [`MouthOpening`] separates it by what all interruptions have in common.
fn last_speaking(frames: &[LumaFrame], interrupted: &[Duration]) -> Vec<Option<Duration>> {
    let silent = |at: Duration| median_frame(&frames_between(frames, at + SILENCE / 6, at + SILENCE / 2));
    let speaking = |at: Duration| median_frame(&frames_between(frames, at.saturating_sub(SPEECH * 2 / 3), at));
    let pairs: Vec<_> = interrupted.iter().map(|at| [speaking(*at), silent(*at)]).collect();
    let opening = MouthOpening::from_pairs(&pairs);
    let last = |(interrupted, [_, rest]): (&Duration, &[Vec<f32>; 2])| {
        let after = frames_between(frames, *interrupted, *interrupted + SILENCE);
        let openings: Vec<f32> = after.iter().map(|one| opening.of(one, rest)).collect::<Option<_>>()?;
        Some(last_open(&openings).map_or(*interrupted, |at| after[at].frame.arrived))
    };
    interrupted.iter().zip(&pairs).map(last).collect()
}

/// Index of the last of `openings` (0 at rest, 1 in speech) with an open mouth. Before the mouth has been closed for three frames
/// the threshold is a third, which includes the closing motion. After that it is three quarters, which a smile does not reach.
fn last_open(openings: &[f32]) -> Option<usize> {
    let is_closed = |run: &[f32]| run.iter().all(|opening| *opening < 1.0 / 3.0);
    let closed = openings.windows(3).position(is_closed).unwrap_or(openings.len());
    let reopened = openings[closed..].iter().rposition(|opening| *opening > 0.75);
    reopened.map(|at| closed + at).or(closed.checked_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_audible_packet_counts_and_silence_before_the_interruption_gives_none() {
        let ms = Duration::from_millis;
        let levels: Vec<(Duration, f32)> = (0..200).map(|n| (ms(n * 20), if n < 104 { 0.2 } else { 0.001 })).collect();
        assert_eq!(last_audible(&levels, ms(2000)), Some(ms(2060)));
        assert_eq!(last_audible(&levels, ms(3500)), None);
    }

    #[test]
    fn a_smile_after_the_interruption_is_not_speech_but_a_resumed_vowel_is() {
        assert_eq!(last_open(&[1.0, 0.8, 0.2, 0.1, 0.05, 0.5, 0.6, 0.1]), Some(1));
        assert_eq!(last_open(&[1.0, 0.8, 0.2, 0.1, 0.05, 0.9, 1.0, 0.1]), Some(6));
        assert_eq!(last_open(&[0.1, 0.05, 0.02]), None);
        assert_eq!(last_open(&[1.0; 5]), Some(4));
    }
}
