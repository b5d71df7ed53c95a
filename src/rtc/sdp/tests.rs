//! Offers as clients write them, and what is answered.

use std::net::SocketAddr;

use proptest::prelude::*;
use str0m::change::SdpAnswer;

use super::super::{JoinError, RtcFactory};
use super::{LONGEST_OFFER, Offer, OfferTerms};
use crate::codec::VideoCodec;
use crate::time::Wall;

const TRANSPORT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 \
    00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n";
const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
const OPUS: &str =
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n";
const H264: &str = "m=video 9 UDP/TLS/RTP/SAVPF 106 107\r\na=rtpmap:106 H264/90000\r\na=rtcp-fb:* nack pli\r\n\
    a=rtcp-fb:106 transport-cc\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";

/// An offer as browsers write it.
fn offer() -> String {
    let group = "a=group:BUNDLE 0 1\r\n";
    format!("{HEAD}{group}{OPUS}{TRANSPORT}a=mid:0\r\na=sendrecv\r\n{H264}{TRANSPORT}a=mid:1\r\na=recvonly\r\n")
}

fn answer(offer: &str) -> Result<String, JoinError> {
    let factory = RtcFactory::new(&[SocketAddr::from(([192, 0, 2, 1], 4000))]);
    factory.answer(offer, Wall.now()).map(|(_, _, answer)| answer)
}

fn refusal(offer: &str) -> String {
    answer(offer).expect_err(offer).to_string()
}

/// The m-lines of a description with the lines below them.
fn sections(text: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("m=")).collect();
    lines.chunk_by(|_, next| !next.starts_with("m=")).map(<[&str]>::to_vec).collect()
}

fn is_rejected(section: &[&str]) -> bool {
    section[0].split(' ').nth(1) == Some("0")
}

#[test]
fn an_offer_of_a_browser_is_answered_with_one_stream_of_audio_and_video() {
    let answer = answer(&offer()).expect("an answer");
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"), "{answer}");
    assert!(answer.contains("a=msid:visage audio\r\n") && answer.contains("a=msid:visage video\r\n"), "{answer}");
    assert!(answer.contains("a=rtcp-fb:106 nack pli\r\n"), "a wildcard is for every payload type: {answer}");
    assert!(answer.contains("a=rtpmap:107 rtx/90000\r\n"), "{answer}");
    assert!(sections(&answer)[1].contains(&"a=sendonly"), "{answer}");
    SdpAnswer::from_sdp_string(&answer).expect("an answer that a client reads");
}

#[test]
fn directions_may_be_missing_or_the_sessions() {
    let none = offer().replace("a=sendrecv\r\n", "").replace("a=recvonly\r\n", "");
    let session = none.replace("t=0 0\r\n", "t=0 0\r\na=recvonly\r\n");
    for text in [&none, &session, &session.replace("a=mid:1", "a=sendrecv\r\na=mid:1")] {
        let answer = answer(text).expect("an answer");
        assert!(sections(&answer)[1].contains(&"a=sendonly"), "{answer}");
    }
    assert!(sections(&answer(&none).expect("an answer"))[0].contains(&"a=sendrecv"));
    assert!(sections(&answer(&session).expect("an answer"))[0].contains(&"a=sendonly"));
}

#[test]
fn one_section_needs_neither_a_group_nor_an_identification() {
    let text = format!("{HEAD}{TRANSPORT}{H264}");
    let alone = answer(&text).expect("an answer");
    assert!(!alone.contains("BUNDLE") && !alone.contains("a=mid"), "{alone}");
    let named = answer(&format!("{text}a=mid:a-name-longer-than-16-characters\r\n")).expect("an answer");
    assert!(named.contains("a=mid:a-name-longer-than-16-characters\r\n") && !named.contains("BUNDLE"), "{named}");
}

