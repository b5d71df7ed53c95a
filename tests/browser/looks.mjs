// Layout and interaction: full screen, colour schemes, reduced motion, keyboard, phone.
import { expect, isUp, onPage, shot, sleep } from './check.mjs';

const feature = (page, name, value) => page.send('Emulation.setEmulatedMedia', { features: [{ name, value }] });

export const fullScreen = onPage({}, async page => {
  const look = () => page.eval(`(() => { const box = document.querySelector('#video').getBoundingClientRect(), keys = document.querySelector('.console');
    return { isFull: document.fullscreenElement?.id === 'device', height: box.height, inner: innerHeight, keys: +getComputedStyle(keys).opacity, bar: getComputedStyle(document.querySelector('.screen')).backgroundColor }; })()`);
  await page.click('#k-full');
  await page.until("document.fullscreenElement?.id === 'device'");
  await sleep(400);
  const awake = await look();
  await shot(page, 'full_screen');
  await page.until("getComputedStyle(document.querySelector('.console')).opacity === '0'", 6000, 'controls that hide after three idle seconds');
  await page.send('Input.dispatchMouseEvent', { type: 'mouseMoved', x: 200, y: 200 });
  await page.until("getComputedStyle(document.querySelector('.console')).opacity === '1'", 3000, 'controls that reappear with the pointer');
  await page.press('f', 'KeyF', 'f');
  await page.until('!document.fullscreenElement');
  expect(awake.isFull && awake.keys === 1 && awake.height >= awake.inner - 1, 'video as high as the screen, with its controls', awake);
  return awake;
});

/** Contrast of a text against its background (WCAG 2.1, 1.4.3), up to the first opaque ancestor. */
const CONTRAST = `(() => {
  const numbers = colour => { const c = document.createElement('canvas').getContext('2d', { willReadFrequently: true }); c.fillStyle = colour; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = e => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255]; };
  const of = e => { const a = light(numbers(getComputedStyle(e).color)), b = light(ground(e)); return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
  const texts = ['#sentence', '#talk', '#k-sample', '#k-file', '#readout', '#readout b', '.tabs a', '.where', '#plate h2', '#plate .b', '#plate .btn.first', '.sheet h2', '.sheet td', '.sheet .hint', '.sheet thead th'];
  return { paper: light(numbers(getComputedStyle(document.body).backgroundColor)), contrast: Object.fromEntries(texts.flatMap(t => { const e = document.querySelector(t); return e ? [[t, +of(e).toFixed(1)]] : []; })) };
})()`;

/** Dark and light schemes, with the measurements and an error open: every text is readable in both. */
export const schemes = onPage({ microphone: 'denied' }, async page => {
  await page.press('d', 'KeyD', 'd');
  await page.click('#talk');
  await page.until("visage.state.trouble === 'refused'");
  const found = {};
  for (const scheme of ['dark', 'light']) {
    await feature(page, 'prefers-color-scheme', scheme);
    await sleep(400);
    found[scheme] = await page.eval(CONTRAST);
    await shot(page, scheme);
  }
  const worst = Object.values(found).flatMap(f => Object.entries(f.contrast)).sort((a, b) => a[1] - b[1])[0];
  expect(found.dark.paper < 0.02 && found.light.paper > 0.8, 'a background that follows the scheme', { dark: found.dark.paper, light: found.light.paper });
  expect(Object.keys(found.dark.contrast).length >= 14 && worst[1] >= 4.5, 'a contrast of 4.5 to 1 for every text', { worst, ...found });
  return { texts: Object.keys(found.dark.contrast).length, worst };
});

