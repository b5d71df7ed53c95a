//! The H.264 parameters of an offer (RFC 6184, section 8.1). Decides which of them our encoder's stream satisfies.

/// What our encoder makes at most: level 3.1, as every browser decodes.
const OUR_LEVEL: u32 = 31;
/// Constrained baseline, with the constraint bits that browsers write.
const CONSTRAINED_BASELINE: u32 = 0x42_e000;
/// Constraint set 3: with level 1.1 it means level 1b.
const SET_3: u32 = 0x10;
/// The levels of H.264 (ITU-T H.264, table A-1), times ten.
const LEVELS: [u32; 16] = [10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52];

/// The value of a parameter in the values of `a=fmtp` lines.
#[must_use]
pub fn parameter<'a>(fmtp: &[&'a str], name: &str) -> Option<&'a str> {
    let pairs = fmtp.iter().flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v)
}

/// The profile-level-id to answer with, if our stream can be sent: constrained baseline in packetization mode 1.
///
/// Mode 0 allows one NAL unit in each packet and nothing else (RFC 6184, section 6.2). Our NAL units are larger than a packet,
/// and str0m 0.25 (`packet/h264.rs`) sends STAP-A and FU-A whatever is negotiated; so an offer of mode 0 alone is refused.
///
/// The level is ours, but never above the offer's unless `level-asymmetry-allowed=1`: without it the level of the answer
/// binds both directions (RFC 6184, section 8.2.2).
#[must_use]
pub fn answer_profile(fmtp: &[&str]) -> Option<u32> {
    let offered = u32::from_str_radix(parameter(fmtp, "profile-level-id").filter(|hex| hex.len() == 6)?, 16).ok()?;
    let (profile, constraints, level) = (offered >> 16, offered >> 8 & 0xff, offered & 0xff);
    let is_mode_1 = parameter(fmtp, "packetization-mode") == Some("1");
    if !is_mode_1 || !is_constrained_baseline(profile, constraints) || !LEVELS.contains(&level) {
        return None;
    }
    let is_asymmetric = parameter(fmtp, "level-asymmetry-allowed") == Some("1");
    let is_1b = level == 11 && constraints & SET_3 != 0;
    match (is_asymmetric, is_1b) {
        (true, _) => Some(CONSTRAINED_BASELINE | OUR_LEVEL),
        (false, true) => Some(CONSTRAINED_BASELINE | SET_3 << 8 | level),
        (false, false) => Some(CONSTRAINED_BASELINE | level.min(OUR_LEVEL)),
    }
}

/// Table 5 of RFC 6184, section 8.1.
fn is_constrained_baseline(profile: u32, constraints: u32) -> bool {
    let bits = match profile {
        0x42 => 0x40,
        0x4d => 0x80,
        0x58 => 0xc0,
        _ => return false,
    };
    constraints & bits == bits && constraints.trailing_zeros() >= 4
}

/// What an offer's H.264 has, for an error. A missing packetization-mode means 0 (RFC 6184, section 8.1).
#[must_use]
pub fn describe(name: &str, fmtp: &[&str]) -> String {
    let with = |key: &str| match parameter(fmtp, key) {
        Some(value) => format!("{key}={}", value.chars().take(8).collect::<String>()),
        None => format!("no {key}"),
    };
    let mode = if parameter(fmtp, "packetization-mode").is_none() { ", which means 0" } else { "" };
    format!("{name} with {} and {}{mode}", with("profile-level-id"), with("packetization-mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(fmtp: &str) -> Option<u32> {
        answer_profile(&[fmtp])
    }

    #[test]
    fn every_spelling_of_constrained_baseline_is_accepted_and_no_other_profile() {
        let mode_1 =
            |id: &str| answered(&format!("packetization-mode=1;profile-level-id={id};level-asymmetry-allowed=1"));
        for id in ["42e01f", "42E01F", "42c01f", "42401f", "4d801f", "58c01f", "42e034"] {
            assert_eq!(mode_1(id), Some(0x42_e01f), "{id}");
        }
        for id in ["42001f", "4d001f", "64001f", "640c1f", "42e0", "42e01f00", "42e00f", "42e1ff", "", "xyz"] {
            assert_eq!(mode_1(id), None, "{id}");
        }
        assert_eq!(answered("profile-level-id=42e01f"), None);
        assert_eq!(answered("profile-level-id=42e01f; packetization-mode=0"), None);
        assert_eq!(answered(" Profile-Level-Id = 42e01f ; Packetization-Mode=1"), Some(0x42_e01f));
    }

    #[test]
    fn the_level_of_the_answer_is_never_above_the_offers_unless_it_allows_that() {
        for level in LEVELS {
            let offer = format!("packetization-mode=1;profile-level-id=42e0{level:02x}");
            assert_eq!(answered(&offer), Some(0x42_e000 | level.min(31)), "{offer}");
            assert_eq!(answered(&format!("{offer};level-asymmetry-allowed=0")), answered(&offer));
            assert_eq!(answered(&format!("{offer};level-asymmetry-allowed=1")), Some(0x42_e01f));
        }
        assert_eq!(answered("packetization-mode=1;profile-level-id=42f00b"), Some(0x42_f00b), "level 1b");
    }

    #[test]
    fn an_error_names_the_profile_and_the_mode() {
        assert_eq!(
            describe("H264/90000", &["profile-level-id=640c1f"]),
            "H264/90000 with profile-level-id=640c1f and no packetization-mode, which means 0"
        );
    }
}