#[test]
fn a_group_may_be_in_another_order_than_the_sections_and_name_the_transport() {
    let other = "a=ice-ufrag:wxyz\r\na=ice-pwd:zyxwvutsrqponmlkjihgfedcba\r\n";
    let text = offer().replace("BUNDLE 0 1", "BUNDLE 1 0").replace("a=mid:0\r\n", &format!("a=mid:0\r\n{other}"));
    assert!(answer(&text).expect("an answer").contains("a=group:BUNDLE 1 0\r\n"));
    let own = Offer::read(&text, OfferTerms::default()).expect("an offer").normalized;
    assert!(own.contains("a=ice-ufrag:abcd"), "the transport is that of the first in the group: {own}");
    let apart = refusal(&offer().replace("BUNDLE 0 1", "BUNDLE 1"));
    assert!(apart.contains("line 6") && apart.contains("a=group:BUNDLE"), "{apart}");
}

#[test]
fn the_first_video_section_that_can_be_sent_is_used_and_the_others_are_rejected() {
    let section = |mid: &str, direction: &str| format!("{H264}a=mid:{mid}\r\na={direction}\r\n");
    let vp9 = section("v", "recvonly").replace("H264", "VP9");
    let firsts = [section("x", "sendonly"), section("y", "recvonly").replace("m=video 9", "m=video 0"), vp9];
    for first in firsts {
        let text = format!(
            "{HEAD}{TRANSPORT}a=group:BUNDLE good d\r\n{first}{}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n{}",
            section("good", "recvonly"),
            section("late", "recvonly"),
        );
        let answer = answer(&text).expect("an answer");
        let rejected: Vec<bool> = sections(&answer).iter().map(|section| is_rejected(section)).collect();
        assert_eq!(rejected, [true, false, true, true], "{answer}");
        assert!(answer.contains("a=group:BUNDLE good\r\n"), "{answer}");
        assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"), "{answer}");
    }
}

#[test]
fn opus_has_two_channels_in_every_answer_or_there_is_no_call() {
    for name in ["opus/48000", "OPUS/48000", "OPUS/48000/2"] {
        let answer = answer(&offer().replace("opus/48000/2", name)).expect(name);
        assert!(answer.contains("a=rtpmap:111 opus/48000/2\r\n") && !is_rejected(&sections(&answer)[0]), "{answer}");
    }
    let mono = refusal(&offer().replace("opus/48000/2", "opus/48000/1"));
    assert!(mono.contains("wanted opus/48000/2") && mono.contains("found: opus/48000/1"), "{mono}");
    let pcmu = refusal(&offer().replace("opus/48000/2", "PCMU/8000"));
    assert!(pcmu.ends_with("found: PCMU/8000"), "{pcmu}");
    let inactive = offer().replace("opus/48000/2", "PCMU/8000").replace("a=sendrecv", "a=inactive");
    assert!(is_rejected(&sections(&answer(&inactive).expect("an answer"))[0]));
}

#[test]
fn fingerprints_that_cannot_be_verified_are_refused_and_the_best_is_used() {
    let digest = TRANSPORT.split("sha-256 ").nth(1).expect("a digest").trim_end();
    let long = format!("{digest}:{digest}");
    for bad in
        [format!("sha-512 {long}"), format!("sha-256 {long}"), format!("sha-256 {}", &digest[3..]), "md5 00".to_owned()]
    {
        let error = refusal(&offer().replace(&format!("sha-256 {digest}"), &bad));
        assert!(error.contains("line 12") && error.contains("wanted sha-256"), "{error}");
    }
    let more = offer().replace("a=fingerprint:", &format!("a=fingerprint:sha-512 {long}\r\na=fingerprint:"));
    assert!(
        Offer::read(&more, OfferTerms::default()).expect("an offer").normalized.contains(&format!("sha-256 {digest}"))
    );
    let none = refusal(&offer().replace("a=fingerprint:", "a=x-fingerprint:"));
    assert!(none.contains("a=fingerprint"), "{none}");
}

#[test]
fn an_answer_never_has_a_higher_level_than_the_offer_unless_it_allows_that() {
    let level = |offer: &str| {
        let answer = answer(offer).expect("an answer");
        answer.split("profile-level-id=").nth(1).expect("a level")[..6].to_owned()
    };
    assert_eq!(level(&offer()), "42e01f");
    assert_eq!(level(&offer().replace("42e01f", "42e00d")), "42e01f");
    assert_eq!(level(&offer().replace("42e01f", "42e00d").replace("allowed=1", "allowed=0")), "42e00d");
    assert_eq!(level(&offer().replace("42e01f", "42e034").replace("level-asymmetry-allowed=1;", "")), "42e01f");
}

