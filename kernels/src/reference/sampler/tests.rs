//! The sampler against the published formulae, in double precision and without rearrangement.

#![expect(clippy::float_cmp, reason = "arithmetic without rounding is exact")]

use super::*;

const GUIDANCE: Guidance = Guidance { appearance: 2.0, audio: 7.5 };

/// Stands for the network: a function of the latents that differs by row, frame and value.
fn network(row: usize, at: usize, value: usize, latent: f64) -> f64 {
    (latent * 0.7 + row as f64).sin() + (at as f64 * 0.3 + value as f64).cos() * 0.5
}

/// All steps over a clip in double precision: per window `v`, `x0`, the Euler step, and means over windows.
fn published(start: &[f64], values: usize, frames: usize, steps: u32) -> Vec<f64> {
    let (levels, mut x) = (sigmas(steps), start.to_vec());
    for i in 0..steps as usize {
        let (s, t) = (levels[i], levels[i + 1]);
        let (mut sums, mut counts) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for begin in (0..frames).step_by(25) {
            for at in 0..25 {
                let frame = (begin as i64 + at as i64 - 7 * i as i64).rem_euclid(frames as i64) as usize;
                for value in 0..values {
                    let place = frame * values + value;
                    let given = x[place] / (s * s + 1.0).sqrt();
                    let [v0, v1, v2] = [0, 1, 2].map(|row| network(row, at, value, given));
                    let v = v0 + 2.0 * (v1 - v0) + 7.5 * (v2 - v1);
                    let x0 = -s / (s * s + 1.0).sqrt() * v + x[place] / (s * s + 1.0);
                    sums[place] += x[place] + (x[place] - x0) / s * (t - s);
                    counts[place] += 1.0;
                }
            }
        }
        x = sums.iter().zip(&counts).map(|(sum, count)| sum / count).collect();
    }
    x
}

/// The same by both kernels' reference implementations.
fn by_reference(start: &[f64], values: u32, frames: u32, steps: u32) -> Vec<f32> {
    let mut x: Vec<f32> = start.iter().map(|value| *value as f32).collect();
    let levels = sigmas(steps);
    for i in 0..steps {
        let (s, t) = (levels[i as usize], levels[i as usize + 1]);
        let mut next = vec![f32::NAN; x.len()];
        for start in (0..frames).step_by(25) {
            let window = Window { values, window: 25, frames, start, shift: 7 * i };
            let mut sample = vec![0.0_f32; 6 * 25 * values as usize];
            WindowInput::new(window, s).compute(&x, &vec![0.25; values as usize], &mut sample);
            let predicted: Vec<f32> = (0..75 * values as usize)
                .map(|n| {
                    let (row, at, value) = (n / (25 * values as usize), n / values as usize % 25, n % values as usize);
                    let frame = &sample[(row * 25 + at) * 2 * values as usize..];
                    assert_eq!(frame[values as usize + value], if row == 0 { 0.0 } else { 0.25 });
                    network(row, at, value, f64::from(frame[value])) as f32
                })
                .collect();
            GuidedEuler::new(window, GUIDANCE, (s, t)).compute(&predicted, &x, &mut next);
        }
        x = next;
    }
    x
}

#[test]
fn sigmas_match_the_published_schedule() {
    let known: [(u32, &[f64]); 3] = [
        (4, &[700.0, 70.54, 2.269, 0.002, 0.0]),
        (8, &[700.0, 286.5, 102.9, 30.99, 7.276, 1.168, 0.0974, 0.002, 0.0]),
        (25, &[700.0, 545.7, 421.6, 322.5, 244.0, 182.5, 134.9, 98.27, 70.54, 49.81, 34.54, 23.47, 15.59]),
    ];
    for (steps, wanted) in known {
        let levels = sigmas(steps);
        assert_eq!(levels.len(), steps as usize + 1);
        for (found, wanted) in levels.iter().zip(wanted) {
            assert!((found - wanted).abs() <= wanted * 5e-4, "{steps}: {found} {wanted}");
        }
    }
    assert!((timestep(700.0) - 1.638).abs() < 5e-4 && (timestep(0.002) + 1.554).abs() < 5e-4);
}

#[test]
fn whole_clips_match_the_published_formulae() {
    for (frames, steps) in [(60, 4), (50, 8), (25, 3), (12, 4), (30, 25)] {
        let values = 3;
        let start: Vec<f64> =
            (0..frames * values).map(|n| f64::from((n * 37 % 101) as f32 / 50.0 - 1.0) * 700.0).collect();
        let wanted = published(&start, values, frames, steps);
        let found = by_reference(&start, values as u32, frames as u32, steps);
        let worst = wanted.iter().zip(&found).map(|(a, b)| (a - f64::from(*b)).abs() / a.abs().max(1.0));
        let worst = worst.fold(0.0, f64::max);
        assert!(worst < 2e-4, "{frames} frames in {steps} steps: {worst}");
    }
}

#[test]
fn the_last_step_ends_at_the_clean_latents() {
    let (window, s) = (Window { values: 1, window: 1, frames: 1, start: 0, shift: 0 }, 0.002_f64);
    let mut next = [0.0];
    GuidedEuler::new(window, GUIDANCE, (s, 0.0)).compute(&[0.5_f32, 0.5, 0.5], &[3.0], &mut next);
    let wanted = 3.0 / (s * s + 1.0) - s / (s * s + 1.0).sqrt() * 0.5;
    assert!((f64::from(next[0]) - wanted).abs() < 1e-6);
}

#[test]
fn a_window_outside_of_its_clip_is_refused() {
    let window = Window { values: 4, window: 25, frames: 50, start: 25, shift: 700 };
    let launch = |window| GuidedEuler::new(window, GUIDANCE, (1.0, 0.5)).launch(FloatType::F16);
    assert!(launch(window).is_ok());
    for wrong in [Window { start: 50, ..window }, Window { frames: 0, ..window }, Window { values: 0, ..window }] {
        assert!(launch(wrong).is_err(), "{wrong:?}");
        assert!(WindowInput::new(wrong, 1.0).launch(FloatType::F32).is_err());
    }
}
