// Playback: files dropped on the page, another avatar, events, a video of `visage render`.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { alive, energy, expect, flags, onPage, root, sample, server, shot, sleep } from './check.mjs';

/** Dropped files: a WAV and an MP3 are audible, an invalid one is named and interrupts nothing. */
export const dropped = onPage({}, async page => {
  const heard = {}, words = {};
  for (const file of [sample, path.join(root, 'tests/assets/tone.mp3')]) {
    const name = path.basename(file), before = await energy(page);
    await page.drop('#screen', file);
    await page.until("visage.state.voice === 'sound'", 5000, `${name} to play`);
    words[name] = await page.eval("document.querySelector('#sentence').textContent");
    if (file === sample) await shot(page, 'dropped');
    await sleep(800);
    heard[name] = await energy(page) - before;
    if (await page.eval("visage.state.voice === 'sound'")) await page.click('#talk');
    await page.until("visage.state.voice === 'idle'");
  }
  expect(Object.entries(words).every(([name, said]) => said === name), 'the name of the playing file', words);
  expect(Object.values(heard).every(e => e > 1e-4), 'audible playback of both files', heard);
  const bad = path.join(flags.out, 'holiday.mp3');
  fs.writeFileSync(bad, Buffer.alloc(4000, 'no sound at all '));
  await page.drop('#screen', bad);
  await page.until("visage.state.trouble === 'badfile'");
  await shot(page, 'bad_file');
  const said = await page.eval("document.querySelector('#plate').innerText");
  expect(/cannot be played/.test(said) && said.includes('holiday.mp3') && /WAV/.test(said) && /Choose another file/.test(said), 'the name of the file and the supported formats', { said });
  const alive_after_ms = await alive(page);
  await page.click('#plate .shut');
  await page.until('visage.state.trouble === null && document.querySelector("#plate").hidden');
  return { heard, said, alive_after_ms };
});

/** Mean colour of the upper corners: the avatar's background. */
const BACKGROUND = `(() => { const v = document.querySelector('#video'), c = Object.assign(document.createElement('canvas'), { width: 2, height: 1 }).getContext('2d');
  c.drawImage(v, 0, 0, v.videoWidth * 0.06, v.videoHeight * 0.2, 0, 0, 1, 1); c.drawImage(v, v.videoWidth * 0.94, 0, v.videoWidth * 0.06, v.videoHeight * 0.2, 1, 0, 1, 1);
  const d = c.getImageData(0, 0, 2, 1).data; return [0, 1, 2].map(i => (d[i] + d[i + 4]) / 2); })()`;

/** Another avatar in the middle of a sample: other video in the same session, and no second session. */
export const avatar = onPage({}, async page => {
  const used = async () => (await (await server('/v1/server')).json()).sessions.active;
  for (const from = Date.now(); await used() !== 1 && Date.now() - from < 10000;) await sleep(100); // earlier pages end their sessions
  const id = await page.eval('visage.state.session'), before = await page.eval(BACKGROUND);
  await page.click('#k-sample');
  await page.until("visage.state.voice === 'sound'");
  await page.click('.av[data-name=nora]');
  const { after_ms } = await page.until(`(() => { const was = ${JSON.stringify(before)}, now = ${BACKGROUND}; return now.every((v, i) => was[i] - v > 60); })()`, 5000, 'the background of another avatar');
  await shot(page, 'another_avatar');
  const state = await page.eval('visage.state'), kept = { session: state.session, voice: state.voice, avatar: state.avatar, sessions: await used() };
  const pressed = await page.eval("[...document.querySelectorAll('.av[aria-pressed=true]')].map(e => e.dataset.name).join()");
  const answer = await (await server(`/v1/sessions/${id}`)).json();
  expect(kept.session === id && kept.sessions === 1 && kept.voice === 'sound', 'the same session, only one, and uninterrupted playback', { id, kept });
  expect(kept.avatar === 'nora' && pressed === 'nora' && answer.avatar === 'nora', 'the same avatar in page and server', { pressed, answer });
  return { after_ms, before };
});

