//! Latency of streamed speech: utterances over the WebSocket `speech/stream`, sample by sample as they would be synthesised.
//!
//! Decides how an utterance is paced, and from when to when is measured: from before the first message of samples is sent to the
//! arrival of the first audible RTP packet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::BenchError;
use super::calls::{check, hold};
use super::client::{Client, ClientPlan, Payloads, Speech};
use super::levels::{AUDIBLE, levels};
use super::plan::{BenchPlan, Progress};
use super::recording::{Recording, ms_between};
use super::server::Server;
use super::speech_loop::{SpeechLoop, vowel_pcm};
use crate::time::Wall;

/// Sample rate of the stream: what text to speech services send.
const RATE_HZ: usize = 24_000;
/// Length of an utterance, and of one message of samples.
const UTTERANCE: Duration = Duration::from_millis(400);
const MESSAGE: Duration = Duration::from_millis(20);
/// Silence between two utterances.
const SILENCE: Duration = Duration::from_millis(400);
/// Before an utterance nothing may be audible for this long.
const SILENT_BEFORE: Duration = Duration::from_millis(100);
/// An event that takes longer does not come.
const EVENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Measures `plan.utterances` utterances: the latency of each in milliseconds, `None` if it was not heard.
///
/// # Errors
/// If the server refuses, the call does not connect, or the server ends it.
pub async fn measure(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Vec<Option<f64>>, BenchError> {
    let epoch = Wall.now();
    let client_plan = ClientPlan { number: 0, payloads: Payloads::Audio, speech: Speech::Silence, epoch };
    let clients = [Client::connect(server, Arc::clone(speech), client_plan, plan.avatar.as_deref()).await?];
    hold(server, &clients, plan.warm_up.max(SILENCE)).await?;
    let mut stream = SpeechStream::open(server, &clients[0].id).await?;
    let samples = vowel_pcm(RATE_HZ, UTTERANCE);
    let mut sent = Vec::with_capacity(plan.utterances);
    for n in 0..plan.utterances {
        let at = stream.speak(&samples).await?;
        sent.push(at.saturating_duration_since(epoch));
        // The offset spreads the utterances over the frame interval.
        hold(server, &clients, SILENCE + Duration::from_millis(n as u64 * 7 % 40)).await?;
        progress(Progress::Step { done: n + 1, of: plan.utterances });
    }
    check(server, &clients).await?;
    let [client] = clients;
    Ok(latencies(&client.close(server).await, &sent)?)
}

fn latencies(recording: &Recording, sent: &[Duration]) -> Result<Vec<Option<f64>>, opus::Error> {
    let levels = levels(recording)?;
    let latency = |sent: &Duration| first_audible(&levels, *sent).map(|arrived| ms_between(*sent, arrived));
    Ok(sent.iter().map(latency).collect())
}

/// Arrival of the first audible packet after `sent`. `None` if there is none while the utterance lasts, or if something was audible
/// just before: then it is not known what is heard.
fn first_audible(levels: &[(Duration, f32)], sent: Duration) -> Option<Duration> {
    let audible = |from: Duration, to: Duration| {
        levels.iter().find(|(at, level)| *at >= from && *at < to && *level > AUDIBLE).map(|(at, _)| *at)
    };
    let before = audible(sent.saturating_sub(SILENT_BEFORE), sent);
    audible(sent, sent + UTTERANCE + SILENCE).filter(|_| before.is_none())
}

/// The WebSocket.
struct SpeechStream(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl SpeechStream {
    async fn open(server: &Server, session: &str) -> Result<Self, BenchError> {
        let url = server.speech_stream_url(session)?;
        // Without Nagle's algorithm, as browsers do it: it would hold samples back until the server acknowledges others.
        let is_nodelay = true;
        let (socket, _response) = connect_async_with_config(url, None, is_nodelay).await.map_err(broken)?;
        Ok(Self(socket))
    }

    /// Sends an utterance at its pace and waits until it was spoken; returns the time before its first samples were sent.
    async fn speak(&mut self, samples: &[u8]) -> Result<Instant, BenchError> {
        self.send(Message::text(json!({ "type": "start", "rate_hz": RATE_HZ }).to_string())).await?;
        let start = Wall.now();
        let message_bytes = 2 * RATE_HZ * MESSAGE.as_millis() as usize / 1000;
        for (n, message) in samples.chunks(message_bytes).enumerate() {
            sleep_until((start + MESSAGE * n as u32).into()).await;
            self.send(Message::binary(message.to_vec())).await?;
        }
        self.send(Message::text(json!({ "type": "end" }).to_string())).await?;
        self.wait_for_end().await?;
        Ok(start)
    }

    async fn send(&mut self, message: Message) -> Result<(), BenchError> {
        self.0.send(message).await.map_err(broken)
    }

    async fn wait_for_end(&mut self) -> Result<(), BenchError> {
        loop {
            let event = self.event().await?;
            match event["type"].as_str() {
                Some("finished") => return Ok(()),
                Some("started" | "position") => {}
                _ => return Err(BenchError::SpeechStream { found: event.to_string() }),
            }
        }
    }

    /// The next event; pings are answered by the library.
    async fn event(&mut self) -> Result<Value, BenchError> {
        loop {
            let late = |_elapsed| BenchError::SpeechStream { found: "no event for 10 s".to_owned() };
            match timeout(EVENT_TIMEOUT, self.0.next()).await.map_err(late)? {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap_or_default()),
                Some(Ok(Message::Close(frame))) => return Err(closed(frame.map(|frame| frame.reason.to_string()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(closed(None)),
            }
        }
    }
}

fn broken(error: SocketError) -> BenchError {
    BenchError::SpeechStream { found: error.to_string() }
}

fn closed(reason: Option<String>) -> BenchError {
    let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or_else(|| "no reason given".to_owned());
    BenchError::SpeechStream { found: format!("the server closed it ({reason})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_audible_packet_counts_unless_something_was_audible_before() {
        let ms = Duration::from_millis;
        let is_loud = |n: u64| (54..70).contains(&n);
        let levels: Vec<_> = (0..200).map(|n| (ms(n * 20), if is_loud(n) { 0.2 } else { 0.001 })).collect();
        assert_eq!(first_audible(&levels, ms(1000)), Some(ms(1080)));
        assert_eq!(first_audible(&levels, ms(1150)), None);
        assert_eq!(first_audible(&levels, ms(2000)), None);
    }
}
