//! A session description as sections of numbered lines (RFC 8866).
//!
//! Decides what belongs to which section. Knows neither codecs nor transports.

use super::super::JoinError;

/// Longest offer that is read, in bytes. Chromium's for audio and video has 6 KB.
pub const LONGEST_OFFER: usize = 64 * 1024;
/// Maximum number of characters of a line in an error.
const LONGEST_QUOTE: usize = 60;

/// A line and its number in the text, from 1.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Number in the text.
    pub number: usize,
    /// The line without its end.
    pub text: &'a str,
}

impl Line<'_> {
    /// An error that quotes this line.
    pub fn error(&self, problem: &str) -> JoinError {
        let quote: String = self.text.chars().take(LONGEST_QUOTE).collect();
        JoinError::BadOffer { found: format!("line {} ({quote:?}): {problem}", self.number) }
    }
}

/// Lines of one section.
#[derive(Clone, Debug, Default)]
pub struct Lines<'a>(Vec<Line<'a>>);

impl<'a> Lines<'a> {
    /// The lines of all attributes of this name, with their values; an attribute without a value has an empty one.
    pub fn attributes<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (Line<'a>, &'a str)> + 's {
        self.0.iter().filter_map(move |line| {
            let (its, value) = line.text.strip_prefix("a=")?.split_once(':').unwrap_or((line.text.get(2..)?, ""));
            (its == name).then_some((*line, value))
        })
    }

    /// The first attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<(Line<'a>, &'a str)> {
        self.attributes(name).next()
    }

    /// The direction attribute, if there is one.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        self.0.iter().find_map(|line| Direction::parse(line.text.strip_prefix("a=")?))
    }
}

/// Direction of media as the offerer sees it (RFC 8866, section 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    SendRecv,
    /// The offerer sends.
    SendOnly,
    /// The offerer receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "sendrecv" => Some(Self::SendRecv),
            "sendonly" => Some(Self::SendOnly),
            "recvonly" => Some(Self::RecvOnly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }

    /// The name of the attribute.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the offerer receives.
    #[must_use]
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// A media section.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    /// Its m-line.
    pub line: Line<'a>,
    /// `audio`, `video`, `application` or another kind.
    pub kind: &'a str,
    /// The port; 0 rejects the section unless it is bundled.
    pub port: &'a str,
    /// The transport protocol.
    pub proto: &'a str,
    /// The formats: payload types of RTP.
    pub formats: Vec<&'a str>,
    /// The lines below the m-line.
    pub lines: Lines<'a>,
}

impl<'a> Media<'a> {
    fn parse(line: Line<'a>) -> Result<Self, JoinError> {
        let mut fields = line.text[2..].split_ascii_whitespace();
        let (kind, port, proto) = (fields.next(), fields.next(), fields.next());
        let formats: Vec<&str> = fields.collect();
        match (kind, port, proto) {
            (Some(kind), Some(port), Some(proto)) if !formats.is_empty() => {
                Ok(Self { line, kind, port, proto, formats, lines: Lines::default() })
            }
            _ => Err(line.error("an m-line needs a kind, a port, a protocol and at least one format")),
        }
    }

    /// The identification of the section, if it has one.
    #[must_use]
    pub fn mid(&self) -> Option<&'a str> {
        self.lines.attribute("mid").map(|(_, mid)| mid.trim())
    }
}

/// A session description.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// The lines above the first m-line.
    pub session: Lines<'a>,
    /// The media sections in their order.
    pub media: Vec<Media<'a>>,
}

impl<'a> Description<'a> {
    /// Reads a description. Line ends may be CRLF or LF; empty lines and spaces at line ends are ignored.
    ///
    /// # Errors
    /// If the text is too long, does not begin with `v=0`, or a line is not of the form `<letter>=<value>`.
    pub fn parse(text: &'a str) -> Result<Self, JoinError> {
        let bad = |found: String| Err(JoinError::BadOffer { found });
        if text.len() > LONGEST_OFFER {
            return bad(format!("{} bytes, {LONGEST_OFFER} at most", text.len()));
        }
        let lines = text.lines().zip(1..).map(|(text, number)| Line { number, text: text.trim_end() });
        let mut lines = lines.filter(|line| !line.text.is_empty());
        if lines.next().is_none_or(|line| line.text != "v=0") {
            let start: String = text.chars().take(24).collect();
            return bad(format!("text that begins with {start:?} instead of \"v=0\""));
        }
        let (mut session, mut media) = (Lines::default(), Vec::<Media<'a>>::new());
        for line in lines {
            match line.text.as_bytes() {
                [b'm', b'=', ..] => media.push(Media::parse(line)?),
                [b'a'..=b'z', b'=', ..] => media.last_mut().map_or(&mut session, |last| &mut last.lines).0.push(line),
                _ => return Err(line.error("a line of SDP is a letter, \"=\" and a value")),
            }
        }
        Ok(Self { session, media })
    }

    /// The direction of a section: its own, else that of the session, else `sendrecv` (RFC 8866, section 6.7).
    #[must_use]
    pub fn direction(&self, media: &Media<'_>) -> Direction {
        media.lines.direction().or_else(|| self.session.direction()).unwrap_or(Direction::SendRecv)
    }

    /// The BUNDLE group that `mid` is in (RFC 9143), as identifications in the order of the group.
    #[must_use]
    pub fn bundle_of(&self, mid: &str) -> Option<Vec<&'a str>> {
        let groups = self.session.attributes("group").filter_map(|(_, group)| {
            let mut words = group.split_ascii_whitespace();
            (words.next() == Some("BUNDLE")).then(|| words.collect::<Vec<_>>())
        });
        groups.into_iter().find(|mids| mids.contains(&mid))
    }
}
