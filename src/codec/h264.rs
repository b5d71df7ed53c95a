//! H.264 by openh264.
/// To be written.
pub struct H264Encoder;
