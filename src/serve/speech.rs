//! `POST /v1/sessions/{id}/speech`: a file or a stream of sound that the avatar speaks at once.
//!
//! Decides what is a file (its length is known and small: it is read whole, and the answer comes when its first block is
//! queued) and what is a stream (read only as fast as it is spoken; the answer comes when it is over). Either is decoded as
//! it is spoken, on a thread of low priority that is at most [`SPEECH_QUEUE_BLOCKS`](crate::session::SPEECH_QUEUE_BLOCKS)
//! ahead.

use std::io::{self, Cursor, Read};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::body;
use super::per_address::{Client, Held};
use super::problem::Problem;
use super::sessions::busy;
use super::state::AppState;
use super::texts::of_audio_file;
use crate::codec::audio_file::{
    AUDIO_FORMATS, AudioDecoder, AudioFileError, AudioInput, Coding, Layout, Order, PcmFormat,
};
use crate::session::{Inbox, SPEECH_STALL, SessionCommand, SpeechProgress, SpeechSink, SpeechState, speech_queue};

/// A body of a known length up to this is a file.
const LARGEST_FILE_BYTES: usize = 10 << 20;
/// Bytes of a stream that wait to be decoded.
const PIPE_BYTES: usize = 64 << 10;
/// The first audio of a stream must arrive within this time.
const FIRST_AUDIO_TIMEOUT: Duration = Duration::from_secs(30);
/// The content type that curl sends when none is given.
const CURL_DEFAULT_TYPE: &str = "application/x-www-form-urlencoded";
/// How long a file waits for others that are being read.
const UPLOAD_WAIT: Duration = Duration::from_secs(5);
/// The niceness of a thread that decodes: a live call goes first.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Speaks the body and interrupts current speech.
pub async fn speak(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let inbox = state.sessions.find(&id).ok_or_else(Problem::no_session)?.inbox.clone();
    let format = format_of(&headers)?;
    let permit = speech_permit(&state, client)?;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_none_or(|length| length > LARGEST_FILE_BYTES as u64) {
        return speak_stream(&inbox, format, body.into_data_stream(), permit).await;
    }
    let upload = upload_permit(&state, client).await?;
    let file = body::read(&headers, body, LARGEST_FILE_BYTES).await?;
    drop(upload);
    let started = start(AudioInput::Seekable(Box::new(Cursor::new(file))), format, &inbox, permit).await?;
    let answer = json!({ "utterance": started.utterance, "duration_ms": started.duration.map(millis) });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// An utterance being spoken.
struct Started {
    utterance: u64,
    /// Its duration by its header.
    duration: Option<Duration>,
    progress: watch::Receiver<SpeechProgress>,
}

/// Opens the audio, decodes its first block, and only then interrupts current speech.
async fn start(
    input: AudioInput,
    format: Option<PcmFormat>,
    inbox: &Inbox,
    permit: SpeechPermit,
) -> Result<Started, Problem> {
    let (sink, source) = speech_queue();
    let progress = sink.progress();
    let (report, opened) = oneshot::channel();
    let work = move || {
        decode(input, format, sink, report);
        drop(permit);
    };
    let thread = std::thread::Builder::new().name("speech".to_owned()).spawn(work);
    let broken = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "decoding failed", "try another file");
    thread.map_err(|_no_thread| too_many())?;
    let duration = opened.await.map_err(|_our_bug| broken())?.map_err(|error| not_speakable(&error))?;
    if inbox.has_ended() {
        return Err(session_ended());
    }
    let utterance = inbox.push_command(SessionCommand::Speak(source)).map_err(|error| busy(&error.to_string()))?.0;
    Ok(Started { utterance, duration, progress })
}

/// The result of opening audio: its duration by its header.
type Opened = Result<Option<Duration>, AudioFileError>;

/// Decodes audio into `sink` until it ends or the session drops it; reports when the first block is queued.
fn decode(input: AudioInput, format: Option<PcmFormat>, sink: SpeechSink, report: oneshot::Sender<Opened>) {
    // If the system refuses, only the priority is not lowered.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICENESS);
    let opened = match format {
        Some(format) => Ok(AudioDecoder::open_pcm(input, format)),
        None => AudioDecoder::open(input),
    };
    let first = opened.and_then(|mut decoder| Ok((decoder.next_block()?, decoder)));
    let mut decoder = match first {
        Ok((first, decoder)) => {
            // An error means that the request was abandoned; the loop below notices it.
            let _ = first.map(|block| sink.blocking_push(block));
            let _ = report.send(Ok(decoder.expected_duration()));
            decoder
        }
        Err(error) => return drop(report.send(Err(error))),
    };
    while let Ok(Some(block)) = decoder.next_block() {
        if sink.blocking_push(block).is_err() {
            return;
        }
    }
    if !decoder.is_truncated() {
        sink.finish();
    }
}

