// Measures the mouth in the frames that the page decodes. `WATCHER` runs in the page; the rest evaluates its records.

/** Injected before the page's scripts: keeps references to the calls and the microphone, and records every frame and the loudness. */
export const WATCHER = `(() => {
  const watch = window.watch = { frames: [], loud: [], peers: [], stops: [] };
  const W = 48, canvas = document.createElement('canvas');
  canvas.width = canvas.height = W;
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  const Peer = window.RTCPeerConnection;
  if (Peer) window.RTCPeerConnection = class extends Peer { constructor(...a) { super(...a); watch.peers.push(this); } };
  const media = navigator.mediaDevices;
  if (media) {
    const ask = media.getUserMedia.bind(media);
    media.getUserMedia = async wanted => { const stream = await ask(wanted); watch.listen(stream); return stream; };
  }
  watch.listen = stream => {
    const context = new AudioContext(), ear = context.createAnalyser(), pcm = new Float32Array(480);
    ear.fftSize = 512;
    context.createMediaStreamSource(stream).connect(ear);
    const timer = setInterval(() => {
      if (stream.getAudioTracks()[0].readyState === 'ended') { clearInterval(timer); context.close(); return; }
      ear.getFloatTimeDomainData(pcm);
      watch.loud.push([performance.now(), Math.sqrt(pcm.reduce((s, x) => s + x * x, 0) / pcm.length)]);
    }, 10);
  };
  // The mouth region: 42 % to 58 % across, 53 % to 67 % down. Records the share of each of 125 colours in it:
  // a swaying head moves its colours, an opening mouth shows new ones.
  watch.look = () => {
    const video = document.querySelector('#video');
    const see = (now, about) => {
      const w = video.videoWidth, h = video.videoHeight;
      pen.drawImage(video, 0.42 * w, 0.53 * h, 0.16 * w, 0.14 * h, 0, 0, W, W);
      const px = pen.getImageData(0, 0, W, W).data, colours = new Array(125).fill(0), fifth = v => Math.min(4, v / 51.2 | 0);
      for (let i = 0; i < px.length; i += 4) colours[25 * fifth(px[i]) + 5 * fifth(px[i + 1]) + fifth(px[i + 2])] += 100 / (W * W);
      watch.frames.push([performance.now(), colours, about.rtpTimestamp ?? null]);
      if (watch.frames.length > 1500) watch.frames.shift();
      video.requestVideoFrameCallback(see);
    };
    video.requestVideoFrameCallback(see);
  };
})();`;

export const percentiles = values => {
  const sorted = [...values].sort((a, b) => a - b), at = p => sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] : null;
  return { n: sorted.length, min: at(0), p50: at(0.5), p90: at(0.9), max: at(1) };
};
const median = values => percentiles(values).p50 ?? 0;

/** Loudness just before a time, over the duration of two frames, on a perceptual scale. */
const smooth = (voice, t) => [0, 20, 40, 60, 80].reduce((sum, back) => sum + Math.sqrt(at(voice, t - back)), 0) / 5;
const mean = values => values.reduce((sum, v) => sum + v, 0) / values.length;

function together(a, b) {
  const ma = mean(a), mb = mean(b), da = a.map(v => v - ma), db = b.map(v => v - mb);
  const dot = da.reduce((sum, v, i) => sum + v * db[i], 0), size = Math.hypot(...da);
  return { correlation: dot / (size * Math.hypot(...db) || 1), spread: size / Math.sqrt(a.length) };
}

/**
  * The colours that appear with the speech (teeth, tongue, the dark cavity), at one lag for all: those that grow most.
  * Only colours that a closed mouth does not show: shades of skin vary with the sway of the head, which continues
  * after speech has ended and would count as an open mouth.
 */
export function learn(frames, voice) {
  if (frames.length < 50) throw new Error(`wanted 50 frames to learn the mouth from, found ${frames.length}`);
  const quiet = frames.filter(([t]) => smooth(voice, t) < 0.08 && smooth(voice, t - 200) < 0.08);
  const lines = frames[0][1].map((_, i) => Object.assign(frames.map(f => f[1][i]), { i }));
  const rest = lines.map((line, i) => median(quiet.length > 10 ? quiet.map(f => f[1][i]) : line));
  const isOnlyOpen = lines.map(line => { const shut = quiet.map(f => f[1][line.i]); return percentiles(shut).p90 < 0.15; });
  const tries = [50, 100, 150, 200, 250, 300, 350, 400].map(lag => {
    const loud = frames.map(([t]) => smooth(voice, t - lag));
    const colours = lines.map((line, i) => { const { correlation, spread } = together(line, loud); return { i, rest: rest[i], gain: correlation * spread, correlation }; });
    return colours.filter(c => c.correlation > 0.3 && isOnlyOpen[c.i]).sort((x, y) => y.gain - x.gain).slice(0, 8);
  }).filter(colours => colours.length);
  if (!tries.length) throw new Error('wanted colours that come with the voice, found none: the mouth does not follow');
  const sum = colours => colours.reduce((s, c) => s + c.gain, 0);
  return tries.sort((x, y) => sum(y) - sum(x))[0];
}

/** How open the mouth is in each frame: [time, per cent of the region that shows the inside of the mouth]. */
export const openings = (frames, colours) => frames.map(([t, found]) => [t, colours.reduce((s, { i, rest }) => s + found[i] - rest, 0)]);

/** Value of a [time, value] series at a time. */
export function at(line, t) {
  let lo = 0, hi = line.length - 1;
  while (lo < hi) { const mid = (lo + hi + 1) >> 1; if (line[mid][0] <= t) lo = mid; else hi = mid - 1; }
  return line[lo]?.[1] ?? 0;
}

/** Lag at which `mouth` correlates best with `voice`, and the correlation (-1 to 1). */
export function bestLag(mouth, voice, { from_ms = 0, to_ms = 500 } = {}) {
  const open = mouth.map(([, v]) => v), lags = Array.from({ length: (to_ms - from_ms) / 10 + 1 }, (_, i) => from_ms + 10 * i);
  const tries = lags.map(lag_ms => ({ lag_ms, correlation: +together(open, mouth.map(([t]) => smooth(voice, t - lag_ms + 40))).correlation.toFixed(3) }));
  return tries.sort((a, b) => b.correlation - a.correlation)[0];
}

/** Times at which a series rises above `threshold` after at least `quiet_ms` below it. */
export function onsets(line, threshold, quiet_ms = 350) {
  const found = [];
  let quietSince = line[0]?.[0] ?? 0;
  for (const [t, v] of line) {
    if (v < threshold) continue;
    if (t - quietSince >= quiet_ms) found.push(t);
    quietSince = t;
  }
  return found;
}

/** From each onset to the first frame with the mouth at least a third open. */
export function onsetLags(starts, mouth, open) {
  const lag = start => mouth.find(([t, v]) => t >= start && t < start + 600 && v > open / 3)?.[0] - start;
  return starts.map(lag).filter(Number.isFinite).map(Math.round);
}
