//! `GET /v1/sessions/{id}/speech/stream`: a WebSocket that takes raw samples as they are generated, and sends events.
//!
//! Decides the messages (below), and when a message is read: only while fewer than 2 s are queued. A `start` begins
//! an utterance, binary messages are its samples, an `end` is its end mark. Its first 20 ms interrupt current speech.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::per_address::Client;
use super::problem::Problem;
use super::speech::{raw_format, speech_permit};
use super::state::AppState;
use crate::codec::audio_file::{AudioFileError, BlockPipeline, Coding, Frames, Order, PcmFormat};
use crate::media::{BLOCK_MS, PcmBlock};
use crate::session::{Inbox, SessionCommand, SpeechProgress, SpeechSink, SpeechSource, SpeechState, speech_queue};

/// The largest message: several seconds of samples.
const LARGEST_MESSAGE_BYTES: usize = 1 << 20;
/// Interval of position events.
const POSITION_EVERY: Duration = Duration::from_millis(200);
/// Proxies close connections that are silent for a minute; one without an utterance is closed after the same time.
const IDLE_POSITIONS: u32 = 300;
const PING_POSITIONS: u32 = 75;
/// A client that does not read for this long is disconnected.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Text messages of a client.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ClientMessage {
    /// Samples of a new utterance follow.
    Start {
        #[serde(default)]
        encoding: Encoding,
        rate_hz: u32,
        #[serde(default = "mono")]
        channels: u32,
    },
    /// All samples of the utterance were sent.
    End,
    /// Stops the utterance.
    Interrupt,
}

fn mono() -> u32 {
    1
}

/// The encoding of samples.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    #[default]
    S16le,
    S16be,
    F32le,
    Mulaw,
    Alaw,
}

impl Encoding {
    fn coding(self) -> Coding {
        match self {
            Self::S16le => Coding::Signed16(Order::Little),
            Self::S16be => Coding::Signed16(Order::Big),
            Self::F32le => Coding::Float32(Order::Little),
            Self::Mulaw => Coding::MuLaw,
            Self::Alaw => Coding::ALaw,
        }
    }
}

/// Opens the socket.
pub async fn speech_stream(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let inbox = state.sessions.find(&id).ok_or_else(Problem::no_session)?.inbox.clone();
    let upgrade = upgrade.map_err(|_refused| no_upgrade())?;
    let permit = speech_permit(&state, client)?;
    let closing = state.closing.clone();
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE_BYTES).max_frame_size(LARGEST_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let ended =
            Connection { socket, inbox, utterance: None, unread: Bytes::new(), idle_positions: 0 }.run(closing).await;
        drop((ended, permit));
    }))
}

fn no_upgrade() -> Problem {
    let detail = "wanted a WebSocket handshake (RFC 6455, version 13), found another request";
    Problem::new(StatusCode::UPGRADE_REQUIRED, detail, "open it with new WebSocket(...) or another client")
        .at("upgrade")
        .with(header::UPGRADE, "websocket")
}

/// Why a connection is closed: a code of RFC 6455, section 7.4, and a short text.
struct Closed(u16, String);

/// An utterance being received from the client.
struct Utterance {
    number: u64,
    format: PcmFormat,
    pipeline: BlockPipeline,
    /// The start of a frame that continues in the next message.
    partial: Vec<u8>,
    /// Blocks for which the session has no room yet: those of one slice of a message.
    blocks: VecDeque<PcmBlock>,
    /// Present until the first block is complete.
    source: Option<SpeechSource>,
    /// Present until the end mark.
    sink: Option<SpeechSink>,
    has_ended: bool,
    progress: watch::Receiver<SpeechProgress>,
    reported: SpeechState,
}

struct Connection {
    socket: WebSocket,
    inbox: Inbox,
    utterance: Option<Utterance>,
    /// The part of the last message that is not converted yet.
    unread: Bytes,
    /// Position events since the last message of the client.
    idle_positions: u32,
}