/// Speaks a body as it arrives.
async fn speak_stream(
    inbox: &Inbox,
    format: Option<PcmFormat>,
    mut body: BodyDataStream,
    permit: SpeechPermit,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (to, from) = tokio::io::duplex(PIPE_BYTES);
    let is_aborted = Arc::<AtomicBool>::default();
    let pipe = BlockingPipe { runtime: Handle::current(), from, is_aborted: Arc::clone(&is_aborted) };
    let start = start(AudioInput::Stream(Box::new(pipe)), format, inbox, permit);
    let spoken = pumped(start, pump(&mut body, to, &is_aborted)).await;
    // The rest is read and discarded, so that the sender gets the response and not a reset connection.
    body::discard(body);
    let (started, progress) = spoken?;
    match progress.state {
        SpeechState::Interrupted if inbox.has_ended() => Err(session_ended()),
        SpeechState::Interrupted => Err(interrupted(&progress)),
        SpeechState::Stalled => Err(stalled()),
        state => {
            let answer = json!({ "utterance": started.utterance, "outcome": state, "spoken_ms": progress.spoken_ms() });
            Ok((StatusCode::OK, Json(answer)))
        }
    }
}

/// Runs `pump` concurrently with `start`, and then until the utterance has ended.
async fn pumped(
    start: impl Future<Output = Result<Started, Problem>>,
    pump: impl Future<Output = ()>,
) -> Result<(Started, SpeechProgress), Problem> {
    let mut pump = pin!(async {
        pump.await;
        std::future::pending::<()>().await;
    });
    let started = tokio::select! {
        started = tokio::time::timeout(FIRST_AUDIO_TIMEOUT, start) => started.map_err(|_elapsed| stalled())??,
        () = &mut pump => return Err(stalled()),
    };
    let mut progress = started.progress.clone();
    let last = tokio::select! {
        // An error means that the session has ended: the last known state counts.
        over = progress.wait_for(|progress| progress.state.is_over()) => over.map(|last| *last).unwrap_or_default(),
        () = &mut pump => SpeechProgress::default(),
    };
    Ok((started, last))
}

/// Passes the body on until it ends, is aborted, or the reader is dropped.
async fn pump(body: &mut BodyDataStream, mut to: DuplexStream, is_aborted: &AtomicBool) {
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else {
            is_aborted.store(true, Ordering::Release);
            return;
        };
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

/// The reading end of a pipe, for a thread outside the runtime.
struct BlockingPipe {
    runtime: Handle,
    from: DuplexStream,
    /// Whether the end of the pipe is an aborted body rather than the end of the audio.
    is_aborted: Arc<AtomicBool>,
}

impl Read for BlockingPipe {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.runtime.block_on(self.from.read(to))?;
        if count == 0 && self.is_aborted.load(Ordering::Acquire) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

/// The format of raw samples in the content type; `None` for files, whose format is detected by the first bytes.
fn format_of(headers: &HeaderMap) -> Result<Option<PcmFormat>, Problem> {
    let found = body::media_type(headers);
    let parameters = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match found.as_str() {
        // s16le, as text to speech services send it; RFC 2586 and RFC 3551, section 4.5.11, are big-endian.
        "audio/pcm" => raw(parameters, Order::Little, 24_000).map(Some),
        "audio/l16" => raw(parameters, Order::Big, 0).map(Some),
        "" | "application/octet-stream" | "application/ogg" | CURL_DEFAULT_TYPE => Ok(None),
        sound if sound.starts_with("audio/") || sound.starts_with("video/") => Ok(None),
        _ => {
            let hint = "curl -H 'content-type: audio/wav' --data-binary @voice.wav ...";
            Err(body::wrong_type("audio/* or application/octet-stream", &found, hint))
        }
    }
}

/// 16-bit samples by the parameters of a content type; a rate of 0 must be given.
fn raw(content_type: &str, order: Order, default_hz: u32) -> Result<PcmFormat, Problem> {
    let number = |wanted: &str, usual: u32| {
        let of = |parameter: &str| {
            parameter
                .trim()
                .split_once('=')
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.trim_matches('"').to_owned())
        };
        content_type.split(';').skip(1).find_map(of).map_or(Some(usual), |value| value.parse().ok())
    };
    let (rate_hz, channels) = (number("rate", default_hz).unwrap_or(0), number("channels", 1).unwrap_or(0));
    raw_format(Coding::Signed16(order), rate_hz, channels).map_err(|error| {
        let hint = "send content-type: audio/pcm;rate=24000;channels=1, or audio/l16;rate=16000";
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.to_string(), hint).at("content-type")
    })
}

/// A format of raw samples.
pub(super) fn raw_format(coding: Coding, rate_hz: u32, channels: u32) -> Result<PcmFormat, AudioFileError> {
    Ok(PcmFormat { layout: Layout::new(rate_hz, usize::try_from(channels).unwrap_or(0), None)?, coding })
}

/// A slot among all utterances and one among those of its client. Released when dropped.
pub(super) type SpeechPermit = (Held, OwnedSemaphorePermit);

/// A slot to decode one more utterance of `client`.
pub(super) fn speech_permit(state: &AppState, client: Client) -> Result<SpeechPermit, Problem> {
    let share = state.speeches().take(client).ok_or_else(too_many_for_client)?;
    Ok((share, state.speech_slots().try_acquire_owned().map_err(|_full| too_many())?))
}