/** Synthetic GPU readings: shown while the measurements are open, with texts and not only numbers, in dark and light. */
const GPU = { index: 0, name: 'NVIDIA GeForce RTX 4090', error: null, temperature_c: 84, memory_bytes: 25.7e9, memory_used_bytes: 12.34e9, memory_free_bytes: 13.36e9, utilization_percent: 71, memory_utilization_percent: 40, encoder_utilization_percent: 0, power_w: 412.5, power_limit_w: 450, sm_clock_mhz: 2520, memory_clock_mhz: 10501, throttle_reasons: ['hw_slowdown', 'hw_thermal_slowdown', 'sw_thermal_slowdown'], encoder_sessions: 0 };
const HOT = { capacity: 4, max_capacity: 8, additional_sessions: 0, session_bytes: 3e9, temperature_c: 84, memory_free_bytes: 2.1e9 };
let asked, said;
export const gpus = onPage({
  answer: ({ url }) => { if (!url.endsWith('/v1/gpus')) return null; asked += 1; return { status: 200, body: said }; },
}, async page => {
  [asked, said] = [0, { gpus: [], reading_age_ms: null, admission: null }];
  const words = () => page.eval("document.querySelector('#gpus').checkVisibility() ? document.querySelector('#gpus').innerText : null");
  await page.press('d', 'KeyD', 'd');
  await sleep(2500);
  const without = { words: await words(), asked };
  expect(without.words === null && asked === 1, 'no GPU section without GPUs, and one request', without);
  await page.press('Escape');
  const mute = Object.fromEntries(Object.keys(GPU).map(key => [key, null]));
  said = { gpus: [GPU, { ...GPU, index: 1, name: 'NVIDIA T4', error: 'a GPU was lost', throttle_reasons: [] }, { ...mute, index: 2, name: 'NVIDIA T4', throttle_reasons: [] }], reading_age_ms: 300, admission: HOT };
  await page.press('d', 'KeyD', 'd');
  await page.until("document.querySelector('#gpus').checkVisibility()");
  const shown = await words();
  for (const part of ['RTX 4090', '84 °C', '12.3 of 25.7 GB', '413 of 450 W', '2520 MHz', '0: NVIDIA', 'Slowed by\theat', 'a GPU was lost', '2: NVIDIA T4', 'nothing but its name', '4 of 8', 'no further session']) expect(shown.includes(part), `${part} in the panel`, { shown });
  await page.eval("document.querySelector('.gpunote').scrollIntoView({ block: 'end' })");
  const worst = {};
  for (const scheme of ['dark', 'light']) {
    await feature(page, 'prefers-color-scheme', scheme);
    await sleep(400);
    worst[scheme] = (await page.eval(CONTRAST.replace("'#sentence'", "'.gpu h3', '.gpu .val', '.gpu th', '.gpu td', '.gpu td b', '.gpunote', '#sentence'"))).contrast;
    await shot(page, `gpus_${scheme}`);
  }
  const bad = Object.values(worst).flatMap(all => Object.entries(all)).filter(([, ratio]) => ratio < 4.5);
  expect(!bad.length && worst.dark['.gpunote'], 'a contrast of 4.5 to 1 for every text', { bad, worst });
  const before = asked;
  await sleep(2200);
  expect(asked >= before + 2, 'one request per second while it is open', { before, asked });
  await page.press('Escape');
  await sleep(1200);
  const closed = asked;
  await sleep(1500);
  expect(asked === closed, 'no request while it is closed', { closed, asked });
  return { asked, gpus: 3 };
});

/** A server that refuses because of a hot GPU although sessions are free: the page shows the server's reason. */
const HEAT = 'the GPU is at 86 °C after being too hot and leaves 2 of 8 session slots, all in use';
export const hot = onPage({
  answer: ({ url }) => url.endsWith('/v1/sessions') ? { status: 503, body: { title: 'Service Unavailable', status: 503, code: 'gpu_hot', detail: HEAT } } : null,
  ready: "window.visage && visage.state.link === 'full'",
}, async page => {
  await shot(page, 'hot');
  const words = await page.eval("document.querySelector('#plate').innerText");
  expect(words.includes(HEAT) && !/sessions are in use/.test(words), 'the server\'s reason, not that all sessions are in use', { words });
  return { words: words.split('\n')[0] };
});

/** The progress line moves, and is still if the system requests reduced motion. */
export const motion = onPage({
  answer: ({ url }) => url.endsWith('/v1/sessions') ? { status: 503, body: { title: 'All places are taken', status: 503 } } : null,
  ready: "window.visage && visage.state.link === 'full'",
}, async page => {
  const moving = () => page.eval("document.getAnimations().filter(a => a.playState === 'running').length");
  await page.until("document.getAnimations().some(a => a.animationName === 'slide' && a.playState === 'running')", 5000, 'a moving line while the page waits');
  await feature(page, 'prefers-reduced-motion', 'reduce');
  await sleep(100);
  const still = [await moving()];
  await page.press('d', 'KeyD', 'd');
  await page.until("!document.querySelector('#sheet').hidden");
  still.push(await moving());
  await page.click('#k-input');
  still.push(await moving());
  await shot(page, 'reduced_motion');
  expect(still.every(n => n === 0), 'no animation', { still });
  return { still };
});

const FOCUS = `(() => { const e = document.activeElement, css = getComputedStyle(e), box = e.getBoundingClientRect();
  return { name: e.id || e.dataset.name || e.textContent.trim().slice(0, 20), ring_px: css.outlineStyle === 'none' ? 0 : parseFloat(css.outlineWidth), isSeen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth }; })()`;
const ORDER = ['Skip to Talk', 'visage', 'Live', 'Connect', 'share', 'k-full', 'k-sample', 'k-file', 'talk', 'k-input', 'k-mute', 'k-hear', 'readout'];

