//! `options` of `POST /v1/sessions`: what a session may be held to, checked.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Number;

use super::problem::Problem;
use crate::rtc::BITRATE_BPS;
use crate::session::SessionOptions;

/// What a session can be tuned by; what is left out is the server's to choose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    resolution_px: Option<Number>,
    bitrate_bps: Option<Number>,
    audio: Option<bool>,
}

/// Sides of pictures that can be asked for: the steps that a thin way out takes from 512 are the same.
const SIDES: [u32; 3] = [256, 384, 512];

impl Options {
    /// The wishes in them.
    ///
    /// # Errors
    /// 400 if a number is none that is taken.
    pub fn wishes(self) -> Result<SessionOptions, Problem> {
        let resolution_px = self.resolution_px.map(side).transpose()?;
        let bitrate_bps = self.bitrate_bps.map(bitrate).transpose()?;
        Ok(SessionOptions { resolution_px, bitrate_bps, audio: self.audio })
    }
}

fn side(asked: Number) -> Result<u32, Problem> {
    whole(&asked).filter(|side| SIDES.contains(side)).ok_or_else(|| {
        let detail = format!("wanted options.resolution_px to be one of {SIDES:?}, found {asked}");
        wrong("options.resolution_px", detail, "leave it out for the largest that the server draws")
    })
}

fn bitrate(asked: Number) -> Result<u32, Problem> {
    whole(&asked).filter(|bps| BITRATE_BPS.contains(&u64::from(*bps))).ok_or_else(|| {
        let (least, most) = (BITRATE_BPS.start(), BITRATE_BPS.end());
        let detail = format!("wanted options.bitrate_bps as a whole number from {least} to {most}, found {asked}");
        wrong("options.bitrate_bps", detail, "leave it out for as much as the way to you carries")
    })
}

fn whole(number: &Number) -> Option<u32> {
    u32::try_from(number.as_u64()?).ok()
}

fn wrong(field: &str, detail: String, hint: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail, hint).at(field)
}
