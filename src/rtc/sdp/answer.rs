//! The answer for the peer: str0m's, in the layout of the offer (RFC 3264, section 6).
//!
//! str0m answers the normalized offer. Here its sections get the offer's identifications and protocols, rejected
//! sections are inserted, and audio and video get one media stream, so that browsers synchronise them.

use std::fmt::Write;

use super::super::JoinError;

/// Media stream of audio and video.
const STREAM: &str = "visage";

/// The layout of an answer.
#[derive(Debug)]
pub struct AnswerLayout {
    /// Its sections: as many as in the offer, in the same order.
    pub sections: Vec<AnswerSection>,
    /// The BUNDLE group, if the offer has one for the accepted sections.
    pub bundle: Option<Vec<String>>,
}

/// A section of an answer.
#[derive(Debug)]
pub struct AnswerSection {
    /// Kind of media.
    pub kind: String,
    /// Transport protocol.
    pub proto: String,
    /// Formats of the offer, for a section that is rejected.
    pub formats: String,
    /// Identification, if the offer has one.
    pub mid: Option<String>,
    /// The mid that str0m uses; `None` if the section is rejected.
    pub str0m_mid: Option<String>,
}

impl AnswerLayout {
    /// Lays out str0m's answer.
    ///
    /// # Errors
    /// If str0m did not accept video for sending.
    pub fn apply(&self, answer: &str) -> Result<String, JoinError> {
        let lines: Vec<&str> = answer.lines().collect();
        let first = lines.iter().position(|line| line.starts_with("m=")).unwrap_or(lines.len());
        let (session, media) = lines.split_at(first);
        let media: Vec<&[&str]> = media.chunk_by(|_, next| !next.starts_with("m=")).collect();
        let mut text = String::with_capacity(answer.len() + 512);
        session.iter().for_each(|line| self.write_session_line(&mut text, line));
        for section in &self.sections {
            match section.find(&media) {
                Some(lines) => section.write_accepted(&mut text, lines)?,
                None => section.write_rejected(&mut text),
            }
        }
        Ok(text)
    }

    /// Writing to a string cannot fail.
    fn write_session_line(&self, text: &mut String, line: &str) {
        if line.starts_with("a=group:") {
            if let Some(mids) = &self.bundle {
                let _ = write!(text, "a=group:BUNDLE {}\r\n", mids.join(" "));
            }
        } else if line.starts_with("a=msid-semantic:") {
            let _ = write!(text, "a=msid-semantic:WMS {STREAM}\r\n");
        } else {
            let _ = write!(text, "{line}\r\n");
        }
    }
}

impl AnswerSection {
    fn find<'l, 'a>(&self, media: &[&'l [&'a str]]) -> Option<&'l [&'a str]> {
        let mid = format!("a=mid:{}", self.str0m_mid.as_ref()?);
        media.iter().find(|lines| lines.contains(&mid.as_str())).copied()
    }

    fn write_accepted(&self, text: &mut String, lines: &[&str]) -> Result<(), JoinError> {
        let is_sent = lines.iter().any(|line| *line == "a=sendonly" || *line == "a=sendrecv");
        let mut fields = lines[0].split(' ').skip(1);
        let is_open = fields.next().is_some_and(|port| port != "0");
        if self.kind == "video" && !(is_sent && is_open) {
            return Err(JoinError::BadOffer { found: "an m=video line on which nothing can be sent".to_owned() });
        }
        let formats: Vec<&str> = fields.skip(1).collect();
        let port = if is_open { 9 } else { 0 };
        let _ = write!(text, "m={} {port} {} {}\r\n", self.kind, self.proto, formats.join(" "));
        lines[1..].iter().for_each(|line| self.write_line(text, line));
        Ok(())
    }

    fn write_line(&self, text: &mut String, line: &str) {
        let track = &self.kind;
        if line.starts_with("a=mid:") {
            self.write_mid(text);
        } else if line.starts_with("a=msid:") {
            let _ = write!(text, "a=msid:{STREAM} {track}\r\n");
        } else if let Some((ssrc, _)) = line.split_once(" msid:").filter(|_| line.starts_with("a=ssrc:")) {
            let _ = write!(text, "{ssrc} msid:{STREAM} {track}\r\n");
        } else {
            let _ = write!(text, "{line}\r\n");
        }
    }

    fn write_rejected(&self, text: &mut String) {
        let Self { kind, proto, formats, .. } = self;
        let _ = write!(text, "m={kind} 0 {proto} {formats}\r\nc=IN IP4 0.0.0.0\r\n");
        self.write_mid(text);
        if kind == "audio" || kind == "video" {
            text.push_str("a=inactive\r\n");
        }
    }

    fn write_mid(&self, text: &mut String) {
        if let Some(mid) = &self.mid {
            let _ = write!(text, "a=mid:{mid}\r\n");
        }
    }
}