impl Connection {
    async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let closed = tokio::select! {
            Err(closed) = self.serve() => closed,
            // An error means that the server has ended, which is the same.
            _ = closing.wait_for(|is_closing| *is_closing) => Closed(close_code::AWAY, "the server is closing".to_owned()),
        };
        let frame = CloseFrame { code: closed.0, reason: closed.1.into() };
        // A disconnected client needs no close frame.
        let _ = timeout(SEND_TIMEOUT, self.socket.send(Message::Close(Some(frame)))).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Closed> {
        let mut position = interval(POSITION_EVERY);
        position.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.convert()?;
            let has_room = self.utterance.as_ref().is_none_or(|utterance| utterance.blocks.is_empty());
            let watched = self.utterance.as_ref().filter(|utterance| utterance.source.is_none());
            let watched = watched.map(|utterance| (utterance.progress.clone(), utterance.reported));
            tokio::select! {
                message = self.socket.recv(), if has_room => {
                    self.idle_positions = 0;
                    let Some(Ok(message)) = message else { return Err(Closed(close_code::NORMAL, String::new())) };
                    self.take(message).await?;
                }
                () = push_one(&mut self.utterance), if !has_room => {}
                () = changed(watched) => self.report().await?,
                _ = position.tick() => self.on_position().await?,
            }
            if self.inbox.has_ended() {
                return Err(Closed(close_code::NORMAL, "the session ended".to_owned()));
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), Closed> {
        match message {
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(message) => self.on_client_message(message).await,
                Err(error) => self.refuse(&format!("wanted a message as documented, found: {error}")).await,
            },
            Message::Binary(bytes) => match &self.utterance {
                Some(utterance) if !utterance.has_ended => {
                    self.unread = bytes;
                    Ok(())
                }
                // The utterance was interrupted while its samples were in transit.
                _ => Ok(()),
            },
            Message::Close(_) => Err(Closed(close_code::NORMAL, String::new())),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        }
    }

    async fn on_client_message(&mut self, message: ClientMessage) -> Result<(), Closed> {
        match message {
            ClientMessage::Start { encoding, rate_hz, channels } => {
                match raw_format(encoding.coding(), rate_hz, channels) {
                    Ok(format) => {
                        self.supersede().await?;
                        self.utterance = Some(Utterance::new(format));
                    }
                    Err(error) => return self.refuse(&error.to_string()).await,
                }
            }
            ClientMessage::End => {
                if let Some(utterance) = &mut self.utterance {
                    utterance.end();
                }
            }
            ClientMessage::Interrupt => {
                if self.utterance.as_ref().is_some_and(|utterance| utterance.source.is_none()) {
                    // If the command queue is full, the queued commands interrupt it.
                    let _ = self.inbox.push_command(SessionCommand::Interrupt);
                } else {
                    self.supersede().await?;
                }
            }
        }
        Ok(())
    }

    /// Abandons the current utterance, if there is one.
    async fn supersede(&mut self) -> Result<(), Closed> {
        self.unread.clear();
        let Some(utterance) = self.utterance.take() else { return Ok(()) };
        let number = utterance.source.is_none().then_some(utterance.number);
        let spoken_ms = utterance.progress.borrow().spoken_ms();
        self.event(json!({ "type": "interrupted", "utterance": number, "spoken_ms": spoken_ms })).await
    }

    /// Converts the next 20 ms of the last message if nothing else waits, and starts to speak at the first block.
    fn convert(&mut self) -> Result<(), Closed> {
        let Some(utterance) = &mut self.utterance else {
            self.unread.clear();
            return Ok(());
        };
        while utterance.blocks.is_empty() && !self.unread.is_empty() {
            let slice = utterance.format.frame_bytes() * (utterance.format.layout.rate_hz as usize / 50);
            let slice = self.unread.split_to(slice.min(self.unread.len()));
            utterance.push(&slice).map_err(|error| Closed(close_code::ERROR, error.to_string()))?;
        }
        utterance.start_without_waiting();
        if utterance.blocks.is_empty() {
            return Ok(());
        }
        if let Some(source) = utterance.source.take() {
            let spoken = self.inbox.push_command(SessionCommand::Speak(source));
            utterance.number = spoken.map_err(|error| Closed(close_code::AGAIN, error.to_string()))?.0;
        }
        Ok(())
    }

    /// Sends changes of the utterance's state, and removes it when it has ended.
    async fn report(&mut self) -> Result<(), Closed> {
        let Some(utterance) = &mut self.utterance else { return Ok(()) };
        let (progress, before) = (*utterance.progress.borrow(), utterance.reported);
        utterance.reported = progress.state;
        let number = utterance.number;
        if before == SpeechState::Waiting && progress.spoken_blocks > 0 {
            self.event(json!({ "type": "started", "utterance": number })).await?;
        }
        if progress.state.is_over() {
            self.utterance = None;
            self.unread.clear();
            let event = json!({ "type": progress.state, "utterance": number, "spoken_ms": progress.spoken_ms() });
            self.event(event).await?;
        }
        Ok(())
    }