/// A slot from a limited number, so that uploads cannot fill the memory. Waits for the client's own uploads first.
async fn upload_permit(state: &AppState, client: Client) -> Result<SpeechPermit, Problem> {
    let share = tokio::time::timeout(UPLOAD_WAIT, state.uploads().wait(client)).await;
    let share = share.map_err(|_elapsed| too_many_for_client())?;
    let waited = tokio::time::timeout(UPLOAD_WAIT, state.upload_slots().acquire_owned()).await;
    Ok((share, waited.ok().and_then(Result::ok).ok_or_else(too_many)?))
}

fn too_many_for_client() -> Problem {
    let detail = "this address has as many speech requests open as it may";
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        detail,
        "end requests that are not needed, or try again in some seconds",
    )
    .code("too_many_speeches")
    .with(header::RETRY_AFTER, "5")
}

pub(super) fn too_many() -> Problem {
    let detail = "the server is busy with other speech requests";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "try again in some seconds").with(header::RETRY_AFTER, "5")
}

fn session_ended() -> Problem {
    Problem::new(StatusCode::CONFLICT, "the session ended before the speech did", "open another session")
        .code("session_ended")
        .at("id")
}

fn interrupted(progress: &SpeechProgress) -> Problem {
    let detail = format!("the speech was interrupted after {} ms by a newer utterance or a stop", progress.spoken_ms());
    Problem::new(StatusCode::CONFLICT, detail, "nothing: what was queued is discarded").code("interrupted").at("body")
}

fn stalled() -> Problem {
    let detail = format!(
        "wanted audio at least every {} s, and the first within {} s, found none",
        SPEECH_STALL.as_secs(),
        FIRST_AUDIO_TIMEOUT.as_secs()
    );
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail, "end the body where the speech ends, and begin another request")
        .at("body")
        .with(header::CONNECTION, "close")
}

fn not_speakable(error: &AudioFileError) -> Problem {
    let hint = match error {
        AudioFileError::Empty => "send the bytes of an audio file as the body".to_owned(),
        AudioFileError::TooLarge { .. } => "send a smaller file, or convert it: ffmpeg -i FILE voice.mp3".to_owned(),
        _ => format!("send the bytes of a {AUDIO_FORMATS} file as the body, or audio/pcm"),
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, of_audio_file(error), hint).at("body")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// Endless quiet noise that counts the bytes read from it.
    struct Endless(Arc<AtomicU64>);

    impl Read for Endless {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            to.iter_mut().enumerate().for_each(|(n, byte)| *byte = if n % 2 == 0 { n as u8 } else { 0 });
            self.0.fetch_add(to.len() as u64, Ordering::AcqRel);
            Ok(to.len())
        }
    }

    #[test]
    fn endless_audio_is_decoded_only_as_far_as_the_queue_has_room() {
        /// 2 s in the queue, one block in transit, and the buffer of a reader: 16 KB and 4096 frames.
        const MOST_AHEAD_BYTES: u64 = (2_000 + 20) * 48 + (16 << 10) + 4_096 * 2 + 2_000;
        let read = Arc::<AtomicU64>::default();
        let (sink, source) = speech_queue();
        let (report, _opened) = oneshot::channel();
        let format = raw_format(Coding::Signed16(Order::Little), 24_000, 1).expect("a format");
        let input = AudioInput::Stream(Box::new(Endless(Arc::clone(&read))));
        let progress = sink.progress();
        let thread = std::thread::spawn(move || decode(input, Some(format), sink, report));
        let mut source = source;
        for spoken in 0..1_000_u64 {
            // Blocks until there is a block; the decoder may continue meanwhile.
            let block = source.blocking_next_block().expect("endless");
            assert_eq!(block.playback_48k.len(), 960);
            let ahead = read.load(Ordering::Acquire).saturating_sub(spoken * 960);
            assert!(ahead <= MOST_AHEAD_BYTES, "{ahead} bytes ahead after {spoken} blocks");
        }
        drop(source);
        thread.join().expect("the thread ends when the receiver is dropped");
        assert!(progress.borrow().state.is_over());
    }

    #[test]
    fn content_types_of_raw_samples_state_rate_channels_and_byte_order() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().expect("a header"));
            format_of(&headers)
                .map(|format| format.map(|format| (format.layout.rate_hz, format.layout.channels, format.coding)))
        };
        let (little, big) = (Coding::Signed16(Order::Little), Coding::Signed16(Order::Big));
        assert_eq!(of("audio/pcm").expect("a format"), Some((24_000, 1, little)));
        assert_eq!(of("audio/pcm;rate=16000; channels=2").expect("a format"), Some((16_000, 2, little)));
        assert_eq!(of("audio/L16; rate=8000").expect("a format"), Some((8_000, 1, big)));
        assert_eq!(of("audio/mpeg").expect("a file"), None);
        for wrong in ["audio/l16", "audio/pcm;rate=5", "audio/pcm;rate=fast", "audio/pcm;channels=99", "text/plain"] {
            assert_eq!(of(wrong).expect_err(wrong).status(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "{wrong}");
        }
    }
}
