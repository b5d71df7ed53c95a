//! `options` of `POST /v1/sessions`: limits of a session, checked.

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Number;

use super::problem::Problem;
use crate::rtc::BITRATE_BPS;
use crate::session::{SessionLifetime, SessionOptions};

/// Requested limits; the server chooses what is left out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    resolution_px: Option<Number>,
    bitrate_bps: Option<Number>,
    audio: Option<bool>,
    lifetime: Option<SessionLifetime>,
}

/// Resolutions that can be requested: the steps of the resolution ladder below 512.
const SIDES: [u32; 3] = [256, 384, 512];

impl Options {
    /// The options, checked.
    ///
    /// # Errors
    /// 400 if a value is out of range.
    pub fn session_options(self) -> Result<SessionOptions, Problem> {
        let resolution_px = self.resolution_px.map(side).transpose()?;
        let bitrate_bps = self.bitrate_bps.map(bitrate).transpose()?;
        Ok(SessionOptions {
            resolution_px,
            bitrate_bps,
            audio: self.audio,
            lifetime: self.lifetime.unwrap_or_default(),
        })
    }
}

fn side(asked: Number) -> Result<u32, Problem> {
    whole(&asked).filter(|side| SIDES.contains(side)).ok_or_else(|| {
        let detail = format!("wanted options.resolution_px to be one of {SIDES:?}, found {asked}");
        wrong("options.resolution_px", detail, "omit it for the largest resolution of the server")
    })
}

fn bitrate(asked: Number) -> Result<u32, Problem> {
    whole(&asked).filter(|bps| BITRATE_BPS.contains(&u64::from(*bps))).ok_or_else(|| {
        let (least, most) = (BITRATE_BPS.start(), BITRATE_BPS.end());
        let detail = format!("wanted options.bitrate_bps as a whole number from {least} to {most}, found {asked}");
        wrong("options.bitrate_bps", detail, "omit it to use what the network carries")
    })
}

fn whole(number: &Number) -> Option<u32> {
    u32::try_from(number.as_u64()?).ok()
}

fn wrong(field: &str, detail: String, hint: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail, hint).at(field)
}
