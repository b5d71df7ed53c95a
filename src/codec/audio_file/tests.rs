//! The files are a tone of 400 Hz for 0.3 s, made by ffmpeg.

use super::*;

const MP3: &[u8] = include_bytes!("../../../tests/assets/tone.mp3");
const FLAC: &[u8] = include_bytes!("../../../tests/assets/tone.flac");
const OPUS: &[u8] = include_bytes!("../../../tests/assets/tone.opus");
const VORBIS: &[u8] = include_bytes!("../../../tests/assets/tone.ogg");
const MINUTE: Duration = Duration::from_mins(1);

/// A WAVE file with a tone of 400 Hz at half of full scale in every channel.
fn wav(tag: u16, bits: u16, channels: u16, rate_hz: u32, frames: u32) -> Vec<u8> {
    let mut samples = Vec::new();
    for n in 0..frames {
        let value = 0.5 * (f64::from(n) / f64::from(rate_hz) * 400.0 * std::f64::consts::TAU).sin();
        for _ in 0..channels {
            match (tag, bits) {
                (1, 8) => samples.push((value * 127.0 + 128.0) as u8),
                (1, 16) => samples.extend(((value * 32_767.0) as i16).to_le_bytes()),
                (1, 24) => samples.extend(&((value * 8_388_607.0) as i32).to_le_bytes()[..3]),
                (1, _) => samples.extend(((value * 2_147_483_647.0) as i32).to_le_bytes()),
                (_, 32) => samples.extend((value as f32).to_le_bytes()),
                _ => samples.extend(value.to_le_bytes()),
            }
        }
    }
    let align = channels * bits / 8;
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
    [tag, channels].iter().for_each(|short| file.extend(short.to_le_bytes()));
    [rate_hz, rate_hz * u32::from(align)].iter().for_each(|long| file.extend(long.to_le_bytes()));
    [align, bits].iter().for_each(|short| file.extend(short.to_le_bytes()));
    file.extend(b"data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}

fn level(samples: &[f32]) -> f32 {
    (samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32).sqrt()
}

/// How much of the sound is a tone of 400 Hz in any phase, 0 to 1.
fn share_of_tone(voice: &[f32]) -> f32 {
    let middle = &voice[voice.len() / 4..voice.len() * 3 / 4];
    let turn = |n: usize| n as f32 / 48_000.0 * 400.0 * std::f32::consts::TAU;
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (n, sample) in middle.iter().enumerate() {
        sine += sample * turn(n).sin();
        cosine += sample * turn(n).cos();
    }
    let amplitude = 2.0 * sine.hypot(cosine) / middle.len() as f32;
    amplitude / std::f32::consts::SQRT_2 / level(middle).max(1e-9)
}

#[test]
fn every_kind_of_wav_is_the_same_tone() {
    let kinds = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)];
    for (tag, bits) in kinds {
        for (channels, rate_hz) in [(1, 8_000), (2, 44_100), (6, 96_000), (8, 192_000), (1, 48_000), (2, 11_025)] {
            let sound = decode_sound(&wav(tag, bits, channels, rate_hz, rate_hz / 2), MINUTE).expect("sound");
            let what = format!("{bits} bits, {channels} channels, {rate_hz} Hz");
            assert!(sound.voice().len().abs_diff(24_000) <= 6, "{what}: {}", sound.voice().len());
            assert!(share_of_tone(sound.voice()) > 0.98, "{what}: {}", share_of_tone(sound.voice()));
            let loud = level(&sound.voice()[6_000..18_000]);
            assert!((loud - 0.3535).abs() < 0.01 && !sound.is_truncated(), "{what}: {loud}");
        }
    }
}

/// The same file with the header of other writers: `fmt ` of `format`, a chunk before the samples, lengths as claimed.
fn rewritten(file: &[u8], container: &str, format: &[u8], claimed: u32) -> Vec<u8> {
    let mut out =
        [container.as_bytes(), &claimed.to_le_bytes(), b"WAVEfmt ", &(format.len() as u32).to_le_bytes()].concat();
    out.extend_from_slice(format);
    out.extend_from_slice(b"LIST\x05\0\0\0INFO!\0data");
    out.extend_from_slice(&claimed.to_le_bytes());
    out.extend_from_slice(&file[44..]);
    out
}

