//! Levels of the returned audio: which packets are audible.

use std::time::Duration;

use super::recording::Recording;

/// RMS level above which a packet is audible.
pub const AUDIBLE: f32 = 0.01;

/// Arrival and RMS level of each packet.
///
/// # Errors
/// If the Opus library cannot create a decoder.
pub fn levels(recording: &Recording) -> Result<Vec<(Duration, f32)>, opus::Error> {
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let mut block = [0.0; 5760];
    let mut level = |payload: &[u8]| {
        let length = decoder.decode_float(payload, &mut block, false).unwrap_or(0);
        (block[..length].iter().map(|s| s * s).sum::<f32>() / length.max(1) as f32).sqrt()
    };
    Ok(recording.audio.iter().map(|packet| (packet.arrived, level(&packet.payload))).collect())
}
