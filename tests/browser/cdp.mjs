// Drives Chromium over its debugging pipe, without a port or a package. Decides nothing about what is tested.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--mute-audio', '--autoplay-policy=user-gesture-required', '--use-fake-device-for-media-stream',
  '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows', '--disable-renderer-backgrounding', '--remote-debugging-pipe'];

/** Starts a browser; `microphoneWav` is the input of its fake microphone, in a loop. */
export async function launch({ chromium, microphoneWav }) {
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'visage-browser-'));
  const flags = [...FLAGS, `--user-data-dir=${profile}`, ...(microphoneWav ? [`--use-file-for-fake-audio-capture=${microphoneWav}`] : []), 'about:blank'];
  const child = spawn(chromium, flags, { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const pipe = new Pipe(child.stdio[3], child.stdio[4]);
  const ended = new Promise(done => child.once('exit', done));
  child.once('error', error => pipe.fail(error));
  child.once('exit', code => pipe.fail(new Error(`the browser ended with ${code}`)));
  const close = async () => {
    pipe.send('Browser.close').catch(() => {});
    await Promise.race([ended, new Promise(done => setTimeout(done, 3000))]);
    child.kill('SIGKILL');
    fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  const { product } = await pipe.send('Browser.getVersion');
  return { product, close, open: options => openPage(pipe, options) };
}

/** Messages to and from the browser: JSON, each terminated by a zero byte. */
class Pipe {
  #last = 0; #waiting = new Map(); #listeners = new Set(); #rest = ''; #out;

  constructor(out, back) {
    this.#out = out;
    out.on('error', error => this.fail(error));
    back.setEncoding('utf8').on('data', text => {
      const parts = (this.#rest + text).split('\0');
      this.#rest = parts.pop();
      parts.forEach(part => this.#take(JSON.parse(part)));
    });
  }

  send(method, params = {}, sessionId) {
    const id = ++this.#last;
    const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject, method }));
    this.#out.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return answered;
  }

  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  fail(error) {
    this.#waiting.forEach(({ reject }) => reject(error));
    this.#waiting.clear();
  }

  #take(message) {
    const asked = this.#waiting.get(message.id);
    if (!asked) return this.#listeners.forEach(listener => listener(message));
    this.#waiting.delete(message.id);
    return message.error ? asked.reject(new Error(`${asked.method}: ${message.error.message}`)) : asked.resolve(message.result);
  }
}

/** A page in a fresh profile. `scripts` run before the page's own. */
async function openPage(pipe, { url, width = 1440, height = 900, isPhone = false, microphone = 'granted', scripts = [], answer }) {
  const { browserContextId } = await pipe.send('Target.createBrowserContext');
  const { origin, protocol, hostname } = new URL(url), isSecure = protocol === 'https:' || ['127.0.0.1', 'localhost', '[::1]'].includes(hostname);
  // An insecure page has no microphone permission to grant or deny.
  if (isSecure) await pipe.send('Browser.setPermission', { permission: { name: 'microphone' }, setting: microphone, origin, browserContextId });
  const { targetId } = await pipe.send('Target.createTarget', { url: 'about:blank', browserContextId, width, height });
  const { sessionId } = await pipe.send('Target.attachToTarget', { targetId, flatten: true });
  const page = new Page(pipe, sessionId, browserContextId);
  await Promise.all([page.send('Page.enable'), page.send('Runtime.enable'), page.send('Emulation.setFocusEmulationEnabled', { enabled: true })]);
  await page.send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: isPhone });
  for (const source of scripts) await page.send('Page.addScriptToEvaluateOnNewDocument', { source });
  if (answer) await page.answerWith(answer);
  await page.send('Page.navigate', { url });
  return page;
}

class Page {
  errors = [];

  constructor(pipe, sessionId, browserContextId) {
    this.send = (method, params) => pipe.send(method, params, sessionId);
    this.close = () => pipe.send('Target.disposeBrowserContext', { browserContextId }).catch(() => {});
    pipe.listen(({ method, params, sessionId: from }) => {
      if (from !== sessionId) return;
      if (method === 'Runtime.exceptionThrown') this.errors.push(params.exceptionDetails.exception?.description || params.exceptionDetails.text);
      if (method === 'Fetch.requestPaused') this.answer(params);
    });
  }

  /** Lets `answer(request)` return `{status, body}` in place of the server, or nothing to let a request through. */
  async answerWith(answer) {
    this.answer = async ({ requestId, request }) => {
      const given = answer(request);
      const body = given && Buffer.from(JSON.stringify(given.body)).toString('base64');
      const headers = [{ name: 'content-type', value: 'application/problem+json' }];
      await (given ? this.send('Fetch.fulfillRequest', { requestId, responseCode: given.status, responseHeaders: headers, body })
        : this.send('Fetch.continueRequest', { requestId })).catch(() => {});
    };
    await this.send('Fetch.enable', { patterns: [{ urlPattern: '*/v1/*' }] });
  }

  /** The value of an expression in the page, as JSON. It counts as a user gesture. */
  async eval(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression is true; on timeout fails with the state of the page. */
  async until(expression, most_ms = 10000, what = expression) {
    const from = Date.now();
    while (Date.now() - from < most_ms) {
      const value = await this.eval(expression);
      if (value) return { value, after_ms: Date.now() - from };
      await new Promise(done => setTimeout(done, 50));
    }
    const thought = await this.eval('JSON.stringify([visage.state, visage.lastError])').catch(() => '?');
    throw new Error(`wanted ${what} within ${most_ms} ms, found ${thought}`);
  }

  middle(selector) {
    return this.eval(`(() => { const e = document.querySelector(${JSON.stringify(selector)}); e.scrollIntoView({ block: 'nearest' }); const b = e.getBoundingClientRect(); return { x: b.x + b.width / 2, y: b.y + b.height / 2 }; })()`);
  }

  async click(selector) {
    const { x, y } = await this.middle(selector);
    for (const type of ['mousePressed', 'mouseReleased']) await this.send('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
  }

  /** Drops a local file, as a file manager would. */
  async drop(selector, file) {
    const { x, y } = await this.middle(selector), data = { items: [], files: [file], dragOperationsMask: 1 };
    for (const type of ['dragEnter', 'dragOver', 'drop']) await this.send('Input.dispatchDragEvent', { type, x, y, data });
  }

  async press(key, code = key, text) {
    const base = { key, code, windowsVirtualKeyCode: { ' ': 32, Escape: 27, Tab: 9, Enter: 13 }[key] ?? key.toUpperCase().charCodeAt(0) };
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...base, ...(text ? { text } : {}) });
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...base });
  }

  async screenshot(file) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png' });
    fs.writeFileSync(file, Buffer.from(data, 'base64'));
  }
}
