//! Audio files of every format. All are a tone of 400 Hz for 0.3 s, made by ffmpeg 4.4 or later:
//! `-f lavfi -i sine=frequency=400:duration=0.3`.

use super::*;
use crate::media::BLOCK_SPEECH_SAMPLES;

const MP3: &[u8] = include_bytes!("../../../tests/assets/tone.mp3");
const FLAC: &[u8] = include_bytes!("../../../tests/assets/tone.flac");
const OPUS: &[u8] = include_bytes!("../../../tests/assets/tone.opus");
const VORBIS: &[u8] = include_bytes!("../../../tests/assets/tone.ogg");
const OGG_FLAC: &[u8] = include_bytes!("../../../tests/assets/tone-flac.ogg");
const M4A: &[u8] = include_bytes!("../../../tests/assets/tone.m4a");
const ALAC: &[u8] = include_bytes!("../../../tests/assets/tone-alac.m4a");
const FRAGMENTS: &[u8] = include_bytes!("../../../tests/assets/tone-fragments.mp4");
const OPUS_MP4: &[u8] = include_bytes!("../../../tests/assets/tone-opus.mp4");
const ADTS: &[u8] = include_bytes!("../../../tests/assets/tone.aac");
const LIVE_WEBM: &[u8] = include_bytes!("../../../tests/assets/tone-live.webm");
const VORBIS_WEBM: &[u8] = include_bytes!("../../../tests/assets/tone-vorbis.webm");
const A_LAW: &[u8] = include_bytes!("../../../tests/assets/tone-alaw.wav");
const AIFF: &[u8] = include_bytes!("../../../tests/assets/tone.aiff");
const AIFC: &[u8] = include_bytes!("../../../tests/assets/tone-ulaw.aifc");
const MINUTE: Duration = Duration::from_mins(1);

/// Every kind of file, and the tolerance of its length in samples at 48 kHz.
const FILES: [(&str, &[u8], usize); 15] = [
    ("mp3", MP3, 2_500),
    ("flac", FLAC, 4),
    ("opus", OPUS, 4),
    ("vorbis", VORBIS, 1_000),
    ("ogg flac", OGG_FLAC, 4),
    ("m4a", M4A, 2_100),
    ("alac", ALAC, 4),
    ("fragments", FRAGMENTS, 3_200),
    ("opus in mp4", OPUS_MP4, 1_000),
    ("adts", ADTS, 3_200),
    ("live webm", LIVE_WEBM, 1_000),
    ("vorbis in webm", VORBIS_WEBM, 1_000),
    ("a-law", A_LAW, 4),
    ("aiff", AIFF, 4),
    ("mu-law in aiff", AIFC, 4),
];

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

/// The share of a tone of 400 Hz in the signal, in any phase, 0 to 1.
fn share_of_tone(samples: &[f32]) -> f32 {
    let middle = &samples[samples.len() / 4..samples.len() * 3 / 4];
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
fn every_wav_encoding_decodes_to_the_same_tone() {
    let kinds = [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64)];
    for (tag, bits) in kinds {
        for (channels, rate_hz) in [(1, 8_000), (2, 44_100), (6, 96_000), (8, 192_000), (1, 48_000), (2, 11_025)] {
            let sound = decode_clip(&wav(tag, bits, channels, rate_hz, rate_hz / 2), MINUTE).expect("sound");
            let what = format!("{bits} bits, {channels} channels, {rate_hz} Hz");
            assert!(sound.samples().len().abs_diff(24_000) <= 6, "{what}: {}", sound.samples().len());
            assert!(share_of_tone(sound.samples()) > 0.98, "{what}: {}", share_of_tone(sound.samples()));
            let loud = level(&sound.samples()[6_000..18_000]);
            assert!((loud - 0.3535).abs() < 0.01 && !sound.is_truncated(), "{what}: {loud}");
        }
    }
}

/// The same samples with another writer's header: `fmt ` of `format`, a chunk before the samples, lengths as claimed.
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
fn wav_headers_of_streams_and_other_writers_are_read() {
    // 24 valid bits in 32, as sound cards record; floats in the extensible format; a longer format chunk.
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
        ("an extension of 6 bytes", &short, [&short[20..36], &[4, 0, 1, 2, 3, 4]].concat()),
    ];
    for (name, file, format) in cases {
        for (container, claimed) in [("RIFF", 0), ("RIFF", u32::MAX), ("RF64", u32::MAX)] {
            let sound = decode_clip(&rewritten(file, container, &format, claimed), MINUTE).expect(name);
            assert_eq!((sound.samples().len(), sound.is_truncated()), (9_000, false), "{name}, {claimed}");
            assert!(share_of_tone(sound.samples()) > 0.98, "{name}");
        }
    }
}