/** The event stream of a session, read in the page's browser: start and end of speaking, quality once a second. */
export const events = onPage({}, async page => {
  await page.eval(`(() => { window.seenEvents = []; const stream = new EventSource('/v1/sessions/' + visage.state.session + '/events');
    ['session', 'speaking_started', 'speaking_stopped', 'quality', 'speech_started', 'speech_ended'].forEach(name => stream.addEventListener(name, e => seenEvents.push({ name, ...JSON.parse(e.data) }))); window.stream = stream; })()`);
  await page.until("seenEvents.some(e => e.name === 'session')");
  await page.click('#k-sample');
  await page.until("['speaking_started', 'speaking_stopped', 'quality', 'speech_started', 'speech_ended'].every(name => seenEvents.some(e => e.name === name))", 15000, 'every kind of event');
  const seen = await page.eval('seenEvents.map(e => ({ ...e }))'), of = name => seen.find(e => e.name === name);
  await page.eval('stream.close()');
  const spoke_ms = seen.filter(e => e.name === 'speaking_stopped').at(-1).at_ms - of('speaking_started').at_ms;
  expect(seen[0].name === 'session' && spoke_ms > 500 && spoke_ms < 8000, 'the session event first, and the duration of the sample', { seen });
  expect(seen.filter(e => e.name === 'quality').every(q => 'audio_to_frame_ms' in q), 'the delay in every quality event', of('quality'));
  return { names: seen.map(e => e.name).join(' '), spoke_ms, quality: of('quality') };
});

/** A video of `visage render`, played by the browser: it moves, has audio and is not black. */
export const renderedVideo = onPage({ path: '/healthz', ready: "document.readyState === 'complete'" }, async page => {
  expect(flags.visage, 'wanted --visage FILE, the visage program', {});
  const file = path.join(flags.out, 'talk.mp4');
  const { video_s } = JSON.parse(execFileSync(flags.visage, ['render', '--json', '--audio', sample, '--out', file], { stdio: ['ignore', 'pipe', 'ignore'] }));
  await page.eval(`(() => { const bytes = Uint8Array.from(atob('${fs.readFileSync(file).toString('base64')}'), c => c.charCodeAt(0));
    document.body.innerHTML = '<video id="video" playsinline></video>'; document.querySelector('#video').src = URL.createObjectURL(new Blob([bytes], { type: 'video/mp4' })); return document.querySelector('#video').play(); })()`);
  const look = `(() => { const v = document.querySelector('#video'), c = Object.assign(document.createElement('canvas'), { width: 32, height: 32 }).getContext('2d'); c.drawImage(v, 0, 0, 32, 32);
    const d = c.getImageData(0, 0, 32, 32).data; return { at_s: v.currentTime, duration_s: v.duration, width: v.videoWidth, sound_bytes: v.webkitAudioDecodedByteCount, dropped: v.getVideoPlaybackQuality().droppedVideoFrames, pixels: Array.from(d).filter((_, i) => i % 4 !== 3), error: v.error?.message ?? null }; })()`;
  await page.until("document.querySelector('#video').currentTime > 0.3", 5000, 'a video that plays');
  const first = await page.eval(look);
  await sleep(1000);
  const second = await page.eval(look), mean = second.pixels.reduce((a, b) => a + b, 0) / second.pixels.length;
  const changed = second.pixels.filter((v, i) => Math.abs(v - first.pixels[i]) > 4).length;
  const found = { at_s: [first.at_s, second.at_s], duration_s: second.duration_s, video_s, width: second.width, sound_bytes: second.sound_bytes, mean, changed, error: second.error };
  await shot(page, 'rendered_video');
  await page.eval("document.querySelector('#video').currentTime = document.querySelector('#video').duration - 0.5");
  await page.until("document.querySelector('#video').ended", 5000, 'the end of the video after a seek');
  expect(second.at_s - first.at_s > 0.6 && Math.abs(second.duration_s - video_s) < 0.1 && second.width === 512, 'a video that plays on and has the reported duration', found);
  expect(mean > 40 && changed > 20 && second.sound_bytes > 1000 && !second.error, 'moving, audible video that is not black', found);
  return found;
});