/// As `whepsrc` of gst-plugin-webrtchttp 0.15.4 writes it on GStreamer 1.22, with these parts of its `video-caps` in `a=fmtp`.
/// Its first section has no `a=fmtp`, its second one port 0 (bundle-only) and bare payload types.
fn gstreamer(fmtp: &str) -> String {
    let candidates = "a=candidate:1 1 UDP 2015363327 192.0.2.2 55820 typ host\r\n\
        a=candidate:2 1 TCP 1015021823 192.0.2.2 9 typ host tcptype active\r\n";
    let section = |kind: &str, mid: &str| {
        format!("{kind}{TRANSPORT}a=rtcp-mux\r\na=rtcp-rsize\r\na=recvonly\r\na=mid:{mid}\r\na=rtcp-mux-only\r\n")
    };
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:96 OPUS/48000\r\n\
        a=rtcp-fb:96 transport-cc\r\n";
    let video = format!(
        "m=video 0 UDP/TLS/RTP/SAVPF 101 103\r\nc=IN IP4 0.0.0.0\r\na=bundle-only\r\na=rtpmap:101 VP9/90000\r\n\
        a=rtpmap:103 H264/90000\r\na=rtcp-fb:103 nack pli\r\na=rtcp-fb:103 ccm fir\r\n{fmtp}"
    );
    let [audio, video] = [section(audio, "audio0"), section(&video, "video1")];
    format!("{HEAD}a=ice-options:trickle\r\na=group:BUNDLE audio0 video1\r\n{audio}{candidates}{video}")
}

#[test]
fn an_offer_of_gstreamer_is_answered_if_it_has_packetization_mode_1() {
    let answer = answer(&gstreamer("a=fmtp:103 packetization-mode=1;profile-level-id=42e01f\r\n")).expect("an answer");
    assert!(
        answer.contains("a=rtpmap:96 opus/48000/2\r\n") && answer.contains("a=rtpmap:103 H264/90000\r\n"),
        "{answer}"
    );
    assert!(
        sections(&answer).iter().all(|section| !is_rejected(section) && section.contains(&"a=sendonly")),
        "{answer}"
    );
    let none = refusal(&gstreamer(""));
    assert!(none.contains("H264/90000 with no profile-level-id and no packetization-mode, which means 0"), "{none}");
}

#[test]
fn unusable_video_is_refused_with_its_profile_and_mode() {
    let mode = refusal(&offer().replace("packetization-mode=1", "packetization-mode=0"));
    assert!(mode.contains("H264/90000 with profile-level-id=42e01f and packetization-mode=0"), "{mode}");
    let none = refusal(&offer().replace("packetization-mode=1;", ""));
    assert!(none.contains("profile-level-id=42e01f and no packetization-mode, which means 0"), "{none}");
    let high = refusal(&offer().replace("42e01f", "640c1f"));
    assert!(high.contains("profile-level-id=640c1f") && !high.contains("rtx"), "{high}");
    assert!(matches!(answer(&offer().replace("H264", "VP9")), Err(JoinError::NoUsableVideo { .. })));
}

#[cfg(feature = "vp8")]
#[test]
fn a_peer_without_usable_h264_gets_vp8() {
    let both = offer().replace("SAVPF 106 107", "SAVPF 96 106 107\r\na=rtpmap:96 vp8/90000");
    let codec = |text: &str| Offer::read(text, OfferTerms::default()).expect("an offer").video.codec();
    assert_eq!(codec(&both), VideoCodec::H264);
    assert_eq!(codec(&both.replace("packetization-mode=1", "packetization-mode=0")), VideoCodec::Vp8);
}

#[cfg(not(feature = "vp8"))]
#[test]
fn vp8_alone_is_refused_by_a_build_without_it() {
    let vp8 = offer().replace("H264/90000", "VP8/90000");
    assert!(matches!(answer(&vp8), Err(JoinError::NoUsableVideo { offered }) if offered == "VP8/90000"));
    assert_eq!(Offer::read(&offer(), OfferTerms::default()).expect("an offer").video.codec(), VideoCodec::H264);
}