#[test]
fn headers_of_streams_and_of_other_writers_are_understood() {
    // 24 valid bits in 32, as sound cards record; floats by the extensible form; a format chunk with a tail.
    let extensible = |plain: &[u8], valid_bits: u16, tag: u8| {
        let mut format =
            [&[0xfe, 0xff][..], &plain[22..36], &[22, 0], &valid_bits.to_le_bytes(), &[4, 0, 0, 0]].concat();
        format.extend([tag, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        format
    };
    let (whole, real, short) =
        (wav(1, 32, 1, 48_000, 9_000), wav(3, 32, 1, 48_000, 9_000), wav(1, 16, 1, 48_000, 9_000));
    let cases = [
        ("24 in 32 bits", &whole, extensible(&whole, 24, 1)),
        ("extensible floats", &real, extensible(&real, 32, 3)),
        ("a tail of 6 bytes", &short, [&short[20..36], &[4, 0, 1, 2, 3, 4]].concat()),
    ];
    for (name, file, format) in cases {
        for (container, claimed) in [("RIFF", 0), ("RIFF", u32::MAX), ("RF64", u32::MAX)] {
            let sound = decode_sound(&rewritten(file, container, &format, claimed), MINUTE).expect(name);
            assert_eq!((sound.voice().len(), sound.is_truncated()), (9_000, false), "{name}, {claimed}");
            assert!(share_of_tone(sound.voice()) > 0.98, "{name}");
        }
    }
}

#[test]
fn a_resampled_sound_is_not_late() {
    let file = wav(1, 16, 1, 16_000, 16_000);
    let sound = decode_sound(&file, MINUTE).expect("sound");
    let at = |n: usize| 0.5 * (n as f32 / 48_000.0 * 400.0 * std::f32::consts::TAU).sin();
    let error: Vec<f32> = (4_800..40_000).map(|n| sound.voice()[n] - at(n)).collect();
    assert!(level(&error) < 0.005, "{}", level(&error));
}

#[test]
fn packed_files_are_the_tone_too() {
    for (name, file, slack) in [("mp3", MP3, 2_500), ("flac", FLAC, 4), ("opus", OPUS, 4), ("vorbis", VORBIS, 1_000)] {
        let sound = decode_sound(file, MINUTE).expect(name);
        let length = sound.voice().len();
        assert!(length.abs_diff(14_400) <= slack, "{name}: {length} samples");
        assert!(share_of_tone(sound.voice()) > 0.97, "{name}: {}", share_of_tone(sound.voice()));
        assert!(!sound.is_truncated(), "{name}");
    }
}

#[test]
fn a_tag_before_the_sound_is_skipped() {
    let tagged = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0x55; 128], MP3].concat();
    assert!(decode_sound(&tagged, MINUTE).is_ok());
}

#[test]
fn a_file_that_broke_off_plays_as_far_as_it_goes_and_says_so() {
    let whole = wav(1, 16, 1, 48_000, 48_000);
    let sound = decode_sound(&whole[..44 + 48_000], MINUTE).expect("half");
    assert!(sound.is_truncated());
    assert_eq!(sound.voice().len(), 24_000);
    assert_eq!(sound.duration(), Duration::from_millis(500));
    for (name, file) in [("flac", FLAC), ("opus", OPUS), ("vorbis", VORBIS)] {
        match decode_sound(&file[..file.len() * 7 / 10], MINUTE) {
            Ok(sound) => assert!(sound.is_truncated(), "{name}"),
            Err(error) => {
                assert!(matches!(error, AudioFileError::NoSamples | AudioFileError::NoTrack), "{name}: {error}")
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let said = |bytes: &[u8]| decode_sound(bytes, MINUTE).expect_err("no sound").to_string();
    assert!(said(b"").contains("empty file"));
    assert!(said(b"hello, this is a letter").contains("something else"));
    assert!(said(b"\0\0\0\x18ftypmp42").contains("MP4"));
    assert!(said(&wav(1, 16, 1, 48_000, 0)).contains("without a single sample"));
    assert!(said(&wav(1, 16, 0, 48_000, 9)).contains("1 to 8 channels, found 0"));
    assert!(said(&wav(1, 16, 1, 0, 9)).contains("found 0 Hz"));
    assert!(said(&wav(7, 8, 1, 8_000, 9)).contains("format 7"));
    assert!(said(b"RIFF\0\0\0\0WAVE").contains("track of sound"));
    let long = decode_sound(&wav(1, 8, 1, 8_000, 16_000), Duration::from_secs(1));
    assert_eq!(long, Err(AudioFileError::TooLong { most: Duration::from_secs(1) }));
}

#[test]
fn a_header_that_claims_4_gb_reserves_nothing() {
    let mut file = wav(1, 16, 1, 48_000, 480);
    file[40..44].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    let sound = decode_sound(&file, MINUTE).expect("sound");
    assert!(sound.is_truncated() && sound.voice().len() == 480 && sound.voice.capacity() < 100_000);
    let mut books = b"\x05vorbis".to_vec();
    books.extend([0, 0x42, 0x43, 0x56, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(compressed::Vorbis::new(b"\x01vorbis", &books).is_err());
}

#[test]
fn damaged_files_end_in_an_error_or_in_what_is_left() {
    let mut random = fastrand::Rng::with_seed(2_024);
    let whole = wav(1, 24, 2, 44_100, 4_000);
    let files = [&whole[..], MP3, FLAC, OPUS, VORBIS];
    for n in 0..300 {
        let mut file = files[n % files.len()].to_vec();
        for _ in 0..random.usize(1..12) {
            // Headers are where it hurts.
            let reach = if random.bool() { file.len().min(200) } else { file.len() };
            let at = random.usize(..reach);
            file[at] = if random.bool() { random.u8(..) } else { 0xff };
        }
        if random.u8(..4) == 0 {
            file.truncate(random.usize(..file.len()));
        }
        if let Ok(sound) = decode_sound(&file, Duration::from_secs(10)) {
            assert!(sound.duration() <= Duration::from_secs(10));
            assert!(sound.voice().iter().all(|sample| sample.abs() <= 1.0));
        }
    }
}

#[test]
fn blocks_hold_both_rates_of_the_same_moment_and_end_in_silence() {
    let sound = decode_sound(&wav(1, 16, 1, 48_000, 48_100), MINUTE).expect("sound");
    let blocks: Vec<_> = sound.blocks().collect();
    assert_eq!((blocks.len(), sound.block(51)), (51, None));
    assert!(blocks[50].playback_48k[100..].iter().all(|sample| *sample == 0.0));
    for block in &blocks[2..49] {
        let apart: Vec<f32> =
            (0..BLOCK_SPEECH_SAMPLES).map(|n| block.speech_16k[n] - block.playback_48k[n * 3]).collect();
        assert!(level(&apart) < 0.01, "{}", level(&apart));
    }
    assert_eq!(blocks[0].playback_48k.len(), BLOCK_OPUS_SAMPLES);
}
