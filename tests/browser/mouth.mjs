// Looks at a mouth through the page's own decoded pictures. `WATCHER` runs in the page; the rest makes sense of it.

/** Put in before the page: keeps the calls and the microphone, and writes down every picture and how loud it was. */
export const WATCHER = `(() => {
  const watch = window.watch = { frames: [], loud: [], peers: [], stops: [] };
  const W = 24, canvas = document.createElement('canvas');
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
  // The middle of the face: 36 % to 64 % across, 44 % to 78 % down, in 24 x 24 cells of luma.
  watch.look = () => {
    const video = document.querySelector('#video');
    const see = (now, about) => {
      const w = video.videoWidth, h = video.videoHeight;
      pen.drawImage(video, 0.36 * w, 0.44 * h, 0.28 * w, 0.34 * h, 0, 0, W, W);
      const px = pen.getImageData(0, 0, W, W).data, cells = new Array(W * W);
      for (let i = 0; i < cells.length; i += 1) cells[i] = Math.round(0.5 * px[4 * i] + px[4 * i + 1] + 0.3 * px[4 * i + 2]);
      watch.frames.push([performance.now(), cells, about.rtpTimestamp ?? null]);
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

/** Which cells tell mouth open from mouth shut: those that differ most between loud and quiet, far beyond what sways in quiet. */
export function learn(frames, isLoudAt) {
  const loud = frames.filter(([t]) => isLoudAt(t)), quiet = frames.filter(([t]) => !isLoudAt(t));
  if (loud.length < 10 || quiet.length < 10) throw new Error(`wanted 10 loud and 10 quiet pictures, found ${loud.length} and ${quiet.length}`);
  const score = frames[0][1].map((_, i) => {
    const still = median(quiet.map(f => f[1][i])), sway = median(quiet.map(f => Math.abs(f[1][i] - still)));
    return { i, still, gain: loud.reduce((s, f) => s + Math.abs(f[1][i] - still), 0) / loud.length - 2 * sway };
  });
  return score.sort((a, b) => b.gain - a.gain).slice(0, 16);
}

/** How open the mouth is in each picture: [time, opening], in luma steps. */
export const openings = (frames, cells) => frames.map(([t, px]) => [t, cells.reduce((s, { i, still }) => s + Math.abs(px[i] - still), 0) / cells.length]);

/** Value of a [time, value] line at a time. */
export function at(line, t) {
  let lo = 0, hi = line.length - 1;
  while (lo < hi) { const mid = (lo + hi + 1) >> 1; if (line[mid][0] <= t) lo = mid; else hi = mid - 1; }
  return line[lo]?.[1] ?? 0;
}

/** Lag at which `mouth` follows `voice` best, and how well (-1 to 1). */
export function bestLag(mouth, voice, { from_ms = 0, to_ms = 500 } = {}) {
  const smooth = t => [0, 20, 40, 60, 80].reduce((s, back) => s + Math.sqrt(at(voice, t - back)), 0) / 5;
  let best = { lag_ms: null, correlation: -1 };
  for (let lag = from_ms; lag <= to_ms; lag += 10) {
    const a = mouth.map(([, v]) => v), b = mouth.map(([t]) => smooth(t - lag + 40));
    const ma = a.reduce((s, v) => s + v, 0) / a.length, mb = b.reduce((s, v) => s + v, 0) / b.length;
    const dot = a.reduce((s, v, i) => s + (v - ma) * (b[i] - mb), 0);
    const correlation = dot / (Math.hypot(...a.map(v => v - ma)) * Math.hypot(...b.map(v => v - mb)) || 1);
    if (correlation > best.correlation) best = { lag_ms: lag, correlation };
  }
  return best;
}

/** Times at which a line rises over `threshold` after at least `quiet_ms` below it. */
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

/** From each onset to the first picture with the mouth at least a third open. */
export function onsetLags(starts, mouth, open) {
  const lag = start => mouth.find(([t, v]) => t >= start && t < start + 600 && v > open / 3)?.[0] - start;
  return starts.map(lag).filter(Number.isFinite).map(Math.round);
}