/** By keyboard alone: from the top of the page to a playing sample and another avatar. */
export const keyboardAlone = onPage({}, async page => {
  const walk = [], tab = async () => { await page.press('Tab'); return page.eval(FOCUS); };
  while (walk.length < ORDER.length + 2) walk.push(await tab());
  const names = walk.map(w => w.name);
  expect(JSON.stringify(names.slice(0, ORDER.length)) === JSON.stringify(ORDER), 'the controls in reading order', { names });
  expect(walk.every(w => w.ring_px >= 2 && w.isSeen), 'a visible focus ring of 2 px at every stop', walk.filter(w => w.ring_px < 2 || !w.isSeen));
  const second = names.at(-1);
  await page.press('Enter', 'Enter', '\r');
  await page.until(`visage.state.avatar === ${JSON.stringify(second)}`);
  await page.eval("document.querySelector('#k-full').focus()");
  await tab();
  await page.press('Enter', 'Enter', '\r');
  await page.until("visage.state.voice === 'sound'");
  await tab();
  const talk = await tab();
  await page.press(' ', 'Space', ' ');
  await page.until("visage.state.voice === 'idle'");
  const menu = await tab();
  await page.press('Enter', 'Enter', '\r');
  const inside = await page.until("!document.querySelector('#menu').hidden && document.activeElement.type");
  await page.press('Escape');
  const back = await page.eval(FOCUS);
  expect(talk.name === 'talk' && menu.name === 'k-input' && inside.value === 'radio' && back.name === 'k-input', 'the menu by keyboard, and the focus restored', { talk, menu, inside, back });
  return { stops: names.length };
});

/** Every visible control smaller than a thumb, and what overflows the page. */
const THUMB = `(() => { const isThere = e => { const b = e.getBoundingClientRect(); return b.width > 1 && b.height > 1 && b.bottom > 0 && e.checkVisibility() && !e.closest('.skip, .unseen'); };
  const keys = [...document.querySelectorAll('button, a, select, summary, label.opt, input:not([type=file]):not(.opt input)')].filter(isThere);
  return { keys: keys.length, over_px: document.documentElement.scrollWidth - innerWidth, small: keys.map(e => ({ name: e.id || e.getAttribute('aria-label') || e.textContent.trim(), box: e.getBoundingClientRect() })).filter(({ box }) => box.width < 44 || box.height < 44).map(({ name, box }) => [name, Math.round(box.width), Math.round(box.height)]) }; })()`;

/** Small windows, in which the page is higher than the window: with the measurements open there is one scroll bar. */
export const oneScrollBar = onPage({}, async page => {
  const bars = () => page.eval("(() => { const sheet = document.querySelector('#sheet'), root = document.documentElement; return { page_px: innerWidth - root.clientWidth, sheet_px: sheet.offsetWidth - sheet.clientWidth, isHigher: root.scrollHeight > root.clientHeight }; })()");
  const found = {};
  for (const [width, height] of [[700, 560], [900, 420], [1440, 900]]) {
    await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    await page.press('d', 'KeyD', 'd');
    await page.until("!document.querySelector('#sheet').hidden");
    await sleep(400);
    found[`${width}x${height}`] = await bars();
    await page.press('Escape');
  }
  await shot(page, 'one_scroll_bar');
  const all = Object.values(found);
  expect(all.some(f => f.isHigher), 'a page higher than its window in at least one of them', found);
  expect(all.every(f => f.page_px === 0 && f.sheet_px < 20), 'no second scroll bar beside that of the measurements', found);
  return found;
});

export const phone = onPage({ width: 390, height: 844, isPhone: true }, async page => {
  await page.until('visage.state.frames > 10');
  await shot(page, 'phone');
  const found = await page.eval(`(() => { const t = document.querySelector('#talk').getBoundingClientRect(), v = document.querySelector('#video').getBoundingClientRect();
    return { talk_bottom: t.bottom, talk_height: t.height, picture_width: v.width, height: innerHeight }; })()`);
  expect(found.talk_bottom <= found.height && found.talk_height >= 44 && found.picture_width === 390, 'Talk within reach of a thumb, video edge to edge', found);
  const looked = { live: await page.eval(THUMB) };
  await page.click('#k-input');
  looked.menu = await page.eval(THUMB);
  await page.press('Escape');
  await page.click('#readout');
  await page.until("!document.querySelector('#sheet').hidden");
  await sleep(400);
  looked.sheet = await page.eval(THUMB);
  await shot(page, 'phone_measurements');
  await page.eval("location.hash = '#connect'");
  await page.until("!document.querySelector('.connect').hidden");
  looked.connect = await page.eval(THUMB);
  await shot(page, 'phone_connect');
  const bad = Object.entries(looked).filter(([, l]) => l.over_px > 0 || l.small.length || l.keys < 5);
  expect(!bad.length, 'nothing wider than the phone, no control smaller than 44 px', Object.fromEntries(bad));
  return { ...found, keys: Object.fromEntries(Object.entries(looked).map(([name, l]) => [name, l.keys])) };
});
