//! Session descriptions: what an offer must have, and what str0m's answer needs before a browser gets it.
//!
//! Pure text work (RFC 8866, RFC 8829). Negotiation itself is the library's.

use super::JoinError;
use crate::codec::VideoCodec;

/// Longest offer that is read, in bytes.
pub const LONGEST_OFFER: usize = 64 * 1024;

/// The one stream that voice and picture belong to, so that the browser plays them in step.
const STREAM: &str = "visage";

/// Looks at an offer before the library does; gives the codec that its pictures are to have.
///
/// # Errors
/// If it is too long, no session description, or has no codec that an encoder speaks.
pub fn check_offer(offer: &str) -> Result<VideoCodec, JoinError> {
    let bad = |found: String| Err(JoinError::BadOffer { found });
    if offer.len() > LONGEST_OFFER {
        return bad(format!("{} bytes, {LONGEST_OFFER} at most", offer.len()));
    }
    if !offer.starts_with("v=0") {
        let start: String = offer.chars().take(24).collect();
        return bad(format!("text that begins with {start:?} instead of \"v=0\""));
    }
    let Some(video) = section(offer, "video") else {
        return bad(
            "no m=video line: ask for a picture with addTransceiver('video', {direction: 'recvonly'})".to_owned()
        );
    };
    let Some(codec) = codec_of(video.clone()) else {
        return Err(JoinError::NoUsableVideo { offered: offered(video.filter(|line| line.ends_with("/90000"))) });
    };
    if video.clone().any(|line| line == "a=sendonly" || line == "a=inactive") {
        return bad("an m=video line that receives nothing: its direction must be recvonly or sendrecv".to_owned());
    }
    check_voice(offer)?;
    Ok(codec)
}

/// Whether an offer has the codec of a running session.
///
/// # Errors
/// If it does not.
pub fn check_codec(offer: &str, codec: VideoCodec) -> Result<(), JoinError> {
    let Some(mut video) = section(offer, "video") else { return Ok(()) };
    let lines = video.clone();
    let (has_it, codec) = match codec {
        VideoCodec::H264 => (video.any(is_baseline), "H.264"),
        #[cfg(feature = "vp8")]
        VideoCodec::Vp8 => (video.any(is_vp8), "VP8"),
    };
    let offered = || offered(lines.filter(|line| line.ends_with("/90000")));
    if has_it { Ok(()) } else { Err(JoinError::OtherCodec { codec, offered: offered() }) }
}

/// The offer of a viewer without the microphone: it sends nothing, whatever directions it names. So the answer never
/// says that its audio is received (draft-ietf-wish-whep: an offer may be `sendrecv`, the answer is `sendonly`).
#[must_use]
pub fn receive_only(offer: &str) -> String {
    let lines = offer.lines().map(|line| if line == "a=sendrecv" { "a=recvonly" } else { line });
    lines.fold(String::with_capacity(offer.len()), |text, line| text + line + "\r\n")
}

/// Whoever offers voice wants it to be heard: better no session than one that stays silent (RFC 7587: Opus is `opus/48000/2`).
fn check_voice(offer: &str) -> Result<(), JoinError> {
    let Some(mut voice) = section(offer, "audio") else { return Ok(()) };
    let lines = voice.clone();
    let is_off = voice.next().is_none_or(|line| line.split(' ').nth(1) == Some("0"));
    let is_opus = |line: &str| line.starts_with("a=rtpmap:") && line.to_ascii_lowercase().contains(" opus/48000");
    if is_off || voice.any(is_opus) { Ok(()) } else { Err(JoinError::NoUsableAudio { offered: offered(lines) }) }
}

/// The codec for a peer that offers these lines: H.264 if it can, for its encoder costs less.
fn codec_of<'a>(video: impl Iterator<Item = &'a str> + Clone) -> Option<VideoCodec> {
    if video.clone().any(is_baseline) {
        return Some(VideoCodec::H264);
    }
    #[cfg(feature = "vp8")]
    if video.clone().any(is_vp8) {
        return Some(VideoCodec::Vp8);
    }
    None
}

/// Whether a line offers VP8 (RFC 7741, section 6).
#[cfg(feature = "vp8")]
fn is_vp8(line: &str) -> bool {
    let codec = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' '));
    codec.is_some_and(|(_, codec)| codec.trim_end().eq_ignore_ascii_case("VP8/90000"))
}