#[test]
fn resampling_adds_no_delay() {
    let file = wav(1, 16, 1, 16_000, 16_000);
    let sound = decode_clip(&file, MINUTE).expect("sound");
    let at = |n: usize| 0.5 * (n as f32 / 48_000.0 * 400.0 * std::f32::consts::TAU).sin();
    let error: Vec<f32> = (4_800..40_000).map(|n| sound.samples()[n] - at(n)).collect();
    assert!(level(&error) < 0.005, "{}", level(&error));
}

#[test]
fn every_format_decodes_to_the_same_tone_as_a_file_and_as_a_stream() {
    for (name, file, slack) in FILES {
        let sound = decode_clip(file, MINUTE).expect(name);
        let length = sound.samples().len();
        assert!(length.abs_diff(14_400) <= slack, "{name}: {length} samples");
        assert!(share_of_tone(sound.samples()) > 0.95, "{name}: {}", share_of_tone(sound.samples()));
        assert!(!sound.is_truncated(), "{name}");
        assert_eq!(streamed(file, 7).expect(name), sound.samples(), "{name}");
    }
}

/// Decodes a file as a stream in pieces of `piece` bytes.
fn streamed(file: &[u8], piece: usize) -> Result<Vec<f32>, AudioFileError> {
    struct Pieces(std::io::Cursor<Vec<u8>>, usize);
    impl std::io::Read for Pieces {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let count = to.len().min(self.1);
            self.0.read(&mut to[..count])
        }
    }
    let pieces = Pieces(std::io::Cursor::new(file.to_vec()), piece);
    let mut decoder = AudioDecoder::open(AudioInput::Stream(Box::new(pieces)))?;
    let mut samples = Vec::new();
    while let Some(block) = decoder.next_block()? {
        samples.extend_from_slice(&block.playback_48k[..]);
    }
    samples.truncate(usize::try_from(decoder.decoded_samples()).expect("short"));
    Ok(samples)
}

#[test]
fn concatenated_files_are_decoded_to_their_end() {
    for (name, first, second) in
        [("mp3", MP3, MP3), ("opus", OPUS, OPUS), ("vorbis and flac", VORBIS, OGG_FLAC), ("adts", ADTS, ADTS)]
    {
        let parts = decode_clip(first, MINUTE).expect(name).samples().len()
            + decode_clip(second, MINUTE).expect(name).samples().len();
        let joined = decode_clip(&[first, second].concat(), MINUTE).expect(name);
        assert!(joined.samples().len().abs_diff(parts) <= 2_400, "{name}: {} of {parts}", joined.samples().len());
        let last = &joined.samples()[joined.samples().len() - 9_600..joined.samples().len() - 4_000];
        assert!(level(last) > 0.1, "{name}: the second part is silent");
    }
    // A tag between the parts: each answer of a service has one.
    let tagged = [MP3, b"ID3\x04\0\0\0\0\x01\x00", &[0x55; 128], MP3].concat();
    assert!(decode_clip(&tagged, MINUTE).expect("mp3").samples().len() > 26_000);
}

#[test]
fn chunks_after_samples_of_unknown_length_are_not_played() {
    let tone = wav(1, 16, 1, 48_000, 9_000);
    let loud_list: Vec<u8> = [&b"LIST\x10\x27\0\0INFO"[..], &[0x7f; 10_000]].concat();
    for claimed in [0, u32::MAX, 0x7fff_f000] {
        let mut file = tone.clone();
        file[40..44].copy_from_slice(&claimed.to_le_bytes());
        file.extend_from_slice(&loud_list);
        let sound = decode_clip(&file, MINUTE).expect("sound");
        assert_eq!((sound.samples().len(), sound.is_truncated()), (9_000, false), "{claimed}");
        assert_eq!(streamed(&file, 1_000).expect("sound").len(), 9_000);
    }
    let mut file = tone.clone();
    file.extend_from_slice(&loud_list);
    assert_eq!(decode_clip(&file, MINUTE).expect("sound").samples().len(), 9_000, "a known length is respected");
}

#[test]
fn durations_are_known_from_headers() {
    for (name, file, _) in FILES.iter().filter(|(name, ..)| !["adts", "fragments", "live webm"].contains(name)) {
        let bytes = Box::new(std::io::Cursor::new(file.to_vec()));
        let mut decoder = AudioDecoder::open(AudioInput::Seekable(bytes)).expect(name);
        // Some formats have it in the data of the first block.
        decoder.next_block().expect(name);
        let expected = decoder.expected_duration();
        let is_right = |length: Duration| length.abs_diff(Duration::from_millis(300)) < Duration::from_millis(60);
        assert!(expected.is_some_and(is_right), "{name}: {expected:?}");
    }
}

