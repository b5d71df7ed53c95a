//! Log-mel against the networks' own front ends: the portrait's golden files, and values of librosa 0.11 for Whisper's.

#![expect(clippy::float_cmp, reason = "arithmetic without rounding is exact")]

use super::*;

const GOLDEN_WAV: &[u8] = include_bytes!("../../../../engines/packs/portrait/mouth/golden.wav");
const GOLDEN_MEL: &[u8] = include_bytes!("../../../../engines/packs/portrait/mouth/golden.mel.f32");

fn golden_pcm() -> Vec<f32> {
    GOLDEN_WAV[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
}

fn natural(mel: &Mel, pcm: &[f32]) -> Vec<f32> {
    let frames = (pcm.len() as u32 - mel.window_samples) / mel.hop_samples + 1;
    let tables = mel.tables();
    let mut power = vec![0.0; (frames * mel.bins()) as usize];
    mel.power(pcm.len() as u32, frames, 0).compute(pcm, &tables.hann, &tables.twiddles, &mut power);
    let mut out = vec![0.0; (frames * mel.bands) as usize];
    mel.bands_of(frames, 1e-7).compute_natural(&power, &tables.weights, &mut out);
    out
}

/// Whisper's features of `pcm`, all four launches.
fn whisper(pcm: &[f32]) -> Vec<f32> {
    let (mel, frames) = (Mel::whisper(), pcm.len() as u32 / 160);
    let tables = mel.tables();
    let mut power = vec![0.0; (frames * mel.bins()) as usize];
    mel.power(pcm.len() as u32, frames, 200).compute(pcm, &tables.hann, &tables.twiddles, &mut power);
    let (mut out, mut max_key) = (vec![0.0; (frames * 80) as usize], [7]);
    mel.bands_of(frames, 1e-10).compute_decimal(&power, &tables.weights, &mut out, &mut max_key);
    MaxReduce { frames, bands: 80 }.compute(&out, &mut max_key);
    ClampRange { values: frames * 80, range: 8.0 }.compute(&mut out, &max_key);
    out
}

/// The portrait's definition, in double precision and without optimisation.
fn naive(bands: u32, frame: &[f32], band: u32) -> f64 {
    let mel_of = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let hz_of = |mel: f64| 700.0 * (10_f64.powf(mel / 2595.0) - 1.0);
    let corner = |n: u32| hz_of(mel_of(60.0) + (mel_of(7600.0) - mel_of(60.0)) * f64::from(n) / f64::from(bands + 1));
    let (left, peak, right) = (corner(band), corner(band + 1), corner(band + 2));
    let turn = std::f64::consts::TAU;
    let bin = |k: u32| {
        let part = |phase: f64| {
            let term = |(n, sample): (usize, &f32)| {
                let window = 0.5 - 0.5 * (turn * n as f64 / 400.0).cos();
                f64::from(*sample) * window * (turn * n as f64 * f64::from(k) / 512.0 + phase).cos()
            };
            frame.iter().enumerate().map(term).sum::<f64>()
        };
        let hz = f64::from(k) * 16_000.0 / 512.0;
        let weight = ((hz - left) / (peak - left)).min((right - hz) / (right - peak)).max(0.0);
        weight * (part(0.0).powi(2) + part(turn / 4.0).powi(2))
    };
    ((0..257).map(bin).sum::<f64>() + 1e-7).ln()
}

#[test]
fn with_48_bands_it_matches_the_mouth_networks_training_data() {
    let (pcm, golden) = (golden_pcm(), GOLDEN_MEL.chunks_exact(4));
    let found = natural(&Mel::portrait(48), &pcm);
    assert_eq!(found.len(), golden.len());
    let golden = golden.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let worst = found.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The tolerance of the CPU front end's own test.
    assert!(worst < 2e-3, "largest difference {worst}");
}

#[test]
fn with_40_bands_it_matches_the_definition() {
    let pcm = &golden_pcm()[4000..4000 + 720];
    let found = natural(&Mel::portrait(40), pcm);
    assert_eq!(found.len(), 3 * 40);
    for (n, value) in found.iter().enumerate() {
        let wanted = naive(40, &pcm[n / 40 * 160..][..400], n as u32 % 40);
        assert!((wanted - f64::from(*value)).abs() < 1e-3, "{n}: {value} {wanted}");
    }
}

#[test]
fn whispers_filters_match_librosa() {
    let weights = Mel::whisper().tables().weights;
    let known = [
        (0, 1, 0.024_862_595),
        (1, 2, 0.022_871_772),
        (10, 9, 0.0),
        (39, 40, 0.001_418_047_6),
        (40, 42, 0.005_411_105),
        (60, 93, 0.006_591_093),
        (79, 195, 0.002_243_795),
        (79, 199, 0.000_448_759),
    ];
    for (band, bin, wanted) in known {
        assert!((weights[band * 201 + bin] - wanted).abs() < 1e-7_f32, "{band} {bin}");
    }
    assert!((weights.iter().sum::<f32>() - 1.999_024_2).abs() < 1e-4);
}

#[test]
fn whispers_features_of_a_tone_match_its_front_end() {
    let tone = |n: u32| 0.5 * (std::f64::consts::TAU * 220.0 * f64::from(n) / 16e3).sin() * (f64::from(n) / -6e3).exp();
    let found = whisper(&(0..16_000).map(|n| tone(n) as f32).collect::<Vec<_>>());
    let known = [
        (0, 0, 1.14221),
        (5, 0, 1.256_605),
        (6, 50, 1.048_235),
        (20, 50, -0.593_863),
        (79, 99, -0.593_863),
        (40, 1, -0.25267),
    ];
    for (band, frame, wanted) in known {
        assert!((found[band * 100 + frame] - wanted).abs() < 1e-4, "{band} {frame}: {}", found[band * 100 + frame]);
    }
    assert!((found.iter().fold(f32::MIN, |a, b| a.max(*b)) - 1.406_137).abs() < 1e-5);
    assert!((found.iter().sum::<f32>() / found.len() as f32 + 0.418_013).abs() < 1e-4);
}

#[test]
fn the_maximum_is_found_among_negative_values_too() {
    let mut max_key = [i32::MIN];
    MaxReduce { frames: 2, bands: 2 }.compute(&[-3.0, -0.5, -2.0, -7.0], &mut max_key);
    let mut out = [-0.5, -20.0];
    ClampRange { values: 2, range: 8.0 }.compute(&mut out, &max_key);
    assert_eq!(out, [0.875, -1.125]);
    for pair in [f32::NEG_INFINITY, -2.0, -0.5, -0.0, 0.0, 1e-30, 3.0, f32::INFINITY].windows(2) {
        assert!(to_ordered(pair[0]) < to_ordered(pair[1]) || pair[0] == pair[1], "{pair:?}");
        assert_eq!(from_ordered(to_ordered(pair[0])).to_bits(), pair[0].to_bits());
    }
}

#[test]
fn audio_is_reflected_at_its_ends() {
    let pcm = [1.0, 2.0, 3.0, 4.0];
    assert_eq!([-2, -1, 0, 3, 4, 5].map(|at| reflected(&pcm, at)), [3.0, 2.0, 1.0, 4.0, 3.0, 2.0]);
    assert_eq!([-9, 9].map(|at| reflected(&pcm, at)), [0.0, 0.0]);
}
