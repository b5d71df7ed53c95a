//! How soon a stop is heard and seen: the avatar is given a long vowel to say and hushed in the middle of it.

use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::client::{Client, ClientPlan, Pictures, Speech};
use super::mouth_tracker::{Opening, Seen, between, rest, watch};
use super::plan::{BenchPlan, Progress};
use super::recording::{Recording, ms_between};
use super::server::Server;
use super::speech_loop::{VoiceLoop, long_vowel_wav};
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
    let who = ClientPlan { number: 0, pictures: Pictures::Keep, speech: Speech::Silence, epoch };
    let caller = Client::call(server, Arc::clone(voice), who, plan.avatar.as_deref()).await?;
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
    let (heard, seen) = (levels(&tape)?, watch(&tape).map_err(|e| BenchError::VideoFrame { found: e.to_string() })?);
    let mut stops = Stops::default();
    for at in &asked {
        stops.voice.push(last_heard(&heard, *at).map(|last| ms_between(*at, last).max(0.0)));
    }
    let spoken = last_spoken(&seen, &asked).into_iter().zip(&asked);
    stops.picture = spoken.map(|(last, at)| last.map(|last| ms_between(*at, last).max(0.0))).collect();
    Ok(stops)
}

/// Arrival and level of each packet.
fn levels(tape: &Recording) -> Result<Vec<(Duration, f32)>, opus::Error> {
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

/// For each stop the last frame that still speaks. The avatar is told a vowel that stays open, so its mouth is open until the
/// stop takes effect; the head that goes on swaying is told apart by what all the stops have in common.
fn last_spoken(seen: &[Seen], asked: &[Duration]) -> Vec<Option<Duration>> {
    let quiet = |asked: Duration| rest(&between(seen, asked + QUIET / 6, asked + QUIET / 2));
    let speaking = |asked: Duration| rest(&between(seen, asked.saturating_sub(SPEAKS * 2 / 3), asked));
    let spells: Vec<_> = asked.iter().map(|asked| [speaking(*asked), quiet(*asked)]).collect();
    let opening = Opening::learn(&spells);
    let last = |(asked, [_, still]): (&Duration, &[Vec<f32>; 2])| {
        let after = between(seen, *asked, *asked + QUIET);
        let open: Vec<f32> = after.iter().map(|one| opening.of(one, still)).collect::<Option<_>>()?;
        Some(last_open(&open).map_or(*asked, |at| after[at].frame.arrived))
    };
    asked.iter().zip(&spells).map(last).collect()
}

/// The last of `openings` (0 at rest, 1 in speech) at which a mouth is open: until it has been shut for three frames a third
/// counts, so that nothing of the way back is left out; from then on three quarters, which only speech reaches.
fn last_open(openings: &[f32]) -> Option<usize> {
    let is_shut = |run: &[f32]| run.iter().all(|opening| *opening < 1.0 / 3.0);
    let shut = openings.windows(3).position(is_shut).unwrap_or(openings.len());
    let again = openings[shut..].iter().rposition(|opening| *opening > 0.75);
    again.map(|at| shut + at).or(shut.checked_sub(1))
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
        assert_eq!(last_open(&[1.0, 0.8, 0.2, 0.1, 0.05, 0.5, 0.6, 0.1]), Some(1));
        assert_eq!(last_open(&[1.0, 0.8, 0.2, 0.1, 0.05, 0.9, 1.0, 0.1]), Some(6));
        assert_eq!(last_open(&[0.1, 0.05, 0.02]), None);
        assert_eq!(last_open(&[1.0; 5]), Some(4));
    }
}
