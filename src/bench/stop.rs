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
        stops.picture.push(last_spoken(&seen, at).map(|last| ms_between(at, last).max(0.0)));
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

/// The last frame that still speaks. The avatar is told a vowel that stays open, so its mouth is open until the stop takes
/// effect; afterwards the head goes on swaying and may smile, which moves the mouth's pixels too, but less.
fn last_spoken(seen: &[Seen], asked: Duration) -> Option<Duration> {
    let speaking = between(seen, asked.saturating_sub(SPEAKS * 2 / 3), asked);
    let quiet = between(seen, asked + QUIET / 6, asked + QUIET / 2);
    let (mouth, still) = (mouth(&speaking, &quiet), rest(&quiet));
    let far = |ones: &[&Seen]| ones.iter().map(|one| distance(one, &still, &mouth)).collect::<Vec<f32>>();
    let open = mean(&far(&speaking));
    // A mouth that moves no more in speech than in quiet tells nothing.
    if open < 2.0 * mean(&far(&quiet)) {
        return None;
    }
    let after = between(seen, asked, asked + QUIET);
    let last = last_open(&far(&after), open);
    Some(last.map_or(asked, |at| after[at].frame.arrived))
}

/// The last of `distances` at which a mouth is open that was `open` before: until it has been shut for three frames a third
/// of that counts, so that nothing of the way back is left out; from then on three quarters, which only speech reaches.
fn last_open(distances: &[f32], open: f32) -> Option<usize> {
    let is_shut = |run: &[f32]| run.iter().all(|distance| *distance < open / 3.0);
    let shut = distances.windows(3).position(is_shut).unwrap_or(distances.len());
    let again = distances[shut..].iter().rposition(|distance| *distance > open * 0.75);
    again.map(|at| shut + at).or(shut.checked_sub(1))
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len().max(1) as f32
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

    #[test]
    fn a_smile_after_the_stop_is_no_speech_but_a_vowel_that_comes_back_is() {
        let shut_after_two = [9.0, 7.0, 2.0, 1.0, 0.5, 4.5, 5.0, 1.0];
        assert_eq!(last_open(&shut_after_two, 9.0), Some(1));
        let comes_back = [9.0, 7.0, 2.0, 1.0, 0.5, 8.5, 9.0, 1.0];
        assert_eq!(last_open(&comes_back, 9.0), Some(6));
        assert_eq!(last_open(&[1.0, 0.5, 0.2], 9.0), None);
        assert_eq!(last_open(&[9.0; 5], 9.0), Some(4));
    }
}