#[test]
fn a_stream_is_decoded_as_it_arrives() {
    /// 40 ms of samples. A live reader would block after them; this one panics.
    struct Live(Vec<u8>, usize);
    impl std::io::Read for Live {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            assert!(self.1 < self.0.len(), "reads beyond the first 40 ms before it returns a block");
            let count = to.len().min(self.0.len() - self.1).min(100);
            to[..count].copy_from_slice(&self.0[self.1..self.1 + count]);
            self.1 += count;
            Ok(count)
        }
    }
    for rate_hz in [8_000, 16_000, 24_000, 44_100, 48_000] {
        let mut file = wav(1, 16, 1, rate_hz, rate_hz / 25);
        file[40..44].copy_from_slice(&u32::MAX.to_le_bytes());
        // The reader waits for 12 bytes of look-ahead to detect a chunk.
        file.extend_from_slice(&[0; 12]);
        let mut decoder = AudioDecoder::open(AudioInput::Stream(Box::new(Live(file, 0)))).expect("sound");
        assert!(decoder.next_block().expect("sound").is_some(), "{rate_hz}");
    }
}

#[test]
fn an_id3_tag_before_the_audio_is_skipped() {
    let tagged = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0x55; 128], MP3].concat();
    assert!(decode_clip(&tagged, MINUTE).is_ok());
}

#[test]
fn a_truncated_file_is_decoded_up_to_the_damage_and_marked() {
    let whole = wav(1, 16, 1, 48_000, 48_000);
    let sound = decode_clip(&whole[..44 + 48_000], MINUTE).expect("half");
    assert!(sound.is_truncated());
    assert_eq!(sound.samples().len(), 24_000);
    assert_eq!(sound.duration(), Duration::from_millis(500));
    for (name, file) in [("flac", FLAC), ("opus", OPUS), ("vorbis", VORBIS)] {
        match decode_clip(&file[..file.len() * 7 / 10], MINUTE) {
            Ok(sound) => assert!(sound.is_truncated(), "{name}"),
            Err(error) => {
                assert!(matches!(error, AudioFileError::NoSamples | AudioFileError::NoTrack), "{name}: {error}");
            }
        }
    }
}