    /// Sends a position, keeps the connection alive, and closes an idle one.
    async fn on_position(&mut self) -> Result<(), Closed> {
        self.report_position().await?;
        self.idle_positions += 1;
        if self.utterance.is_none() && self.idle_positions > IDLE_POSITIONS {
            return Err(Closed(close_code::NORMAL, "idle for a minute".to_owned()));
        }
        if self.idle_positions.is_multiple_of(PING_POSITIONS) {
            self.send(Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    async fn report_position(&mut self) -> Result<(), Closed> {
        let Some(utterance) = self.utterance.as_ref().filter(|utterance| utterance.source.is_none()) else {
            return Ok(());
        };
        let queued = utterance.sink.as_ref().map_or(0, SpeechSink::queued_blocks) as u64 * BLOCK_MS;
        let spoken_ms = utterance.progress.borrow().spoken_ms();
        let event =
            json!({ "type": "position", "utterance": utterance.number, "spoken_ms": spoken_ms, "queued_ms": queued });
        self.event(event).await
    }

    async fn refuse(&mut self, detail: &str) -> Result<(), Closed> {
        let hint = "send {\"type\":\"start\",\"encoding\":\"s16le\",\"rate_hz\":24000,\"channels\":1}, then samples, then {\"type\":\"end\"}";
        self.event(json!({ "type": "error", "detail": detail, "hint": hint })).await
    }

    async fn event(&mut self, event: Value) -> Result<(), Closed> {
        self.send(Message::Text(event.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        let sent = timeout(SEND_TIMEOUT, self.socket.send(message)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            _ => Err(Closed(close_code::ABNORMAL, "the client does not read".to_owned())),
        }
    }
}

/// Waits for room in the session's queue and queues one block.
async fn push_one(utterance: &mut Option<Utterance>) {
    let Some(utterance) = utterance else { return };
    let Some(sink) = &utterance.sink else {
        utterance.blocks.clear();
        return;
    };
    let Some(block) = utterance.blocks.front().cloned() else { return };
    // A session that takes no more reports it in its progress.
    let _ = sink.push(block).await;
    utterance.blocks.pop_front();
    utterance.finish_if_done();
}

/// Waits until the state of the utterance changes.
async fn changed(watched: Option<(watch::Receiver<SpeechProgress>, SpeechState)>) {
    let Some((mut progress, reported)) = watched else { return std::future::pending().await };
    // The sender lives as long as the source; its last value stays readable.
    let _ = progress.wait_for(|progress| progress.state != reported).await;
}

impl Utterance {
    fn new(format: PcmFormat) -> Self {
        let (sink, source) = speech_queue();
        Self {
            number: 0,
            format,
            pipeline: BlockPipeline::default(),
            partial: Vec::new(),
            blocks: VecDeque::new(),
            source: Some(source),
            progress: sink.progress(),
            sink: Some(sink),
            has_ended: false,
            reported: SpeechState::Waiting,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), AudioFileError> {
        self.partial.extend_from_slice(bytes);
        let mut frames = Frames::default();
        self.format.read(&self.partial, &mut frames);
        let whole = frames.count() * self.format.frame_bytes();
        self.partial.drain(..whole);
        self.pipeline.push(&frames)?;
        self.take_blocks();
        Ok(())
    }

    /// A client that sends as slowly as it speaks does not wait for its second message to be heard.
    fn start_without_waiting(&mut self) {
        if self.blocks.is_empty() && self.source.is_some() {
            self.pipeline.complete_first_block();
            self.take_blocks();
        }
    }

    fn take_blocks(&mut self) {
        self.blocks.extend(std::iter::from_fn(|| self.pipeline.next_block()));
    }

    fn end(&mut self) {
        self.has_ended = true;
        self.pipeline.finish();
        self.take_blocks();
        self.finish_if_done();
    }

    /// Sets the end mark when the last block is in the queue.
    fn finish_if_done(&mut self) {
        if self.has_ended
            && self.blocks.is_empty()
            && let Some(sink) = self.sink.take()
        {
            sink.finish();
        }
    }
}