/// The lines of the first section of `kind`, its m-line first.
fn section<'a>(text: &'a str, kind: &'a str) -> Option<impl Iterator<Item = &'a str> + Clone> {
    let is_first = move |line: &&str| line.strip_prefix("m=").is_some_and(|media| media.starts_with(kind));
    let start = text.lines().position(|line| is_first(&line))?;
    let mut is_over = false;
    let lines = text.lines().skip(start).enumerate().take_while(move |(number, line)| {
        is_over |= *number > 0 && line.starts_with("m=");
        !is_over
    });
    Some(lines.map(|(_, line)| line))
}

/// The offer without its candidates: as a lite agent (RFC 8445, section 2.5) we bind_address where the peer is from its own
/// checks, so names that only mean something in the peer's network (`.local`) need not be read at all.
#[must_use]
pub fn without_candidates(offer: &str) -> String {
    let kept =
        offer.lines().filter(|line| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates"));
    kept.fold(String::with_capacity(offer.len()), |text, line| text + line + "\r\n")
}

/// Looks at what the library made of the offer: a session without a picture is none.
///
/// # Errors
/// If the answer does not send video.
pub fn check_answer(answer: &str) -> Result<(), JoinError> {
    let Some(mut video) = section(answer, "video") else {
        return Err(JoinError::BadOffer { found: "an m=video line that cannot be answered".to_owned() });
    };
    let is_refused = video.next().is_none_or(|line| line.split(' ').nth(1) == Some("0"));
    let sends = video.any(|line| line == "a=sendonly" || line == "a=sendrecv");
    if is_refused || !sends {
        return Err(JoinError::BadOffer { found: "an m=video line on which nothing can be sent".to_owned() });
    }
    Ok(())
}

/// Whether a line offers constrained baseline H.264 in packetization mode 1 (RFC 6184, section 8.1).
fn is_baseline(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let profile = line.split("profile-level-id=").nth(1).unwrap_or_default();
    line.starts_with("a=fmtp:")
        && line.contains("packetization-mode=1")
        && profile.starts_with("42")
        && is_constrained(profile)
}

/// The constraint bits of a profile-level-id that begins with 42: baseline streams that handle_command set 1 play everywhere.
fn is_constrained(profile: &str) -> bool {
    let bits = profile.get(2..4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    bits.is_some_and(|bits| bits & 0x40 != 0)
}

/// The codecs that lines of one section name.
fn offered<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let names = lines.filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    let mut names: Vec<&str> = names.map(|(_, codec)| codec).collect();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The answer with voice and picture in one stream.
#[must_use]
pub fn in_one_stream(answer: &str) -> String {
    let mut kind = "";
    let lines = answer.lines().map(|line| {
        if let Some(media) = line.strip_prefix("m=") {
            kind = if media.starts_with("audio") { "voice" } else { "picture" };
        }
        one_stream_line(line, kind)
    });
    lines.fold(String::with_capacity(answer.len()), |text, line| text + &line + "\r\n")
}

fn one_stream_line(line: &str, track: &str) -> String {
    if line.starts_with("a=msid:") {
        return format!("a=msid:{STREAM} {track}");
    }
    match line.split_once(" msid:") {
        Some((ssrc, _)) if line.starts_with("a=ssrc:") => format!("{ssrc} msid:{STREAM} {track}"),
        _ if line.starts_with("a=msid-semantic:") => format!("a=msid-semantic:WMS {STREAM}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=rtpmap:111 opus/48000/2\r\nm=video 9 UDP/TLS/RTP/SAVPF 106\r\n\
        a=rtpmap:106 H264/90000\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

    #[test]
    fn an_offer_with_baseline_h264_is_taken() {
        assert_eq!(check_offer(OFFER).expect("a codec"), VideoCodec::H264);
    }

    /// The offer with VP8 in the first place, and H.264 (if at all) behind it.
    fn with_vp8(other: &str) -> String {
        OFFER.replace("SAVPF 106\r\n", "SAVPF 96 106\r\na=rtpmap:96 VP8/90000\r\n").replace("H264/90000", other)
    }

    #[test]
    fn h264_is_preferred_wherever_it_stands() {
        assert_eq!(check_offer(&with_vp8("H264/90000")).expect("a codec"), VideoCodec::H264);
    }

    #[cfg(feature = "vp8")]
    #[test]
    fn a_peer_without_usable_h264_gets_vp8() {
        let mode_0 = with_vp8("H264/90000").replace("packetization-mode=1", "packetization-mode=0");
        assert_eq!(check_offer(&mode_0).expect("a codec"), VideoCodec::Vp8);
        assert_eq!(check_offer(&mode_0.replace("VP8", "vp8")).expect("a codec"), VideoCodec::Vp8);
    }

    #[cfg(not(feature = "vp8"))]
    #[test]
    fn vp8_alone_is_refused_by_a_build_without_it() {
        let mode_0 = with_vp8("H264/90000").replace("packetization-mode=1", "packetization-mode=0");
        let error = check_offer(&mode_0).expect_err("VP8 only");
        assert!(
            matches!(&error, JoinError::NoUsableVideo { offered } if offered == "VP8/90000, H264/90000"),
            "{error}"
        );
    }

    #[test]
    fn an_offer_without_usable_codecs_says_what_it_had() {
        let vp9 = OFFER.replace("H264", "VP9").replace("profile-level-id=42e01f", "profile-id=0");
        let error = check_offer(&vp9).expect_err("VP9 only");
        assert!(matches!(&error, JoinError::NoUsableVideo { offered } if offered.contains("VP9")), "{error}");
    }

    #[test]
    fn a_voice_that_cannot_be_heard_is_refused_and_no_voice_is_fine() {
        let (voice, rest) = (OFFER.find("m=audio").expect("a voice"), OFFER.find("m=video").expect("a picture"));
        let with = |line: &str| check_offer(&format!("{}{line}{}", &OFFER[..voice], &OFFER[rest..]));
        let error = with("m=audio 9 RTP 0\r\na=rtpmap:0 PCMU/8000\r\n").expect_err("PCMU only");
        assert!(matches!(&error, JoinError::NoUsableAudio { offered } if offered == "PCMU/8000"), "{error}");
        assert!(with("m=audio 9 RTP 0\r\n").is_err() && with("m=audio 0 RTP 0\r\n").is_ok() && with("").is_ok());
        assert!(with("m=audio 9 RTP 96\r\na=rtpmap:96 OPUS/48000/2\r\n").is_ok());
    }

    #[test]
    fn an_offer_that_receives_no_picture_is_refused() {
        assert!(matches!(check_offer(&(OFFER.to_owned() + "a=sendonly\r\n")), Err(JoinError::BadOffer { .. })));
        let later = OFFER.to_owned() + "a=recvonly\r\nm=audio 9 RTP 0\r\na=sendonly\r\n";
        assert!(check_offer(&later).is_ok(), "another line's direction is another line's");
        let (audio, _) = OFFER.split_once("m=video").expect("a video line");
        assert!(matches!(check_offer(audio), Err(JoinError::BadOffer { .. })));
    }

    #[test]
    fn candidates_of_the_peer_are_not_read() {
        let offer =
            OFFER.to_owned() + "a=candidate:1 1 udp 1 6b2f.local 5 typ host\r\na=mid:1\r\na=end-of-candidates\r\n";
        assert_eq!(without_candidates(&offer), OFFER.to_owned() + "a=mid:1\r\n");
    }

    #[test]
    fn an_answer_that_sends_no_picture_is_none() {
        assert!(check_answer("v=0\r\nm=video 9 X 1\r\na=sendonly\r\n").is_ok());
        assert!(check_answer("v=0\r\nm=video 0 X 1\r\na=sendonly\r\n").is_err());
        assert!(check_answer("v=0\r\nm=video 9 X 1\r\na=inactive\r\n").is_err());
        assert!(check_answer("v=0\r\n").is_err());
    }

    #[test]
    fn mutated_offers_never_panic() {
        for at in 0..OFFER.len() {
            let _ = check_offer(&OFFER[..at]);
            let mut bytes = OFFER.as_bytes().to_vec();
            bytes[at] ^= 0x15;
            let _ = check_offer(&String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn voice_and_picture_get_one_stream() {
        let answer = "v=0\r\na=msid-semantic:WMS *\r\nm=audio 9\r\na=msid:x y\r\na=ssrc:1 msid:x y\r\nm=video 9\r\na=msid:p q\r\n";
        let changed = in_one_stream(answer);
        assert!(
            changed.contains("a=msid:visage voice\r\n") && changed.contains("a=msid:visage picture\r\n"),
            "{changed}"
        );
        assert!(changed.contains("a=ssrc:1 msid:visage voice"), "{changed}");
    }
}