#[test]
fn errors_quote_the_line_that_is_wrong() {
    let cases = [
        (offer().replace("a=setup:actpass", "a=setup:holdconn"), "line 11 (\"a=setup:holdconn\")"),
        (offer().replace("a=mid:1", "a=mid:0"), "two m-lines have the same a=mid"),
        (offer().replace("a=ice-pwd:abcdefghijklmnopqrstuvwx", "a=ice-pwd:abc"), "wanted 22 to 256"),
        (offer().replace("a=ice-ufrag", "a=x-ufrag"), "has a=ice-ufrag"),
        (offer().replace("s=-\r\n", "s=-\r\na=ice-lite\r\n"), "line 4 (\"a=ice-lite\")"),
        (offer().replace("s=-\r\n", "s=-\r\nhello\r\n"), "line 4 (\"hello\")"),
        (offer().replace("SAVPF 111\r\n", "SAVPF\r\n"), "line 6 (\"m=audio 9 UDP/TLS/RTP/SAVPF\")"),
        (offer().replace("106", "111"), "both use payload type 111"),
        (offer().replace("a=recvonly", "a=sendonly"), "must be recvonly or sendrecv"),
        (offer().replace("m=video 9 ", "m=video 0 ").replace(" 0 1\r\n", " 0\r\n"), "rejected by its port 0"),
        (offer().replace("m=video", "m=text"), "no m=video line"),
        ("hello".to_owned(), "begins with \"hello\""),
        ("v=0\r\n".repeat(LONGEST_OFFER), "65536 at most"),
    ];
    for (text, problem) in cases {
        let error = refusal(&text);
        assert!(error.contains(problem), "wanted {problem:?}, found {error:?}");
    }
}

#[test]
fn a_viewer_gets_the_codec_of_the_session_and_sends_no_audio() {
    let read = |text: &str, codec| Offer::read(text, OfferTerms { codec, is_receive_only: true });
    let normalized = read(&offer(), Some(VideoCodec::H264)).expect("an offer").normalized;
    assert!(!normalized.contains("a=sendrecv") && normalized.matches("a=recvonly").count() == 2, "{normalized}");
    let sending = offer().replace("a=sendrecv", "a=sendonly");
    assert!(!read(&sending, None).expect("an offer").normalized.contains("m=audio"));
}

#[test]
fn candidates_and_simulcast_of_the_peer_are_not_read() {
    let text =
        offer() + "a=candidate:1 1 udp 1 6b2f.local 5 typ host\r\na=simulcast:recv x\r\na=rid:x recv\r\na=ssrc:x\r\n";
    let normalized = Offer::read(&text, OfferTerms::default()).expect("an offer").normalized;
    assert!(
        ["candidate", "simulcast", "a=rid", "a=ssrc"].iter().all(|name| !normalized.contains(name)),
        "{normalized}"
    );
}

/// An offer that the RFCs allow, in one of many shapes.
#[derive(Clone, Debug)]
struct Shape {
    /// Kinds of sections beside the good video section, and where that one stands.
    others: Vec<usize>,
    good_at: usize,
    direction: usize,
    is_transport_in_session: bool,
    is_group_reversed: bool,
    mids: Vec<String>,
    line_end: &'static str,
    proto: &'static str,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let mids = prop::collection::btree_set("[a-zA-Z0-9.+_-]{1,20}", 8);
    let ends = prop::sample::select(vec!["\r\n", "\n", " \r\n"]);
    let protos = prop::sample::select(vec!["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/AVP"]);
    let others = prop::collection::vec(0..6_usize, 0..6);
    (others, 0..6_usize, 0..5_usize, any::<bool>(), any::<bool>(), mids, ends, protos).prop_map(
        |(others, good_at, direction, is_transport_in_session, is_group_reversed, mids, line_end, proto)| Shape {
            good_at: good_at.min(others.len()),
            others,
            direction,
            is_transport_in_session,
            is_group_reversed,
            mids: mids.into_iter().collect(),
            line_end,
            proto,
        },
    )
}

