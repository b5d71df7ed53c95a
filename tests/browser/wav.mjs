// Input for the fake microphone: words at known times, with silence between them.
import fs from 'node:fs';

/** Samples of a mono 16-bit WAV file that this project wrote. */
export function readWav(file) {
  const bytes = fs.readFileSync(file);
  const rate_hz = bytes.readUInt32LE(24);
  let at = 12;
  while (bytes.toString('latin1', at, at + 4) !== 'data') at += 8 + bytes.readUInt32LE(at + 4);
  const n = bytes.readUInt32LE(at + 4) / 2;
  return { rate_hz, pcm: Float32Array.from({ length: n }, (_, i) => bytes.readInt16LE(at + 8 + 2 * i) / 32768) };
}

export function writeWav(file, { rate_hz, pcm }) {
  const bytes = Buffer.alloc(44 + 2 * pcm.length);
  bytes.write('RIFF', 0, 'latin1');
  bytes.writeUInt32LE(36 + 2 * pcm.length, 4);
  bytes.write('WAVEfmt ', 8, 'latin1');
  [16, 0x10001, rate_hz, 2 * rate_hz, 0x100002].forEach((v, i) => bytes.writeUInt32LE(v, 16 + 4 * i));
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(2 * pcm.length, 40);
  pcm.forEach((v, i) => bytes.writeInt16LE(Math.round(Math.max(-1, Math.min(1, v)) * 32767), 44 + 2 * i));
  fs.writeFileSync(file, bytes);
}

/** The first word of a sample, eight times with pauses of different lengths, so that every lag is unambiguous. */
export function wordsApart(sample) {
  const { rate_hz, pcm } = readWav(sample), step = rate_hz / 100;
  const loud = Array.from({ length: Math.floor(pcm.length / step) }, (_, i) => Math.hypot(...pcm.subarray(i * step, (i + 1) * step)) / Math.sqrt(step));
  const from = loud.findIndex(v => v > 0.02);
  const quietAfter = loud.findIndex((v, i) => i > from + 25 && loud.slice(i, i + 8).every(w => w < 0.01));
  const word = pcm.subarray(from * step, Math.min(quietAfter + 5, from + 90) * step);
  const parts = [0.8, 1.1, 0.7, 1.3, 0.9, 1.2, 0.75, 1.0].flatMap(pause_s => [new Float32Array(Math.round(pause_s * rate_hz)), word]);
  const out = new Float32Array(parts.reduce((n, part) => n + part.length, 0));
  parts.reduce((at, part) => { out.set(part, at); return at + part.length; }, 0);
  return { rate_hz, pcm: out };
}