#[test]
fn errors_name_what_is_wrong_with_a_file() {
    let said = |bytes: &[u8]| decode_clip(bytes, MINUTE).expect_err("no sound").to_string();
    assert!(said(b"").contains("empty file"));
    assert!(said(b"hello, this is a letter").contains("something else"));
    assert!(said(b"#!AMR\n123456789").contains("an AMR file"));
    assert!(said(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom").contains("audio track"));
    assert!(said(&wav(1, 16, 1, 48_000, 0)).contains("without samples"));
    assert!(said(&wav(1, 16, 0, 48_000, 9)).contains("1 to 8 channels, found 0"));
    assert!(said(&wav(1, 16, 1, 0, 9)).contains("found 0 Hz"));
    assert!(said(&wav(17, 8, 1, 8_000, 9)).contains("format 17 (IMA ADPCM)"));
    assert!(said(b"RIFF\0\0\0\0WAVE").contains("audio track"));
    let speex = [&b"OggS\0\x02"[..], &[0; 20], &[1, 8], b"Speex   "].concat();
    assert!(said(&speex).contains("Speex"), "{}", said(&speex));
    let amr = M4A.windows(4).position(|name| name == b"mp4a").expect("a description");
    let mut refused = M4A.to_vec();
    refused[amr..amr + 4].copy_from_slice(b"samr");
    assert!(said(&refused).contains("AMR"), "{}", said(&refused));
    let long = decode_clip(&wav(1, 8, 1, 8_000, 16_000), Duration::from_secs(1));
    assert_eq!(long, Err(AudioFileError::TooLong { most: Duration::from_secs(1) }));
}

#[test]
fn a_header_that_claims_4_gb_allocates_nothing() {
    let mut file = wav(1, 16, 1, 48_000, 480);
    file[40..44].copy_from_slice(&0x7000_0000_u32.to_le_bytes());
    let sound = decode_clip(&file, MINUTE).expect("sound");
    assert!(sound.is_truncated() && sound.samples().len() == 480 && sound.samples.capacity() < 100_000);
    let mut books = b"\x05vorbis".to_vec();
    books.extend([0, 0x42, 0x43, 0x56, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert!(decoders::PacketDecoder::vorbis(b"\x01vorbis", &books).is_err());
    // Tables of MP4 that claim 4 billion entries, and packets of 4 GB.
    for name in [b"stsz", b"stco", b"stsc"] {
        let mut file = M4A.to_vec();
        let at = file.windows(4).position(|four| four == name).expect("a table") + 4;
        file[at + 4..at + 20].fill(0xff);
        let _ = decode_clip(&file, MINUTE);
    }
}

#[test]
fn damaged_files_give_an_error_or_their_intact_part() {
    let mut random = fastrand::Rng::with_seed(2_024);
    let whole = wav(1, 24, 2, 44_100, 4_000);
    let files: Vec<&[u8]> = FILES.iter().map(|(_, file, _)| *file).chain([&whole[..]]).collect();
    for n in 0..1_500 {
        let mut file = files[n % files.len()].to_vec();
        for _ in 0..random.usize(1..12) {
            // Damage in headers has the most effect.
            let reach = if random.bool() { file.len().min(200) } else { file.len() };
            let at = random.usize(..reach);
            file[at] = if random.bool() { random.u8(..) } else { 0xff };
        }
        if random.u8(..4) == 0 {
            file.truncate(random.usize(..file.len()));
        }
        if let Ok(sound) = decode_clip(&file, Duration::from_secs(10)) {
            assert!(sound.duration() <= Duration::from_secs(10));
            assert!(sound.samples().iter().all(|sample| sample.abs() <= 1.0));
        }
    }
}

#[test]
fn both_rates_of_a_block_are_aligned_and_the_last_block_is_padded() {
    let file = wav(1, 16, 1, 48_000, 48_100);
    let mut decoder = AudioDecoder::open(AudioInput::Seekable(Box::new(std::io::Cursor::new(file)))).expect("sound");
    let blocks: Vec<_> = std::iter::from_fn(|| decoder.next_block().expect("sound")).collect();
    assert_eq!((blocks.len(), decoder.decoded_samples()), (51, 48_100));
    assert!(blocks[50].playback_48k[100..].iter().all(|sample| *sample == 0.0));
    for block in &blocks[2..49] {
        let apart: Vec<f32> =
            (0..BLOCK_SPEECH_SAMPLES).map(|n| block.speech_16k[n] - block.playback_48k[n * 3]).collect();
        assert!(level(&apart) < 0.01, "{}", level(&apart));
    }
}

#[test]
fn speech_in_the_centre_channel_of_5_1_keeps_its_loudness() {
    let mut file = wav(1, 16, 6, 48_000, 24_000);
    file[44..].as_chunks_mut::<12>().0.iter_mut().for_each(|frame| {
        frame[..4].fill(0);
        frame[6..].fill(0);
    });
    let sound = decode_clip(&file, MINUTE).expect("sound");
    let loud = level(&sound.samples()[6_000..18_000]);
    assert!((loud - 0.3535).abs() < 0.02, "{loud}: {} dB", 20.0 * (loud / 0.3535).log10());
}

#[test]
fn the_first_20_ms_of_a_stream_are_a_block_at_once_if_it_is_asked_for() {
    for rate_hz in [8_000, 16_000, 22_050, 24_000, 44_100, 48_000] {
        let layout = Layout::new(rate_hz, 1, None).expect("a layout");
        let tone = |n: u32| 0.5 * (n as f32 / rate_hz as f32 * 400.0 * std::f32::consts::TAU).sin();
        let message = |n: u32| (n * rate_hz / 50..(n + 1) * rate_hz / 50).map(tone).collect();
        let mut pipeline = BlockPipeline::default();
        let mut push = |n| {
            pipeline.push(&Frames { layout: Some(layout), samples: message(n) }).expect("a rate");
            pipeline.complete_first_block();
            pipeline.next_block()
        };
        let blocks: Vec<_> = (0..10).map(|n| push(n).unwrap_or_else(|| panic!("{rate_hz} Hz: message {n}"))).collect();
        assert!(level(&blocks[0].playback_48k[720..]) > 0.2, "{rate_hz} Hz: silent");
        for block in &blocks[1..] {
            let apart: Vec<f32> =
                (0..BLOCK_SPEECH_SAMPLES).map(|n| block.speech_16k[n] - block.playback_48k[n * 3]).collect();
            assert!(level(&apart) < 0.01 && level(&block.playback_48k[..]) > 0.3, "{rate_hz} Hz: {}", level(&apart));
        }
    }
}