impl Shape {
    /// Sections without `a=mid`, and whether each is bundled.
    fn sections(&self) -> Vec<(String, bool)> {
        let (direction, _) = self.directions();
        let good = (format!("{H264}{direction}"), true);
        let other = |kind: &usize| match kind {
            0 => (format!("{H264}a=sendonly\r\n"), true),
            1 => (format!("{H264}a=recvonly\r\n").replace("m=video 9", "m=video 0"), false),
            2 => (format!("{H264}a=recvonly\r\n").replace("H264", "AV1"), true),
            3 => ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n".to_owned(), true),
            4 => (format!("{OPUS}a=sendrecv\r\n"), true),
            _ => ("m=text 9 UDP/TLS/RTP/SAVPF 98\r\na=rtpmap:98 t140/1000\r\n".to_owned(), true),
        };
        let mut sections: Vec<_> = self.others.iter().map(other).collect();
        sections.insert(self.good_at, good);
        sections
    }

    /// The direction of the good section, and of the session.
    fn directions(&self) -> (&'static str, &'static str) {
        [
            ("a=recvonly\r\n", ""),
            ("a=sendrecv\r\n", "a=sendonly\r\n"),
            ("", ""),
            ("", "a=recvonly\r\n"),
            ("", "a=sendrecv\r\n"),
        ][self.direction]
    }

    fn text(&self) -> String {
        let sections = self.sections();
        let mut group: Vec<&str> =
            sections.iter().zip(&self.mids).filter(|((_, is_bundled), _)| *is_bundled).map(|(_, mid)| &**mid).collect();
        if self.is_group_reversed {
            group.reverse();
        }
        let (above, below) = if self.is_transport_in_session { (TRANSPORT, "") } else { ("", TRANSPORT) };
        let head = format!("{HEAD}a=group:BUNDLE {}\r\n{above}{}", group.join(" "), self.directions().1);
        let bodies = sections.iter().zip(&self.mids).map(|((body, _), mid)| format!("{body}{below}a=mid:{mid}\r\n"));
        let text = head + &bodies.collect::<String>();
        text.replace("UDP/TLS/RTP/SAVPF", self.proto).replace("\r\n", self.line_end)
    }
}

proptest! {
    #[test]
    fn every_shape_of_an_offer_is_answered_section_by_section(shape in shapes()) {
        let text = shape.text();
        let answer = answer(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        let (offered, answered) = (sections(&text), sections(&answer));
        prop_assert_eq!(offered.len(), answered.len());
        for (offered, answered) in offered.iter().zip(&answered) {
            let field = |section: &[&str], n: usize| section[0].split_ascii_whitespace().nth(n).map(str::to_owned);
            prop_assert_eq!((field(offered, 0), field(offered, 2)), (field(answered, 0), field(answered, 2)));
            let mid = |section: &[&str]| section.iter().find(|line| line.starts_with("a=mid:")).map(|line| line.trim_end().to_owned());
            prop_assert_eq!(mid(offered), mid(answered));
        }
        let sent = answered.iter().filter(|section| section[0].starts_with("m=video") && !is_rejected(section));
        prop_assert_eq!(sent.count(), 1);
        prop_assert!(!is_rejected(&answered[shape.good_at]) && answered[shape.good_at].contains(&"a=sendonly"));
        let has_audio = answered.iter().any(|section| section[0].starts_with("m=audio") && !is_rejected(section));
        prop_assert_eq!(has_audio, shape.others.contains(&4));
    }

    /// Lines left out, doubled, moved and cut: an answer, or an error that quotes only the offer.
    #[test]
    fn broken_offers_never_panic_and_errors_have_no_text_of_the_library(
        shape in shapes(),
        edits in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..6),
    ) {
        let text = shape.text();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (edit, one, other) in edits {
            if lines.is_empty() {
                break;
            }
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            match edit {
                0 => drop(lines.remove(one)),
                1 => lines.insert(one, lines[other].clone()),
                2 => lines.swap(one, other),
                _ => {
                    let cut = other % (lines[one].len() + 1);
                    lines[one].truncate(cut);
                }
            }
        }
        if let Err(error) = answer(&lines.join("\r\n")) {
            let error = error.to_string();
            prop_assert!(!error.contains("PointerOffset") && !error.contains("library"), "{error}\n{}", lines.join("\n"));
        }
    }
}
