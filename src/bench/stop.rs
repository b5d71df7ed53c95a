//! How soon a stop is heard and seen: the avatar is given a long vowel to say and hushed in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::caller::{Caller, CallerPlan, Pictures, Speech};
use super::eye::{Seen, between, distance, mouth, rest, watch};
use super::plan::{BenchPlan, Progress};
use super::server::Server;
use super::tape::{Tape, ms_between};
use super::voice::{VoiceLoop, long_vowel_wav};
use crate::time::Wall;

/// Length of speech before the stop, and of quiet after it.
const SPEAKS: Duration = Duration::from_millis(1500);
const QUIET: Duration = Duration::from_millis(1500);
/// Above this root mean square a packet sounds.
const AUDIBLE: f32 = 0.01;

/// When each stop was asked for and when the old utterance was gone, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Until the last audible packet arrived.
    pub voice: Vec<Option<f64>>,
    /// Until the last frame arrived in which the mouth was still moving as in speech.
    pub picture: Vec<Option<f64>>,
}

impl Stops {
    /// For each stop, the later of the two. One that was only heard or only seen counts as that.
    pub fn later(&self) -> Vec<f64> {
        let rows = self.voice.len().max(self.picture.len());
        let at = |values: &[Option<f64>], n: usize| values.get(n).copied().flatten();
        (0..rows)
            .filter_map(|n| [at(&self.voice, n), at(&self.picture, n)].into_iter().flatten().reduce(f64::max))
            .collect()
    }
}

/// Measures `plan.stops` stops.
///
/// # Errors
/// If the server refuses or the call does not stand.
pub async fn measure(
    server: &Server,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Stops, BenchError> {
    let epoch = Wall.now();
    let who = CallerPlan { number: 0, pictures: Pictures::Keep, speech: Speech::Silence, epoch };
    let caller = Caller::call(server, Arc::clone(voice), who, plan.avatar.as_deref()).await?;
    tokio::time::sleep(QUIET).await;
    let mut asked = Vec::new();
    let wav = long_vowel_wav(6);
    for n in 0..plan.stops {
        server.say(&caller.id, wav.clone()).await?;
        tokio::time::sleep(SPEAKS + Duration::from_millis(n as u64 * 7 % 40)).await;
        asked.push(Wall.now().saturating_duration_since(epoch));
        server.stop(&caller.id).await?;
        tokio::time::sleep(QUIET).await;
        progress(Progress::Step { done: n + 1, of: plan.stops });
    }
    let tape = caller.hang_up(server).await;
    let (heard, seen) = (levels(&tape)?, watch(&tape).map_err(|e| BenchError::Picture { found: e.to_string() })?);
    let mut stops = Stops::default();
    for at in asked {
        stops.voice.push(last_heard(&heard, at).map(|last| ms_between(at, last).max(0.0)));
        stops.picture.push(last_moved(&seen, at).map(|last| ms_between(at, last).max(0.0)));
    }
    Ok(stops)
}

/// Arrival and level of each packet.
fn levels(tape: &Tape) -> Result<Vec<(Duration, f32)>, opus::Error> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let mut block = [0.0; 5760];
    let mut level = |payload: &[u8]| {
        let length = decoder.decode_float(payload, &mut block, false).unwrap_or(0);
        (block[..length].iter().map(|s| s * s).sum::<f32>() / length.max(1) as f32).sqrt()
    };
    Ok(tape.voice.iter().map(|packet| (packet.arrived, level(&packet.payload))).collect())
}

/// The last audible packet before the quiet is over; none if nothing was audible before `asked`, which is no stop.
fn last_heard(heard: &[(Duration, f32)], asked: Duration) -> Option<Duration> {
    let audible = |from: Duration, to: Duration| {
        heard.iter().rev().find(|(at, level)| *at >= from && *at < to && *level > AUDIBLE).map(|(at, _)| *at)
    };
    audible(asked.saturating_sub(SPEAKS / 2), asked)?;
    audible(asked.saturating_sub(SPEAKS / 2), asked + QUIET)
}

/// The last frame that still speaks: its mouth differs from the frame before by a third of what is usual in speech.
fn last_moved(seen: &[Seen], asked: Duration) -> Option<Duration> {
    let speaking = between(seen, asked.saturating_sub(SPEAKS * 2 / 3), asked);
    let quiet = between(seen, asked + QUIET / 2, asked + QUIET);
    let (mouth, still) = (mouth(&speaking, &quiet), rest(&quiet));
    let far: f32 = speaking.iter().map(|one| distance(one, &still, &mouth)).sum::<f32>() / speaking.len().max(1) as f32;
    let waver: f32 = quiet.iter().map(|one| distance(one, &still, &mouth)).fold(0.0, f32::max);
    let limit = f32::max(far / 3.0, waver * 1.2);
    // A mouth that moves no more in speech than in quiet tells nothing.
    if far < 2.0 * waver {
        return None;
    }
    let after = between(seen, asked, asked + QUIET);
    Some(after.iter().rev().find(|one| distance(one, &still, &mouth) > limit).map_or(asked, |one| one.frame.arrived))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_audible_packet_after_the_stop_counts_and_silence_before_it_is_no_stop() {
        let ms = Duration::from_millis;
        let heard: Vec<(Duration, f32)> = (0..200).map(|n| (ms(n * 20), if n < 104 { 0.2 } else { 0.001 })).collect();
        assert_eq!(last_heard(&heard, ms(2000)), Some(ms(2060)));
        assert_eq!(last_heard(&heard, ms(3500)), None);
    }
}
