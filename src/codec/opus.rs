//! Opus.
/// To be written.
pub struct VoiceDecoder;
/// To be written.
pub struct VoiceEncoder;
