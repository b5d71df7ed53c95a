//! Session descriptions: what an offer must have, and what str0m's answer needs before a browser gets it.
//!
//! Pure text work (RFC 8866, RFC 8829). Negotiation itself is the library's.

use super::JoinError;

/// Longest offer that is read, in bytes.
pub const LONGEST_OFFER: usize = 64 * 1024;

/// The one stream that voice and picture belong to, so that the browser plays them in step.
const STREAM: &str = "visage";

/// Looks at an offer before the library does.
///
/// # Errors
/// If it is too long, no session description, or has no H.264 that the encoder speaks.
pub fn check_offer(offer: &str) -> Result<(), JoinError> {
    let bad = |found: String| Err(JoinError::BadOffer { found });
    if offer.len() > LONGEST_OFFER {
        return bad(format!("{} bytes, {LONGEST_OFFER} at most", offer.len()));
    }
    if !offer.starts_with("v=0") {
        let start: String = offer.chars().take(24).collect();
        return bad(format!("text that begins with {start:?} instead of \"v=0\""));
    }
    if !offer.lines().any(|line| line.starts_with("m=video ")) {
        return bad(
            "no m=video line: ask for a picture with addTransceiver('video', {direction: 'recvonly'})".to_owned()
        );
    }
    if offer.lines().any(is_baseline) {
        return Ok(());
    }
    Err(JoinError::NoUsableVideo { offered: offered_video(offer) })
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

/// The constraint bits of a profile-level-id that begins with 42: baseline streams that obey set 1 play everywhere.
fn is_constrained(profile: &str) -> bool {
    let bits = profile.get(2..4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    bits.is_some_and(|bits| bits & 0x40 != 0) || profile.starts_with("4200")
}

fn offered_video(offer: &str) -> String {
    let names = offer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '));
    let mut video: Vec<&str> = names.filter(|(_, codec)| codec.ends_with("/90000")).map(|(_, codec)| codec).collect();
    video.dedup();
    if video.is_empty() { "none".to_owned() } else { video.join(", ") }
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

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nm=video 9 UDP/TLS/RTP/SAVPF 106\r\n\
        a=rtpmap:106 H264/90000\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

    #[test]
    fn an_offer_with_baseline_h264_is_taken() {
        assert!(check_offer(OFFER).is_ok());
    }

    #[test]
    fn an_offer_without_usable_codecs_says_what_it_had() {
        let vp9 = OFFER.replace("H264", "VP9").replace("profile-level-id=42e01f", "profile-id=0");
        let error = check_offer(&vp9).expect_err("VP9 only");
        assert!(matches!(&error, JoinError::NoUsableVideo { offered } if offered.contains("VP9")), "{error}");
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
