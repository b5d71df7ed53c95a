// Shared by all checks: the browser, opening and closing the page, and failures.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { launch } from './cdp.mjs';
import { WATCHER } from './mouth.mjs';

export const { values: flags } = parseArgs({ options: Object.fromEntries(['base', 'chromium', 'visage', 'out', 'wav', 'only', 'inject'].map(name => [name, { type: 'string' }])) });
export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const sample = path.join(root, 'web/samples/hello.wav');
export const sleep = ms => new Promise(done => setTimeout(done, ms));
export const shot = (page, name) => page.screenshot(path.join(flags.out, `${name}.png`));
export const isUp = "window.visage && visage.state.link === 'up'";
export const server = (route, init) => fetch(flags.base + route, init);

class Failed extends Error {}
export const expect = (isTrue, what, detail) => { if (!isTrue) throw Object.assign(new Failed(what), { detail }); };

let browser;
export const start = async microphoneWav => { browser = await launch({ chromium: flags.chromium, microphoneWav }); };
export const end = () => browser?.close();
export const open = ({ path: at = '', ...options } = {}) => browser.open({ url: flags.base + at, ...options, scripts: [...(flags.inject ? [fs.readFileSync(flags.inject, 'utf8')] : []), WATCHER, ...(options.scripts || [])] });

/** Opens the page, waits for video, runs a check, and closes the page in any case. */
export const onPage = (options, check) => async () => {
  const page = await open(options);
  try {
    await page.until(options.ready || isUp, 15000);
    const detail = await check(page);
    expect(!page.errors.length, 'no error in the page', page.errors);
    return detail;
  } finally {
    await page.close();
  }
};

/** Frames continue to arrive, whatever else failed. */
export async function alive(page) {
  const before = await page.eval('visage.state.frames');
  return (await page.until(`${isUp} && visage.state.frames > ${before + 10}`, 5000, 'video that continues')).after_ms;
}

/** The energy of the audio received so far; null without a receiver. */
export const energy = page => page.eval(`(async () => { for (const r of (await watch.peers.at(-1).getStats()).values()) if (r.type === 'inbound-rtp' && r.kind === 'audio') return r.totalAudioEnergy ?? null; return null; })()`);
