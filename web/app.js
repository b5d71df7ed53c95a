// visage: the page. One script, nothing loaded from other hosts.
//
// It keeps one WebRTC call to the server that it was loaded from. Video is received before a microphone is
// granted; Talk adds a microphone track to the existing call, Stop removes it, without renegotiation.
// `S` is the whole state; `view` turns it into texts; `render` puts the texts on the page.
// Red on the page means one thing: the microphone is open and its audio is sent.

const $ = (selector, root = document) => root.querySelector(selector);
const icon = name => `<svg class="i" aria-hidden="true"><use href="#i-${name}"/></svg>`;
const esc = text => String(text).replace(/[&<>"]/g, c => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]);
const clamp = (x, lo, hi) => Math.min(hi, Math.max(lo, x));
/** URL of a path of the server that this page was loaded from, also where a proxy publishes it below a path prefix. */
const at = path => new URL(path.replace(/^\//, ''), document.baseURI).href;
const clock = s => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`;
const dash = '–';
const num = (x, digits = 0) => Number.isFinite(x) ? x.toFixed(digits).replace('-', '−') : dash;
const share = ratio => Number.isFinite(ratio) ? `${num(ratio * 100, 1)} %` : dash;

const PICTURE_WAIT_MS = 8000;        // from the server's answer to the first frame
const SILENT_WIRE_MS = 3000;         // without a packet for this long the call is lost
const BACK_OFF_S = [1, 3, 5, 10, 15];
const LARGEST_FILE_BYTES = 10 * 2 ** 20;
const IN_STEP_MS = 8;                // below this an offset is not visible
const LONGEST_HOLD_MS = 300;         // limit of the delay of video for its audio
const HISTORY = 120;                 // 60 s at 2 Hz
const SAMPLES = [{ file: 'hello', name: 'Sample: hello' }, { file: 'boat', name: 'Sample: purple boat' }];

/** Values stored by the browser, where it allows that. */
const kept = (store, key, value) => {
  try {
    if (value === undefined) return window[store].getItem(`visage.${key}`);
    if (value === null) window[store].removeItem(`visage.${key}`); else window[store].setItem(`visage.${key}`, value);
  } catch { /* a browser that keeps nothing still works */ }
  return null;
};

// ── state ──────────────────────────────────────────────────────────────────────────────────────────────────────
const S = {
  link: 'connecting',   // connecting up lost gone full udp blank token codec failed off unsupported
  voice: 'idle',        // idle asking open sound
  trouble: null,        // refused missing busy insecure unplugged micfail | badfile bigfile filefail, with .detail
  isMuted: false,
  hear: { mic: false, sound: true },
  since: performance.now(), tries: 0, retryAt: 0, lastPictureAt: 0,
  server: null, avatars: [], avatar: kept('localStorage', 'avatar'),
  call: null, run: 0, stream: null, openedAt: 0, sound: null, resume: false, note: '',
  isOpen: { sheet: false, menu: false }, page: 'live', isDropping: false, shortcuts: kept('localStorage', 'shortcuts') !== 'off',
  mic: { id: kept('localStorage', 'microphone') || '', echoCancellation: true, noiseSuppression: true, autoGainControl: true, list: [] },
  stats: null, net: null, history: [], gpus: null, lastError: null,
};
let token = kept('sessionStorage', 'token') || '';
const me = () => S.avatars.find(a => a.name === S.avatar) || null;
const myName = () => me()?.title || 'the avatar';
const isUp = () => S.link === 'up';
const isMicOpen = () => S.voice === 'open';
const isRed = () => isMicOpen() && !S.isMuted;
const isHeard = () => !$('#audio').muted;

// ── requests to the server ──────────────────────────────────────────────────────────────────────────────────────
class Problem extends Error {
  constructor(status, body, retryAfterS) {
    super(body.detail || body.title || `status ${status}`);
    Object.assign(this, { status, body, retryAfterS });
  }
}

async function api(path, { method = 'GET', body, type, keepalive, signal } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (type) headers['content-type'] = type;
  let answer;
  try {
    answer = await fetch(at(path), { method, body, headers, keepalive, signal, cache: 'no-store' });
  } catch (error) {
    throw new Problem(0, { title: 'The server does not answer', detail: error.message }, 0);
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem, Number(answer.headers.get('retry-after')) || 0);
}

async function askServer() {
  S.server = await (await api('/v1/server')).json();
  if (S.server.token_required && !token) throw new Problem(401, {}, 0);
  if (!S.avatars.length) {
    S.avatars = await (await api('/v1/avatars')).json();
    showAvatars();
  }
}

const askServerAgain = () => api('/v1/server').then(r => r.json()).then(facts => { S.server = facts; render(); }).catch(noteError);

// ── the call ───────────────────────────────────────────────────────────────────────────────────────────────────
/** Joins the server; an attempt that is replaced by a newer one ends silently. */
async function connect() {
  const run = ++S.run;
  const stale = () => run !== S.run;
  clearTimeout(connect.timer);
  dropCall();
  Object.assign(S, { link: S.tries && S.link !== 'off' ? S.link : 'connecting', isTrying: true, since: performance.now() });
  if (!('RTCPeerConnection' in window)) return fail('unsupported');
  if (S.link !== 'lost') S.link = 'connecting';
  render();
  try {
    await askServer();
    if (stale()) return;
    showFace();
    const call = await openCall();
    if (stale()) return endCall(call);
    S.call = call;
    call.timer = setTimeout(() => stale() || noPicture(call), PICTURE_WAIT_MS);
    listenToEvents(call);
    render();
  } catch (error) {
    if (!stale()) refusedBy(error);
  }
}

async function openCall() {
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  try {
    const voice = pc.addTransceiver('audio', { direction: 'sendrecv' });
    const picture = pc.addTransceiver('video', { direction: 'recvonly' });
    [voice, picture].forEach(({ receiver }) => hold(receiver, 0));
    const call = { pc, sender: voice.sender, voice: voice.receiver, picture: picture.receiver, shown: [], held_ms: 0, isOver: false, stream: new MediaStream(), id: null, frames: 0, before: null };
    pc.ontrack = ({ track }) => { call.stream.addTrack(track); attach(call); };
    pc.onconnectionstatechange = () => watchLink(call);
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, 250);
    const wanted = { sdp: pc.localDescription.sdp, ...(S.avatar && me() ? { avatar: S.avatar } : {}) };
    const answer = await api('/v1/sessions', { method: 'POST', type: 'application/json', body: JSON.stringify(wanted) });
    const joined = await answer.json();
    call.id = joined.id;
    S.avatar = joined.avatar;
    await pc.setRemoteDescription({ type: 'answer', sdp: apart(joined.sdp) });
    pc.getReceivers().forEach(r => { if (r.transport) r.transport.onstatechange = () => watchLink(call); });
    return call;
  } catch (error) {
    pc.close();
    throw error;
  }
}

/** Sets the jitter buffer's target: how long the browser holds media before it shows or plays them. */
function hold(receiver, held_ms) {
  if ('jitterBufferTarget' in receiver) receiver.jitterBufferTarget = held_ms;
  else if ('playoutDelayHint' in receiver) receiver.playoutDelayHint = held_ms / 1000;
}

/** Puts audio into another stream than video: otherwise browsers delay video to match audio that is muted. */
const apart = sdp => sdp.split(/^(?=m=)/m).map(part => part.startsWith('m=audio') ? part.replace(/msid:\S+/g, 'msid:voice') : part).join('');

/**
  * How late frames are shown relative to their audio, in ms, over the frames since the last call. The server derives both RTP
  * times from the same sample, so both have a common due time. `playout_ms`: from the browser to the speaker.
 */
function lateness(call, playout_ms) {
  const [heard] = call.voice.getSynchronizationSources?.() || [];
  const shown = percentile(call.shown.splice(0), 0.5);
  if (!heard) return NaN;
  const late_ms = shown - (heard.timestamp - performance.timeOrigin - heard.rtpTimestamp / 48 + playout_ms);
  return Math.abs(late_ms) < 1000 ? late_ms : NaN; // an RTP timestamp wrapped around
}

/**
  * Audio and video leave the server in sync, but browsers buffer audio longer. While audio plays, video is delayed to
  * match; while it is muted, frames are shown at once. `offset_ms`: how late video is; negative if early.
 */
function keepInStep(call, offset_ms) {
  const isWorthIt = Number.isFinite(offset_ms) && Math.abs(offset_ms) > IN_STEP_MS;
  const held_ms = !isHeard() ? 0 : isWorthIt ? clamp(Math.round(call.held_ms - offset_ms / 2), 0, LONGEST_HOLD_MS) : call.held_ms;
  if (held_ms !== call.held_ms) hold(call.picture, call.held_ms = held_ms);
}

const gathered = (pc, most_ms) => new Promise(done => {
  if (pc.iceGatheringState === 'complete') return done();
  pc.addEventListener('icegatheringstatechange', () => pc.iceGatheringState === 'complete' && done());
  setTimeout(done, most_ms);
});

function attach(call) {
  const video = $('#video'), audio = $('#audio');
  // Two elements for one stream: video then plays at once, even if the browser blocks audio.
  if (video.srcObject !== call.stream) { video.srcObject = call.stream; audio.srcObject = call.stream; }
  video.play?.().catch(() => {});
  audio.play?.().catch(() => {});
  const seen = (_, frame) => {
    // A closed call shows a last black frame.
    if (call.isOver) return;
    call.frames += 1;
    if (frame?.rtpTimestamp !== undefined) call.shown.push(frame.expectedDisplayTime - frame.rtpTimestamp / 90);
    S.lastPictureAt = performance.now();
    if (call.frames === 1) firstPicture(call);
    if (video.requestVideoFrameCallback && video.srcObject === call.stream) video.requestVideoFrameCallback(seen);
  };
  if (call.isWatched || !call.stream.getVideoTracks().length) return;
  call.isWatched = true;
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(seen);
  else video.addEventListener('playing', seen, { once: true });
}

function firstPicture(call) {
  clearTimeout(call.timer);
  Object.assign(S, { link: 'up', isTrying: false, tries: 0, note: '' });
  call.upAt = performance.now();
  $('#video').hidden = false;
  $('#last').hidden = true;
  $('#still').hidden = true;
  askServerAgain();
  render();
  if (S.resume) { S.resume = false; talk(); }
}

function watchLink(call) {
  if (S.call !== call) return;
  const states = [call.pc.connectionState, ...call.pc.getReceivers().map(r => r.transport?.state)];
  if (states.some(s => s === 'failed' || s === 'closed' || s === 'disconnected')) {
    if (call.frames) lose(`link ${call.pc.connectionState}`); else if (states.includes('failed')) noPicture(call);
  }
}

/** The server answered, but no frame arrived: find out whether UDP gets through at all. */
function noPicture(call) {
  const isThrough = call.pc.connectionState === 'connected';
  S.lastError = isThrough ? 'connected, but no video arrived' : 'no way through for UDP';
  fail(isThrough ? 'blank' : 'udp', 30);
}

function refusedBy(error) {
  S.lastError = error.message;
  const { status } = error;
  if (status === 503) { S.problem = error.body || {}; return fail('full', error.retryAfterS || 10); }
  if (status === 401) { token = ''; return fail('token'); }
  if (status === 422) return fail('codec');
  if (status === 404 && S.avatar) { S.avatar = null; kept('localStorage', 'avatar', null); }
  S.problem = error.body || {};
  fail(status === 0 ? 'gone' : 'failed', backOff());
}

const backOff = () => BACK_OFF_S[Math.min(S.tries, BACK_OFF_S.length - 1)];

/** The call was lost: stop sending first, then report it. */
function lose(reason) {
  if (!isUp()) return;
  const wasTalking = isMicOpen();
  S.lastError = `connection lost: ${reason}`;
  releaseMicrophone();
  S.resume = wasTalking && !document.hidden;
  if (S.voice === 'sound') S.sound = null;
  S.voice = 'idle';
  keepLastPicture();
  fail('lost', backOff());
}

function fail(link, retryInS) {
  S.run += 1;
  dropCall();
  Object.assign(S, { link, isTrying: false, retryAt: retryInS ? performance.now() + retryInS * 1000 : 0 });
  clearTimeout(connect.timer);
  if (retryInS) {
    S.tries += 1;
    connect.timer = setTimeout(connect, retryInS * 1000);
  }
  render();
}

function dropCall() {
  if (S.voice !== 'idle') { releaseMicrophone(); S.voice = 'idle'; S.sound = null; }
  if (S.call) endCall(S.call);
  S.call = null;
  S.stats = S.net = null;
}

function endCall(call) {
  call.isOver = true;
  clearTimeout(call.timer);
  call.events?.close();
  call.pc.onconnectionstatechange = null;
  call.pc.close();
  if (call.id) api(`/v1/sessions/${call.id}`, { method: 'DELETE', keepalive: true }).catch(() => {});
}

function cancel() {
  S.run += 1;
  clearTimeout(connect.timer);
  dropCall();
  Object.assign(S, { link: 'off', tries: 0, resume: false, retryAt: 0, isTrying: false });
  render();
}

function listenToEvents(call) {
  const query = token ? `?token=${encodeURIComponent(token)}` : '';
  const events = new EventSource(at(`/v1/sessions/${call.id}/events${query}`));
  const on = (name, act) => events.addEventListener(name, e => S.call === call && act(JSON.parse(e.data)));
  on('speech_ended', e => S.sound && e.utterance >= S.sound.utterance && soundOver());
  on('ended', e => lose(e.detail || 'ended by the server'));
  events.onerror = () => { if (events.readyState === EventSource.CLOSED && S.call === call) confirmAlive(call); };
  call.events = events;
}

/** Asks whether the session still exists; a definite no ends the call here as well. */
async function confirmAlive(call) {
  await api(`/v1/sessions/${call.id}`).catch(error => {
    if (S.call === call && error.status === 404) lose('the server has ended the session');
  });
}

// ── microphone ─────────────────────────────────────────────────────────────────────────────────────────────────
const canAsk = () => window.isSecureContext && !!navigator.mediaDevices?.getUserMedia;

async function talk() {
  if (!isUp() || S.voice === 'asking') return;
  if (S.voice === 'sound') await stopTalking();
  S.trouble = null;
  if (!canAsk()) return troubled('insecure');
  Object.assign(S, { voice: 'asking', isMuted: false });
  render();
  try {
    await useMicrophone();
  } catch (error) {
    S.voice = 'idle';
    S.lastError = `${error.name}: ${error.message}`;
    troubled(MICROPHONE_TROUBLES[error.name] || 'micfail', error.message);
  }
}

const MICROPHONE_TROUBLES = {
  NotAllowedError: 'refused', SecurityError: 'refused', PermissionDeniedError: 'refused',
  NotFoundError: 'missing', DevicesNotFoundError: 'missing', OverconstrainedError: 'missing',
  NotReadableError: 'busy', TrackStartError: 'busy', AbortError: 'busy',
};

async function useMicrophone() {
  const run = S.run;
  const stream = await askMicrophone();
  const [track] = stream.getAudioTracks();
  if (S.run !== run || !isUp() || !(S.voice === 'asking' || isMicOpen())) return track.stop();
  const old = S.stream;
  track.enabled = !S.isMuted;
  track.onended = () => { if (S.stream === stream) { stopTalking(); troubled('unplugged'); } };
  await S.call.sender.replaceTrack(track);
  old?.getTracks().forEach(t => { t.onended = null; t.stop(); });
  S.stream = stream;
  if (!isMicOpen()) S.openedAt = performance.now();
  S.voice = 'open';
  level.start(stream);
  listMicrophones();
  render();
}

async function askMicrophone() {
  const { id, echoCancellation, noiseSuppression, autoGainControl } = S.mic;
  const wanted = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1 };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: id ? { ...wanted, deviceId: { exact: id } } : wanted });
  } catch (error) {
    if (!id || !['OverconstrainedError', 'NotFoundError'].includes(error.name)) throw error;
    setMicrophone(''); // the chosen one was unplugged
    return navigator.mediaDevices.getUserMedia({ audio: wanted });
  }
}

function releaseMicrophone() {
  level.stop();
  S.call?.sender.replaceTrack(null).catch(() => {});
  S.stream?.getTracks().forEach(track => { track.onended = null; track.stop(); });
  S.stream = null;
  S.isMuted = false;
}

/** Ends all speech, from the microphone or a file. */
async function stopTalking() {
  const call = S.call;
  releaseMicrophone();
  Object.assign(S, { voice: 'idle', sound: null, note: '', resume: false });
  render();
  if (call) await api(`/v1/sessions/${call.id}/interrupt`, { method: 'POST' }).catch(noteError);
}

function toggleMute() {
  if (!isMicOpen()) return;
  S.isMuted = !S.isMuted;
  S.stream.getAudioTracks().forEach(track => { track.enabled = !S.isMuted; });
  render();
}

function toggleHear() {
  const what = S.voice === 'sound' ? 'sound' : 'mic';
  S.hear[what] = !S.hear[what];
  if (S.hear[what] && what === 'mic' && isMicOpen()) S.note = 'headphones';
  else if (S.note === 'headphones') S.note = '';
  render();
}

function troubled(kind, detail = '') {
  S.trouble = { kind, detail };
  S.lastError ||= kind;
  render();
}

const noteError = error => { S.lastError = error.message; };

async function listMicrophones() {
  if (!navigator.mediaDevices?.enumerateDevices) return;
  const all = await navigator.mediaDevices.enumerateDevices().catch(() => []);
  S.mic.list = all.filter(d => d.kind === 'audioinput' && d.deviceId && !['default', 'communications'].includes(d.deviceId));
  if (S.isOpen.menu) showMenu();
}

function setMicrophone(id) {
  S.mic.id = id;
  kept('localStorage', 'microphone', id || null);
  if (isMicOpen()) useMicrophone().catch(error => troubled(MICROPHONE_TROUBLES[error.name] || 'micfail', error.message));
}

/** The level meter: the only part of the page drawn on every animation frame. */
const level = {
  start(stream) {
    this.stop();
    this.context ||= new AudioContext();
    this.context.resume();
    this.source = this.context.createMediaStreamSource(stream);
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.source.connect(this.analyser);
    this.samples = new Float32Array(1024);
    this.shown = this.peak = this.peakAt = this.reportedAt = 0;
    $('#seam').classList.add('meter');
    this.frame = requestAnimationFrame(() => this.draw());
  },
  stop() {
    cancelAnimationFrame(this.frame);
    this.source?.disconnect();
    this.source = null;
    this.set(0, 0);
    $('#seam').classList.remove('meter');
  },
  draw() {
    this.analyser.getFloatTimeDomainData(this.samples);
    const rms = Math.sqrt(this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length);
    const now = performance.now(), loud = S.isMuted ? 0 : clamp((20 * Math.log10(rms + 1e-6) + 58) / 50, 0, 1);
    this.shown = Math.max(loud, this.shown - 0.045);
    if (this.shown >= this.peak || now - this.peakAt > 1000) [this.peak, this.peakAt] = [this.shown, now];
    this.set(this.shown, this.peak);
    if (now - this.reportedAt > 250) {
      $('#seam').setAttribute('aria-valuenow', Math.round(this.shown * 100));
      this.reportedAt = now;
    }
    this.frame = requestAnimationFrame(() => this.draw());
  },
  set(shown, peak) {
    $('#seam').style.setProperty('--lvl', shown.toFixed(3));
    $('#seam').style.setProperty('--peak', peak.toFixed(3));
  },
};

// ── audio files ────────────────────────────────────────────────────────────────────────────────────────────────
let nextSample = 0;
async function playSample() {
  if (!isUp()) return;
  const sample = SAMPLES[nextSample++ % SAMPLES.length];
  try {
    const bytes = await (await api(`/samples/${sample.file}.wav`)).arrayBuffer();
    await speak(sample.name, bytes);
  } catch (error) {
    noteError(error);
    troubled('filefail', error.message);
  }
}

async function playFile(file) {
  if (!file || !isUp()) return;
  if (file.size > LARGEST_FILE_BYTES) return troubled('bigfile', `${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MB.`);
  if (!/^audio\//.test(file.type) && !/\.(wav|aiff?|mp3|m4a|aac|flac|ogg|oga|opus|webm)$/i.test(file.name)) return troubled('badfile', `${file.name} is not a sound file.`);
  try {
    await speak(file.name, await file.arrayBuffer());
  } catch (error) {
    noteError(error);
    troubled('badfile', `${file.name} could not be read.`);
  }
}

async function speak(name, bytes) {
  const call = S.call;
  releaseMicrophone();
  S.trouble = null;
  S.voice = 'idle';
  try {
    const answer = await api(`/v1/sessions/${call.id}/speech`, { method: 'POST', body: bytes, type: 'application/octet-stream' });
    const { utterance, duration_ms } = await answer.json();
    if (S.call !== call) return;
    const sound = { name, utterance, duration_s: (duration_ms ?? 0) / 1000, startedAt: performance.now(), bars: null };
    Object.assign(S, { voice: 'sound', sound, note: '' });
    render();
    sound.bars = await loudness(bytes);
    if (S.sound === sound) showWave();
  } catch (error) {
    if (error.status === 0) return confirmAlive(call);
    if (error.status === 404) return lose('the server has ended the session');
    noteError(error);
    troubled(error.status === 413 ? 'bigfile' : [400, 415, 422].includes(error.status) ? 'badfile' : 'filefail',
      `${name}: ${error.body?.detail || error.message}`);
  }
}

function soundOver() {
  if (S.voice !== 'sound') return;
  Object.assign(S, { voice: 'idle', sound: null });
  render();
}

/** Loudness of a file in 72 bars, 0 to 1, or null where the browser cannot decode it (the server still may). */
async function loudness(bytes) {
  try {
    const sound = await new OfflineAudioContext(1, 1, 8000).decodeAudioData(bytes.slice(0));
    const pcm = sound.getChannelData(0), n = 72, step = Math.max(1, Math.floor(pcm.length / n));
    const bars = Array.from({ length: n }, (_, i) => Math.sqrt(pcm.subarray(i * step, (i + 1) * step).reduce((s, x) => s + x * x, 0) / step));
    const most = Math.max(...bars, 1e-3);
    return bars.map(bar => bar / most);
  } catch {
    return null;
  }
}

// ── measurements ──────────────────────────────────────────────────────────────────────────────────────────────────
/** The browser's statistics of the call since the last reading. Unknown values are NaN and shown as a dash. */
async function measure() {
  const call = S.call;
  if (!call) return;
  const report = await call.pc.getStats().catch(() => null);
  if (!report || S.call !== call) return;
  const found = [...report.values()], inbound = kind => found.find(r => r.type === 'inbound-rtp' && r.kind === kind) || {};
  const video = inbound('video'), audio = inbound('audio');
  const playout = found.find(r => r.type === 'media-playout') || {};
  const pair = found.find(r => r.type === 'candidate-pair' && r.nominated && r.state === 'succeeded') || {};
  const now = performance.now(), received = (video.bytesReceived || 0) + (audio.bytesReceived || 0);
  const was = call.before;
  call.before = { at: now, video, audio, received, playout };
  if (!was || received > was.received) call.heardAt = now;
  if (!was) return;
  const d = (a, b, key) => (a[key] ?? NaN) - (b[key] ?? NaN), seconds = (now - was.at) / 1000;
  const got = d(video, was.video, 'packetsReceived') + d(audio, was.audio, 'packetsReceived');
  const lost = Math.max(0, d(video, was.video, 'packetsLost') + d(audio, was.audio, 'packetsLost'));
  const buffered_ms = d(video, was.video, 'jitterBufferDelay') / d(video, was.video, 'jitterBufferEmittedCount') * 1000;
  const decode_ms = d(video, was.video, 'totalDecodeTime') / d(video, was.video, 'framesDecoded') * 1000;
  const playout_ms = d(playout, was.playout, 'totalPlayoutDelay') / d(playout, was.playout, 'totalSamplesCount') * 1000 || 0;
  const rtt_ms = (pair.currentRoundTripTime ?? NaN) * 1000;
  S.net = {
    fps: steady(call, video, now), bitrate_bps: (received - was.received) * 8 / seconds,
    loss_ratio: got + lost > 0 ? lost / (got + lost) : NaN, freezes: video.freezeCount ?? NaN, rtt_ms, buffered_ms, decode_ms,
    network_ms: rtt_ms + (buffered_ms || 0) + (decode_ms || 0), width_px: video.frameWidth ?? NaN, jitter_ms: (video.jitter ?? NaN) * 1000,
    av_offset_ms: lateness(call, playout_ms),
  };
  keepInStep(call, S.net.av_offset_ms);
  const delay = S.stats?.quality?.audio_to_frame_ms;
  const isFresh = S.voice !== 'idle' && delay?.n > 0;
  S.history.push({ at: Date.now(), ...S.net, av_offset_ms: isHeard() ? S.net.av_offset_ms : NaN, delay_p50_ms: isFresh ? delay.p50 + S.net.network_ms : NaN, delay_p95_ms: isFresh ? delay.p95 + S.net.network_ms : NaN });
  if (S.history.length > HISTORY) S.history.shift();
  if (isUp() && call.heardAt && now - call.heardAt > SILENT_WIRE_MS) lose('nothing arrives any more');
}

/** Frames per second over the last two seconds: one second has too few frames for a stable rate. */
function steady(call, video, now) {
  const past = call.past ||= [];
  past.push({ at: now, frames: video.framesDecoded });
  while (past.length > 2 && now - past[1].at >= 1950) past.shift();
  const [first] = past;
  return now - first.at > 1000 ? (video.framesDecoded - first.frames) / (now - first.at) * 1000 : NaN;
}

async function askStats() {
  const call = S.call;
  if (!call?.id || !isUp()) return;
  try {
    const stats = await (await api(`/v1/sessions/${call.id}/stats`)).json();
    if (S.call === call) S.stats = stats;
  } catch (error) {
    if (S.call === call && error.status === 404) lose('the server has ended the session');
  }
}

/** Once a second while the measurements are open; a server without a GPU is asked once each time they are opened. */
async function askGpus() {
  if (!S.isOpen.sheet || document.hidden || askGpus.isVain || askGpus.isAsking) return;
  askGpus.isAsking = true; // one request at a time
  try {
    S.gpus = await (await api('/v1/gpus')).json();
    askGpus.isVain = !S.gpus.gpus.length;
  } catch {
    S.gpus = null; // the page reports a lost server elsewhere
  } finally {
    askGpus.isAsking = false;
  }
  showGpus();
}

const percentile = (values, p) => {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] : NaN;
};
const seen = key => S.history.map(h => h[key]);

const STAGES = [['network', 'Network'], ['look_ahead', 'Look-ahead'], ['jitter_buffer', 'Jitter buffer'], ['queue', 'Queue'],
  ['inference', 'Inference'], ['render', 'Render'], ['encode', 'Encode'], ['send', 'Send']];

/** Delay by stage: the server's percentiles since the session began, and the browser's estimate of the network. */
function delays() {
  const of = p => ({ network: percentile(seen('network_ms'), p === 'p50' ? 0.5 : 0.95),
    ...Object.fromEntries(STAGES.slice(1).map(([key]) => [key, S.stats?.video_stages?.[key]?.n ? S.stats.video_stages[key][p] : NaN])) });
  const all = p => S.stats?.audio_to_frame_ms?.n ? S.stats.audio_to_frame_ms[p] + (of(p).network || 0) : NaN;
  return { p50: of('p50'), p95: of('p95'), all: { p50: all('p50'), p95: all('p95') } };
}

function asJson() {
  const tidy = value => JSON.parse(JSON.stringify(value, (_, v) => typeof v === 'number' && Number.isFinite(v) ? Math.round(v * 1000) / 1000 : v));
  return JSON.stringify(tidy({ at: new Date().toISOString(), browser: navigator.userAgent, server: S.server, session: S.stats,
    seen_by_browser: S.net, delay_ms: delays(), gpu: S.gpus, history: S.history }), null, 2);
}

// ── texts ──────────────────────────────────────────────────────────────────────────────────────────────────────
const ua = navigator.userAgent;
const browser = /iPhone|iPad/.test(ua) || (/Macintosh/.test(ua) && navigator.maxTouchPoints > 1) ? 'ios' : /Firefox/.test(ua) ? 'firefox'
  : /Android/.test(ua) ? 'android' : /Safari/.test(ua) && !/Chrom/.test(ua) ? 'safari' : 'chrome';
const ALLOW_STEPS = {
  chrome: ['Click the icon at the left end of the address bar.', 'Set <strong>Microphone</strong> to <strong>Allow</strong>.', 'Come back here and press Try again.'],
  android: ['Tap the icon at the left end of the address bar.', 'Tap <strong>Permissions</strong>, then allow the <strong>microphone</strong>.', 'Come back here and press Try again.'],
  firefox: ['Click the crossed-out microphone in the address bar.', 'Remove the <strong>Blocked</strong> mark with its cross.', 'Press Try again and choose <strong>Allow</strong>.'],
  safari: ['Open <strong>Safari</strong>, <strong>Settings for This Website</strong>.', 'Set <strong>Microphone</strong> to <strong>Allow</strong>.', 'Come back here and press Try again.'],
  ios: ['Tap the page button in the address bar, then <strong>Website Settings</strong>.', 'Set <strong>Microphone</strong> to <strong>Allow</strong>.', 'Come back here and press Try again.'],
};
const SYSTEM_STEPS = ['Open the system settings, then <strong>Privacy</strong>, then <strong>Microphone</strong>.', 'Switch this browser on.', 'Come back here and press Try again.'];

const command = text => `<div class="cmd"><code tabindex="0">${esc(text)}</code><button type="button" data-copy="${esc(text)}" aria-label="Copy the command" title="Copy">${icon('copy')}</button></div>`;
const sentence = text => /[.!?]$/.test(text) ? text : `${text}.`;
const list = steps => `<ol>${steps.map(s => `<li>${s}</li>`).join('')}</ol>`;
const act = (label, run, isFirst = false, sign = '') => ({ label, run, isFirst, sign });
const trying = { label: 'Trying', run() {}, isFirst: true, isWaiting: true };
const again = label => act(label, () => { S.tries = Math.max(1, S.tries); connect(); }, true);
const talkAgain = label => act(label, () => { S.trouble = null; talk(); }, true);
const useFile = act('Use a sound file', () => { S.trouble = null; render(); $('#pick').click(); });
const NTH = ['first', 'second', 'third', 'fourth', 'fifth'];
const nth = n => NTH[n - 1] ? `${NTH[n - 1]} try` : `try ${n}`;
const waiting = (before, after) => `${before} <span class="num" data-count aria-live="off"></span>${after}`;

/** Whether the server refused for lack of capacity, not because of the GPU or because it is closing. */
const isCrowded = () => (S.problem?.code ?? 'at_capacity') === 'at_capacity';

/** What is wrong with the link, and what to do about it. */
function linkPlate() {
  const capacity = S.server?.sessions?.capacity, host = location.hostname;
  switch (S.link) {
    case 'lost': return ['The connection dropped', (S.isTrying ? `Trying now, ${nth(S.tries)}.` : waiting('Trying again in', `, ${nth(S.tries)}.`)) + ' Your microphone is off until the video is back.', [S.isTrying ? trying : again('Try now')]];
    case 'gone': return ['The server does not answer', waiting('Is it still running? Trying again in', `, ${nth(S.tries)}.`), [again('Try now')]];
    case 'full': if (!isCrowded()) return ['No new session for now', `The server says: ${esc(S.problem.detail)}. ${waiting('The page asks again in', ' and connects as soon as it can. Leave it open.')}`, [again('Ask now')]];
      return [capacity === 1 ? 'The one session is in use' : capacity ? `All ${capacity} sessions are in use` : 'All sessions are in use',
      waiting(capacity ? `This server runs ${capacity === 1 ? 'one session' : `${capacity} sessions`} at a time. The page asks again in` : 'The page asks again in', ' and connects as soon as one is free. Leave it open.'), [again('Ask now')]];
    case 'udp': return ['This network seems to block UDP', `The server answers, but nothing came through in 8 s. Try another network, such as a phone hotspot, or have UDP allowed to <strong class="num">${esc(host)} port ${esc(S.server?.udp_port ?? dash)}</strong>.`,
      [again('Try again'), act('Copy details', () => copy(`visage at ${location.origin}: HTTP answers, no UDP from ${host} port ${S.server?.udp_port} within 8 s.\n${ua}`), false, 'copy')]];
    case 'blank': return ['No video arrived', 'The server is connected, but sent no video in 8 s. Its log says why.', [again('Try again')]];
    case 'token': return ['This server asks for a token', `${S.wasTokenWrong ? 'That was not the right one. ' : ''}It was set with <code>--token</code> when the server was started.<form class="ask" id="token-form"><label class="unseen" for="token-field">Token</label><input id="token-field" type="password" autocomplete="current-password" spellcheck="false" placeholder="Token" required><button class="btn first" type="submit">Connect</button></form>`, []];
    case 'codec': return ['This browser cannot play the video', 'The server sends H.264. Use a current Chrome, Edge, Safari or Firefox; in Firefox, its OpenH264 plugin must be switched on.', [again('Try again')]];
    case 'unsupported': return ['This browser has no WebRTC', 'The video travels by WebRTC. Use a current Chrome, Edge, Safari or Firefox, and check that no add-on switches it off.', []];
    case 'failed': return [esc(S.problem.title || 'The server refused'), `${esc(S.problem.detail || 'It did not say why.')} ${S.problem.hint ? esc(`Hint: ${S.problem.hint}.`) : ''} ${waiting('Trying again in', '.')}`, [again('Try now')]];
    default: return null;
  }
}

/** What is wrong with the microphone or a file, and what to do about it. */
function troublePlate() {
  const detail = S.trouble.detail, port = location.port || '80';
  switch (S.trouble.kind) {
    case 'refused': return /system/i.test(detail)
      ? ['The system keeps the microphone from this browser', list(SYSTEM_STEPS), [talkAgain('Try again'), useFile]]
      : ['The browser is blocking the microphone', list(ALLOW_STEPS[browser]), [talkAgain('Try again'), useFile]];
    case 'insecure': return ['The microphone needs https or localhost',
      `This page came over plain http. Start the server with this command, then open <strong>https://${esc(location.host)}</strong>. The browser warns once, because the certificate is your own.${command(`visage serve --host 0.0.0.0 --port ${port} --tls self-signed`)}`, [useFile]];
    case 'missing': return ['No microphone found', 'Plug one in, or switch it on in the system settings, then try again.', [talkAgain('Try again'), useFile]];
    case 'busy': return ['The microphone is in use elsewhere', 'Another program holds it, perhaps a call. Close that, or choose another microphone.', [talkAgain('Try again'), act('Choose another', () => { S.trouble = null; render(); openMenu(); })]];
    case 'unplugged': return ['The microphone went away', 'It was unplugged or switched off. Your microphone is off.', [talkAgain('Talk again'), useFile]];
    case 'micfail': return ['The microphone did not start', esc(detail || 'The browser did not say why.'), [talkAgain('Try again'), useFile]];
    case 'badfile': return ['This file cannot be played', `${esc(sentence(detail))}${/MP3/.test(detail) ? '' : ' WAV, MP3, FLAC and Ogg work.'}`, [act('Choose another file', useFile.run, true)]];
    case 'bigfile': return ['This file is too large', `${esc(sentence(detail))} Up to 10 MB and 10 minutes work; an MP3 is about ten times smaller than a WAV.`, [act('Choose another file', useFile.run, true)]];
    default: return ['The sound was not played', esc(detail || 'The server did not say why.'), []];
  }
}

const numbers = () => {
  const last = S.stats?.quality?.audio_to_frame_ms, isFresh = S.voice !== 'idle' && last?.n > 0;
  const all = delays().all, net = S.net?.network_ms || 0;
  const p50 = isFresh ? last.p50 + net : all.p50, p95 = isFresh ? last.p95 + net : all.p95;
  const delay = Number.isFinite(p50) ? [['Delay', `${num(p50)} ms`, 'ms'], ['p95', `${num(p95)} ms`, 'ms']]
    : !isMicOpen() ? [['Delay shows when you talk', '', 'long']] : [['Delay', dash, 'ms'], ['p95', dash, 'ms']];
  return [...delay, ['Video', `${num(S.net?.fps)} fps`, 'unit'], ['Freezes', num(S.net?.freezes), '']];
};

/** All texts of the page. */
function view() {
  const seconds = (performance.now() - S.since) / 1000;
  const stopped = [['Delay', dash, ''], ['Video', 'stopped', '']];
  const quiet = { talk: ['x', 'Cancel', 'quiet'], isBusy: true };
  const waitingView = {
    connecting: { dot: '', say: 'Connecting: looking for a path to the server', time: `${seconds.toFixed(1)} s`, ...quiet, readout: [['Delay', dash, ''], ['Video', dash, '']] },
    lost: { dot: 'warn', say: 'Reconnecting. Your microphone is off.', ...quiet, readout: stopped, tag: 'last' },
    gone: { dot: 'warn', say: 'Waiting for the server.', ...quiet, readout: [['Server', 'no answer', ''], ['Next try', 'count', '']], tag: 'still' },
    full: { dot: 'warn', say: 'Waiting for a free session.', ...quiet, readout: [['Sessions', S.server ? `${isCrowded() ? S.server.sessions.capacity : S.server.sessions.active} of ${S.server.sessions.capacity} in use` : dash, ''], ['Next try', 'count', '']], tag: 'still' },
    failed: { dot: 'warn', say: 'Waiting to try again.', ...quiet, readout: [['Next try', 'count', '']], tag: 'still' },
    udp: { dot: 'warn', say: 'No video is arriving.', readout: [['Server', 'answers', ''], ['UDP', 'nothing in 8 s', '']], tag: 'still' },
    blank: { dot: 'warn', say: 'No video is arriving.', readout: [['Server', 'answers', ''], ['Video', 'none in 8 s', '']], tag: 'still' },
    token: { dot: 'warn', say: 'Waiting for the token.', readout: [['Delay', dash, ''], ['Video', dash, '']], tag: 'still' },
    codec: { dot: 'warn', say: 'The video cannot be shown.', readout: stopped, tag: 'still' },
    unsupported: { dot: 'warn', say: 'The video cannot be shown.', readout: stopped, tag: 'still' },
    off: { dot: '', say: 'Not connected.', talk: ['play', 'Connect', ''], readout: stopped, tag: 'still' },
  }[S.link];
  if (waitingView) return { talk: ['mic', 'Talk', 'off'], plate: linkPlate(), ...waitingView };
  const ready = { readout: numbers(), talk: ['mic', 'Talk', ''], plate: S.trouble && troublePlate() };
  if (S.isDropping) return { ...ready, dot: 'run', say: 'Drop to play.' };
  if (S.voice === 'asking') return { ...ready, dot: '', say: 'Your browser asks for the microphone.', talk: ['x', 'Cancel', 'quiet'] };
  if (isMicOpen() && S.isMuted) return { ...ready, dot: '', say: `Muted. ${myName()} hears nothing.`, time: 'open', talk: ['stop', 'Stop', ''] };
  if (isMicOpen()) return { ...ready, dot: 'on', say: S.note === 'headphones' ? 'Your microphone is on. Use headphones.' : 'Your microphone is on.', time: 'open', talk: ['stop', 'Stop', 'on'] };
  if (S.voice === 'sound') return { ...ready, dot: 'run', say: S.sound.name, time: 'sound', talk: ['stop', 'Stop', ''] };
  if (ready.plate) {
    const isMic = ['refused', 'missing', 'busy', 'unplugged', 'micfail', 'insecure'].includes(S.trouble.kind);
    return { ...ready, dot: 'warn', say: isMic ? 'The microphone is off. Samples and files work.' : 'Nothing is playing.', talk: ['mic', 'Talk', S.trouble.kind === 'insecure' ? 'off' : 'quiet'] };
  }
  return { ...ready, dot: 'run', say: `Press Talk and ${myName()} says what you say.` };
}

// ── rendering ──────────────────────────────────────────────────────────────────────────────
const shown = {};
/** Runs `put` only when `value` has changed, so that a screen reader does not read the same text twice. */
const once = (key, value, put) => {
  const text = JSON.stringify(value ?? null);
  if (shown[key] === text) return;
  shown[key] = text;
  put(value);
};

function render() {
  const v = view();
  const root = document.documentElement.classList;
  root.toggle('open', isRed());
  root.toggle('still', !!v.tag);
  root.toggle('hasplate', !!v.plate);
  root.toggle('sheeted', S.isOpen.sheet);
  root.toggle('dropping', S.isDropping);
  once('dot', v.dot, dot => { $('#dot').className = `dot ${dot}`; });
  once('say', [v.say, S.voice === 'sound'], ([say, isName]) => { $('#sentence').textContent = say; $('#sentence').className = isName ? 'name' : ''; });
  once('wave', S.voice === 'sound', isSound => { $('#wave').hidden = !isSound; $('#wave').innerHTML = ''; });
  once('talk', v.talk, showTalk);
  once('share', isUp() ? S.call?.id : null, id => { $('#share').hidden = !id; if (id) $('#share').href = `view.html?session=${id}`; });
  once('keys', [isUp(), isMicOpen(), S.isMuted, S.voice], showKeys);
  once('hear', [S.hear[S.voice === 'sound' ? 'sound' : 'mic']], ([isOn]) => press('#k-hear', isOn, isOn ? 'Hear the avatar: on. Use headphones. (H)' : 'Hear the avatar: off. (H)', isOn ? 'ear' : 'earoff'));
  once('plate', v.plate?.slice(0, 2), () => showPlate(v.plate));
  once('where', [S.server?.sessions, S.link === 'gone'], ([sessions, isGone]) => { $('#where').textContent = sessions && !isGone ? `${sessions.active} of ${sessions.capacity} ${sessions.capacity === 1 ? 'session' : 'sessions'} in use` : ''; });
  once('pressed', S.avatar, name => document.querySelectorAll('#avatars .av').forEach(b => b.setAttribute('aria-pressed', b.dataset.name === name)));
  once('title', [isRed(), v.plate?.[0]], ([isOn, trouble]) => { document.title = isOn ? '● Microphone on, visage' : trouble && !isUp() ? `${trouble}, visage` : 'visage'; });
  once('seam', [!!v.isBusy, S.voice === 'sound'], ([isBusy, isSound]) => { $('#seam').classList.toggle('busy', isBusy); $('#seam').classList.toggle('prog', isSound); });
  document.querySelectorAll('[data-stop]').forEach(b => { b.hidden = !isRed() || (b.classList.contains('barstop') && S.page === 'live'); });
  const isMute = S.hear[S.voice === 'sound' ? 'sound' : 'mic'] === false || S.voice === 'idle' || !isUp();
  once('audible', isMute, muted => { $('#audio').muted = muted; if (!muted) $('#audio').play().catch(noteError); });
  tick(v);
  once('connect', [S.call?.id, S.avatar, S.server], showConnect);
}

/** The parts that change with time alone. */
function tick(v = view()) {
  const now = performance.now(), left = Math.max(0, Math.ceil((S.retryAt - now) / 1000));
  const time = v.time === 'open' ? clock((now - S.openedAt) / 1000)
    : v.time === 'sound' ? `${clock(Math.min(soundAt(), S.sound.duration_s))} / ${clock(S.sound.duration_s)}` : v.time || '';
  once('clock', time, text => { $('#clock').textContent = text; });
  document.querySelectorAll('[data-count]').forEach(span => { span.textContent = `${left} s`; });
  const tag = v.tag === 'last' && S.lastPictureAt ? `Last frame, ${Math.round((now - S.lastPictureAt) / 1000)} s old` : v.tag && S.avatars.length ? 'Still image' : '';
  once('tag', tag, text => { $('#tag').textContent = text; $('#tag').hidden = !text; });
  const rows = v.readout.map(([label, value, kind]) => [label, value === 'count' ? `${left} s` : value, kind]);
  once('readout', rows, showReadout);
  if (S.voice === 'sound') {
    const share = clamp(soundAt() / (S.sound.duration_s || 1), 0, 1);
    $('#seam').style.setProperty('--lvl', share.toFixed(4));
    $('#wave').style.setProperty('--done', `${(share * 100).toFixed(1)}%`);
    if (S.sound.duration_s && soundAt() > S.sound.duration_s + 2) soundOver(); // the event was lost
  }
}
const soundAt = () => Math.max(0, (performance.now() - S.sound.startedAt) / 1000);

function showTalk([sign, label, kind]) {
  const talkKey = $('#talk');
  talkKey.innerHTML = icon(sign) + label;
  $('#talkset').className = `talkset ${kind === 'off' ? 'quiet' : kind}`;
  talkKey.title = kind === 'off' ? 'Talk: not possible now' : `${label} (Space)`;
  if (kind === 'off') talkKey.setAttribute('aria-disabled', 'true'); else talkKey.removeAttribute('aria-disabled');
}

function press(key, isOn, title, sign) {
  const button = $(key);
  button.setAttribute('aria-pressed', isOn);
  button.title = title;
  if (sign) $('use', button).setAttribute('href', `#i-${sign}`);
}

function showKeys([isThere, isTalking, isMuted]) {
  const able = (key, can, title, why) => {
    $(key).title = can ? title : why;
    if (can) $(key).removeAttribute('aria-disabled'); else $(key).setAttribute('aria-disabled', 'true');
  };
  able('#k-sample', isThere, 'Play a sample', 'Play a sample: needs the connection');
  able('#k-file', isThere, 'Choose a WAV, MP3, FLAC or Ogg file, or drop one on the video', 'Sound file: needs the connection');
  press('#k-mute', isMuted, '', 'micoff');
  able('#k-mute', isTalking, isMuted ? 'Microphone muted (M)' : 'Mute the microphone (M)', 'Mute: the microphone is off');
}

function showPlate(plate) {
  const box = $('#plate'), hadFocus = box.contains(document.activeElement);
  box.hidden = !plate;
  if (!plate) { box.innerHTML = ''; if (hadFocus) $('#talk').focus(); return; }
  const [title, body, acts] = plate, canShut = isUp() && !!S.trouble;
  box.innerHTML = `${icon(S.link === 'token' ? 'key' : 'warn')}<h2>${title}</h2><div class="b">${body}</div>${acts.length ? '<div class="acts"></div>' : ''}${canShut ? `<button class="sq shut" type="button" aria-label="Close" title="Close (Esc)">${icon('x')}</button>` : ''}`;
  if (canShut) $('.shut', box).onclick = () => { S.trouble = null; render(); };
  acts.forEach(({ label, run, isFirst, sign, isWaiting }) => {
    const button = Object.assign(document.createElement('button'), { type: 'button', className: `btn${isFirst ? ' first' : ''}`, innerHTML: (sign ? icon(sign) : '') + esc(label) });
    button.onclick = () => run(button);
    if (isWaiting) button.setAttribute('aria-disabled', 'true');
    $('.acts', box).append(button);
  });
  $('#token-form', box)?.addEventListener('submit', giveToken);
  if (S.link === 'token' && S.page === 'live') $('#token-field').focus();
  else if (hadFocus) $('.btn, .shut', box)?.focus();
}

function giveToken(event) {
  event.preventDefault();
  token = $('#token-field').value.trim();
  kept('sessionStorage', 'token', token);
  Object.assign(S, { wasTokenWrong: true, link: 'connecting', tries: 0 });
  connect();
}

function showReadout(rows) {
  $('#readout').innerHTML = `<span class="unseen">Measurements: </span>` + rows.map(([label, value, kind]) => `<span class="${kind}"><i>${esc(label)}</i>${value && `<b>${esc(value)}</b>`}</span>`).join(' ') + icon('up');
}

function showWave() {
  if (!S.sound?.bars) return;
  const bars = S.sound.bars.map((bar, i) => { const h = (3 + 24 * bar).toFixed(1); return `<rect x="${i * 4}" y="${(15 - h / 2).toFixed(1)}" width="2.4" height="${h}" rx="1.2"/>`; }).join('');
  const picture = `<svg viewBox="0 0 ${S.sound.bars.length * 4} 30" preserveAspectRatio="none" fill="currentColor" aria-hidden="true">${bars}</svg>`;
  $('#wave').innerHTML = `${picture}<div class="done">${picture}</div>`;
}

// ── avatars and background ───────────────────────────────────────────────────────────────────────────────────────
const KINDS = { drawn: 'Drawn', head: '3D' };
const isDark = () => (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
const still = avatar => at(`/v1/avatars/${encodeURIComponent(avatar.name)}/still.png`);
const wall = avatar => avatar.background_color || '#8a9296'; // part of the video, and so the same in dark mode

function showAvatars() {
  $('.avatars').hidden = S.avatars.length < 2;
  $('#avatars').innerHTML = S.avatars.map(a => `<li><button type="button" class="av" data-name="${esc(a.name)}" aria-pressed="${a.name === S.avatar}"><span class="th" style="background:${esc(wall(a))}"><img src="${esc(still(a))}?px=128" alt="" loading="lazy"></span><span class="nm">${esc(a.title)}<small>${esc(KINDS[a.kind] || a.kind)}</small></span></button></li>`).join('');
}

/** The still of the chosen avatar, until the first frame arrives. */
function showFace() {
  const avatar = me() || S.avatars[0];
  if (!avatar) return;
  S.avatar = avatar.name;
  const image = $('#still');
  $('#screen').style.setProperty('--plate-bg', wall(avatar));
  $('#video').setAttribute('aria-label', `${avatar.title}, the avatar`);
  const hasPicture = !$('#last').hidden || (isUp() && !$('#video').hidden);
  image.alt = `${avatar.title}, the avatar`;
  image.onload = () => { image.hidden = isUp() || !$('#last').hidden; paintRoom(); };
  image.src = `${still(avatar)}?px=512`;
  if (!hasPicture) { $('#video').hidden = true; paintWall(wall(avatar)); }
}

async function choose(name) {
  if (name === S.avatar && isUp()) return;
  S.avatar = name;
  kept('localStorage', 'avatar', name);
  if (!isUp()) { $('#last').hidden = true; showFace(); return render(); }
  render();
  const call = S.call, avatar = me();
  try {
    await api(`/v1/sessions/${call.id}`, { method: 'PATCH', type: 'application/json', body: JSON.stringify({ avatar: name }) });
    if (S.avatar === name) showFace();
  } catch (error) {
    if (error.status === 404) return lose('the server has ended the session');
    troubled('filefail', `${avatar.title} did not come: ${error.message}`);
  }
}

function keepLastPicture() {
  const video = $('#video'), last = $('#last');
  if (!video.videoWidth) return;
  [last.width, last.height] = [video.videoWidth, video.videoHeight];
  last.getContext('2d').drawImage(video, 0, 0);
  last.hidden = false;
  video.hidden = true;
}

/**
  * The page takes the colour of the avatar's background: only the outer 4 % left and right, which never show hair or skin. It is
  * taken from the still, not from the video, whose coding artefacts would become visible blocks at page size.
 */
function paintRoom() {
  const picture = $('#still'), w = picture.naturalWidth, h = picture.naturalHeight;
  if (!w) return;
  const room = $('#ambient').getContext('2d', { willReadFrequently: true }), edge = w * 0.04;
  const avatar = me();
  room.fillStyle = avatar ? wall(avatar) : '#8a9296';
  room.fillRect(0, 0, 24, 24);
  room.imageSmoothingQuality = 'high';
  // Three patches per side, blended by hand, so that the stretched gradient is smooth.
  const small = Object.assign(document.createElement('canvas'), { width: 2, height: 3 }), pen = small.getContext('2d');
  pen.imageSmoothingQuality = 'high';
  pen.drawImage(picture, 0, 0, edge, h * 0.5, 0, 0, 1, 3);
  pen.drawImage(picture, w - edge, 0, edge, h * 0.5, 1, 0, 1, 3);
  room.drawImage(small, 0, 0, 24, 24);
  veil(room);
}

function paintWall(colour) {
  const room = $('#ambient').getContext('2d', { willReadFrequently: true });
  room.fillStyle = colour;
  room.fillRect(0, 0, 24, 24);
  veil(room);
}

/** The lowest opacity of the overlay that keeps text readable. */
function veil(room) {
  const px = room.getImageData(0, 0, 24, 24).data, mean = [0, 1, 2].map(c => { let sum = 0; for (let i = c; i < px.length; i += 4) sum += px[i]; return sum / (px.length / 4); });
  const paper = isDark() ? [15, 17, 19] : [242, 241, 237];
  const light = rgb => rgb.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  let share = 0.35;
  for (; share < 0.95; share += 0.02) {
    const mixed = light(mean.map((v, i) => v * (1 - share) + paper[i] * share));
    if (isDark() ? mixed <= 0.045 : mixed >= 0.66) break;
  }
  document.documentElement.style.setProperty('--veil-a', `${Math.round(share * 100)}%`);
}

// ── measurements sheet ─────────────────────────────────────────────────────────────────────────────────────────
const GRAPHS = [
  { id: 'delay', title: 'Delay over time', unit: 'ms', keys: ['delay_p50_ms', 'delay_p95_ms'], lo: 0, get hi() { return roomy(seen('delay_p95_ms'), 200); }, get rules() { return [0, this.hi / 2, this.hi]; }, value: () => num(percentile(seen('delay_p50_ms').slice(-2), 0.5)), left: '60 s ago', right() { return `line p50, pale p95, top ${this.hi} ms`; } },
  { id: 'fps', title: 'Frame rate', unit: 'fps', keys: ['fps'], lo: 0, hi: 30, rules: [0, 25], value: () => num(S.net?.fps, 1), left: '60 s ago', right: () => `lowest ${num(Math.min(...seen('fps').filter(Number.isFinite)))}, freezes ${num(S.net?.freezes)}` },
  { id: 'rate', title: 'Bitrate', unit: 'Mbit/s', keys: ['mbit'], lo: 0, get hi() { return roomy(seen('mbit'), 2); }, rules: [0], value: () => num(S.net?.bitrate_bps / 1e6, 2), left: '60 s ago', right: () => `loss ${share(lossOverAll())}` },
  { id: 'av', title: 'Audio to video sync', unit: '', keys: ['av_offset_ms'], lo: -60, hi: 60, rules: [-60, 0, 60], value: () => S.net && !isHeard() ? 'not heard' : offset(S.net?.av_offset_ms), left: 'up is late, ±60 ms', right: () => 'in step: −40 to +20 ms' },
];
/** `least`, doubled until it covers the values: the graph is not cut off at the top. */
const roomy = (values, least) => least * 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(...values.filter(Number.isFinite), 1) / least)));
const offset = ms => !Number.isFinite(ms) ? dash : Math.abs(ms) < 1 ? 'in step' : `${num(Math.abs(ms))} ms ${ms > 0 ? 'late' : 'early'}`;
const lossOverAll = () => { const all = seen('loss_ratio').filter(Number.isFinite); return all.length ? all.reduce((a, b) => a + b, 0) / all.length : NaN; };

function buildSheet() {
  const graph = g => `<div class="blk" data-graph="${g.id}"><h3>${g.title}<span class="val"></span></h3><svg class="spark" viewBox="0 0 312 44" preserveAspectRatio="none" fill="none" role="img"></svg><p class="hint"><span>${g.left}</span><span data-right></span></p></div>`;
  $('#sheet').innerHTML = `<header><h2 tabindex="-1">Measurements</h2><button class="mini" type="button" data-stop hidden>${icon('stop')}Stop</button><button class="sq" type="button" id="copy-json" aria-label="Copy as JSON" title="Copy as JSON">${icon('copy')}</button><button class="sq" type="button" id="close-sheet" aria-label="Close measurements" title="Close (Esc)">${icon('x')}</button></header>
  <div class="blk"><h3>Delay, audio to video</h3><p class="big"><span data-big>${dash}</span><small data-big-unit>ms, half are faster</small></p>
  <div class="stack" role="img" aria-label="Delay by stage; the table below has the values"><span>p50</span><div class="row" data-row="p50"></div><span>p95</span><div class="row" data-row="p95"></div></div>
  <div class="axis" aria-hidden="true"></div>
  <table><caption class="unseen">Delay by stage in milliseconds</caption><thead><tr><th scope="col">Stage</th><th scope="col">p50</th><th scope="col">p95</th></tr></thead><tbody>${STAGES.map(([key, title]) => `<tr data-stage="${key}"><th scope="row"${key === 'network' ? ' title="Estimated by the browser: round trip, receive buffer and decoding"' : ''}><span class="sw" style="background:var(--c-${key})"></span>${title}${key === 'network' ? ', estimated' : ''}</th><td></td><td></td></tr>`).join('')}</tbody><tfoot><tr data-stage="all"><th scope="row">All</th><td></td><td></td></tr></tfoot></table>
  <p class="hint"><span>In ms, since the call began. Slow moments of one stage seldom meet those of another, so p95 does not add up; the bar shares it out.</span></p></div>
  ${GRAPHS.map(graph).join('')}
  <div id="gpus" hidden></div>
  <details class="blk"><summary>Values of the last 60 s</summary><table class="past"><caption class="unseen">Means over 10 s</caption><thead><tr><th scope="col">Seconds ago</th><th scope="col">Delay</th><th scope="col">fps</th><th scope="col">Mbit/s</th><th scope="col">Loss</th><th scope="col">A/V</th></tr></thead><tbody></tbody></table></details>`;
  $('#close-sheet').onclick = () => toggleSheet(false);
  $('#copy-json').onclick = event => copy(asJson(), event.currentTarget);
}

function showSheet() {
  if (!S.isOpen.sheet) return;
  const sheet = $('#sheet'), d = delays(), put = (selector, text) => once(`sheet ${selector}`, text, t => { $(selector, sheet).textContent = t; });
  put('[data-big]', num(d.all.p50));
  put('[data-big-unit]', Number.isFinite(d.all.p50) ? 'ms, half are faster' : 'shows when you talk');
  const most = Math.max(100, Math.ceil((d.all.p95 || 0) / 50) * 50);
  once('axis', most, () => { $('.axis', sheet).innerHTML = [0, 1, 2].map(i => `<span style="left:${i * 50}%">${most / 2 * i}${i === 2 ? ' ms' : ''}</span>`).join(''); });
  for (const p of ['p50', 'p95']) {
    const parts = STAGES.map(([key]) => [key, d[p][key] || 0]), sum = parts.reduce((s, [, v]) => s + v, 0), scale = Number.isFinite(d.all[p]) && sum ? d.all[p] / sum / most * 100 : 0;
    once(`bar ${p}`, [parts, scale], () => { $(`[data-row=${p}]`, sheet).innerHTML = scale ? parts.filter(([, v]) => v * scale > 0.15).map(([key, v]) => `<i style="width:${(v * scale).toFixed(2)}%;background:var(--c-${key})"></i>`).join('') : '<i class="none"></i>'; });
  }
  const fine = v => num(v, v < 9.95 ? 1 : 0);
  [...STAGES.map(([key]) => key), 'all'].forEach(key => {
    const cells = sheet.querySelectorAll(`[data-stage=${key}] td`), of = p => key === 'all' ? d.all[p] : d[p][key];
    [['p50', 0], ['p95', 1]].forEach(([p, i]) => once(`cell ${key} ${p}`, fine(of(p)), t => { cells[i].textContent = t; }));
  });
  S.history.forEach(h => { h.mbit = h.bitrate_bps / 1e6; });
  GRAPHS.forEach(g => drawGraph(g, $(`[data-graph=${g.id}]`, sheet)));
  if ($('details', sheet).open) showPast($('.past tbody', sheet));
}

const SLOWED_BY = { sw_power_cap: 'power limit', hw_power_brake_slowdown: 'power supply', hw_slowdown: 'hardware', sw_thermal_slowdown: 'heat', hw_thermal_slowdown: 'heat' };
const READ_LATE_MS = 5000;           // GPUs are read once a second

/** The GPUs, if there are any. */
function showGpus() {
  const { gpus = [], admission, reading_age_ms } = S.gpus || {};
  $('#gpus').hidden = !gpus.length;
  once('gpus', [gpus, admission, reading_age_ms > READ_LATE_MS], () => { $('#gpus').innerHTML = gpus.map(gpu => gpuBlock(gpu, gpus.length)).join('') + admissionBlock(admission, reading_age_ms); });
}

function gpuBlock(gpu, count) {
  const of = (value, all, unit, digits = 0, by = 1) => Number.isFinite(all) ? `${num(value / by, digits)} of ${num(all / by, digits)} ${unit}` : `${num(value / by, digits)} ${unit}`;
  // NVML's term stands beside its explanation.
  const reasons = gpu.throttle_reasons.filter((reason, _, all) => reason !== 'hw_slowdown' || all.length === 1);
  const slowed = [...new Set(reasons.map(reason => SLOWED_BY[reason] || reason))].join(', ');
  const rows = gpu.error ? [['Does not answer', esc(gpu.error)]] : [
    ['Busy', Number.isFinite(gpu.utilization_percent) && `${gpu.utilization_percent} %`],
    ['Memory', Number.isFinite(gpu.memory_used_bytes) && of(gpu.memory_used_bytes, gpu.memory_bytes, 'GB', 1, 1e9)],
    ['Power', Number.isFinite(gpu.power_w) && of(gpu.power_w, gpu.power_limit_w, 'W')],
    ['Clock', Number.isFinite(gpu.sm_clock_mhz) && `${gpu.sm_clock_mhz} MHz`],
    ['Encoder sessions', Number.isFinite(gpu.encoder_sessions) && String(gpu.encoder_sessions)],
    ['Slowed by', slowed && `<b>${esc(slowed)}</b>`],
  ].filter(([, value]) => value);
  if (!rows.length) rows.push(['Reports nothing but its name', '']);
  const warm = Number.isFinite(gpu.temperature_c) ? `${gpu.temperature_c} °C` : dash;
  return `<div class="blk gpu"><h3>${count > 1 ? `${gpu.index}: ` : ''}${esc(gpu.name)}<span class="val">${gpu.error ? '' : warm}</span></h3><table><caption class="unseen">GPU ${gpu.index}</caption><tbody>${rows.map(([title, value]) => `<tr><th scope="row">${title}</th><td>${value}</td></tr>`).join('')}</tbody></table></div>`;
}

/** The capacity that the GPUs leave, if it is reduced. */
function admissionBlock(admission, reading_age_ms) {
  const said = [
    admission && admission.capacity < admission.max_capacity && `Too hot for all sessions: ${admission.capacity} of ${admission.max_capacity} until it has cooled.`,
    admission?.additional_sessions === 0 && 'Its memory holds no further session.',
    reading_age_ms > READ_LATE_MS && 'The driver does not come back: these are old values.',
  ].filter(Boolean);
  return said.length ? `<p class="gpunote">${icon('warn')}<span>${said.join(' ')}</span></p>` : '';
}

function drawGraph(g, box) {
  const most = g.hi;
  const y = v => 44 - (clamp(v, g.lo, most) - g.lo) / (most - g.lo) * 44, x = i => (HISTORY - S.history.length + i) / (HISTORY - 1) * 312;
  const line = key => seen(key).reduce((path, v, i) => Number.isFinite(v) ? `${path}${path && Number.isFinite(S.history[i - 1]?.[key]) ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}` : path, '');
  const rules = g.rules.map(v => `<path d="M0 ${y(v)}H312" stroke="var(--line)" vector-effect="non-scaling-stroke"/>`).join('');
  const lines = g.keys.map((key, i) => `<path d="${line(key)}" stroke="${i ? 'var(--ink-3)' : 'var(--ink)'}" opacity="${i ? 0.6 : 1}" stroke-width="1.5" stroke-linejoin="round" vector-effect="non-scaling-stroke"/>`).reverse().join('');
  const spark = $('.spark', box), value = g.value();
  spark.innerHTML = rules + lines;
  once(`graph ${g.id}`, [value, g.right()], ([now, right]) => {
    $('.val', box).textContent = now === dash || !g.unit ? now : `${now} ${g.unit}`;
    $('[data-right]', box).textContent = right;
    spark.setAttribute('aria-label', `${g.title}, last 60 seconds: now ${now === dash ? 'unknown' : `${now} ${g.unit}`}; ${right}`);
  });
}

function showPast(body) {
  const mean = (rows, key) => { const v = rows.map(r => r[key]).filter(Number.isFinite); return v.length ? v.reduce((a, b) => a + b, 0) / v.length : NaN; };
  body.innerHTML = [0, 10, 20, 30, 40, 50].map(from => {
    const rows = S.history.filter(h => { const age = (Date.now() - h.at) / 1000; return age >= from && age < from + 10; });
    return `<tr><th scope="row">${from} to ${from + 10}</th><td>${num(mean(rows, 'delay_p50_ms'))}</td><td>${num(mean(rows, 'fps'), 1)}</td><td>${num(mean(rows, 'mbit'), 2)}</td><td>${share(mean(rows, 'loss_ratio'))}</td><td>${num(mean(rows, 'av_offset_ms'))}</td></tr>`;
  }).join('');
}

function toggleSheet(isOpen = !S.isOpen.sheet) {
  if (isOpen === S.isOpen.sheet) return;
  S.isOpen.sheet = isOpen;
  if (!$('#sheet').innerHTML) buildSheet();
  $('#sheet').hidden = !isOpen;
  $('#readout').setAttribute('aria-expanded', isOpen);
  render();
  showSheet();
  askGpus.isVain = false;
  askGpus();
  if (isOpen) $('#sheet h2').focus({ preventScroll: true }); else $('#readout').focus({ preventScroll: true });
}

// ── microphone menu ────────────────────────────────────────────────────────────────────────────────────────────
function showMenu() {
  const { mic } = S, names = mic.list.some(d => d.label);
  const radio = (id, title) => `<label class="opt"><input type="radio" name="mic" value="${esc(id)}"${mic.id === id ? ' checked' : ''}><span>${esc(title)}</span></label>`;
  const check = (key, title, isOn) => `<label class="opt"><input type="checkbox" name="${key}"${isOn ? ' checked' : ''}><span>${title}</span></label>`;
  const held = document.activeElement?.closest?.('#menu') ? document.activeElement.name + document.activeElement.value : null;
  $('#menu').innerHTML = `<fieldset><legend>Microphone</legend>${radio('', 'The system’s choice')}${names ? mic.list.map((d, i) => radio(d.deviceId, d.label || `Microphone ${i + 1}`)).join('') : '<p class="hint">Names show after the first Talk.</p>'}</fieldset>
  <fieldset><legend>Before sending</legend>${check('echoCancellation', 'Cancel echo', mic.echoCancellation)}${check('noiseSuppression', 'Reduce noise', mic.noiseSuppression)}${check('autoGainControl', 'Even out loudness', mic.autoGainControl)}</fieldset>
  <fieldset class="keyboard"><legend>Keyboard</legend>${check('shortcuts', 'Single keys', S.shortcuts)}<p class="hint"><span><kbd>Space</kbd> talk, <kbd>M</kbd> mute, <kbd>H</kbd> hear, <kbd>F</kbd> full screen, <kbd>D</kbd> measurements</span></p></fieldset>`;
  if (held) [...$('#menu').querySelectorAll('input')].find(i => i.name + i.value === held)?.focus();
}

function openMenu(isOpen = true) {
  if (isOpen === S.isOpen.menu) return;
  S.isOpen.menu = isOpen;
  $('#k-input').setAttribute('aria-expanded', isOpen);
  $('#menu').hidden = !isOpen;
  if (isOpen) { showMenu(); listMicrophones(); $('#menu input:checked, #menu input')?.focus(); } else if ($('#menu').contains(document.activeElement) || document.activeElement === document.body) $('#k-input').focus();
}

function changeMenu({ target }) {
  if (target.name === 'mic') return setMicrophone(target.value);
  if (target.name === 'shortcuts') { S.shortcuts = target.checked; return kept('localStorage', 'shortcuts', target.checked ? null : 'off'); }
  S.mic[target.name] = target.checked;
  if (isMicOpen()) setMicrophone(S.mic.id);
}

// ── connect page ───────────────────────────────────────────────────────────────────────────────────────────────
function showConnect() {
  const base = at('').replace(/\/$/, ''), id = S.call?.id || 'SESSION_ID', facts = S.server || {};
  const auth = facts.token_required ? ' \\\n  -H "Authorization: Bearer $VISAGE_TOKEN"' : '', jsAuth = facts.token_required ? ", authorization: 'Bearer ' + token" : '';
  const other = S.avatars.find(a => a.name !== S.avatar)?.name || S.avatar || 'mira', face = S.avatar || 'mira';
  const block = (title, what, code, more = '') => `<div class="rowx"><dt>${title}<small>${what}</small></dt><dd><div class="codebox"><pre class="code" tabindex="0" role="region" aria-label="${title}">${esc(code)}</pre><button class="sq" type="button" data-copy="${esc(code)}" aria-label="Copy: ${title}" title="Copy">${icon('copy')}</button></div>${more ? `<p>${more}</p>` : ''}</dd></div>`;
  const allowed = facts.allow_origin || [];
  const origins = allowed.includes('*') ? 'The page may come from anywhere: this server allows every origin.'
    : allowed.length ? `The page must come from this server or from ${esc(allowed.join(', '))}.`
      : 'The page must come from this server: it allows no other origin.';
  const session = S.call ? 'The id in the address is the session of this page: try it now and look at the Live page.' : 'Put in the id of a session.';
  $('#rows').innerHTML =
    block('Speak a sound file', 'WAV, MP3, FLAC or Ogg', `curl -X POST ${base}/v1/sessions/${id}/speech${auth} \\\n  --data-binary @hello.wav`, session)
    + block('Interrupt speech', 'Within a tenth of a second', `curl -X POST ${base}/v1/sessions/${id}/interrupt${auth}`)
    + block('Swap the avatar', 'While it speaks', `curl -X PATCH ${base}/v1/sessions/${id}${auth} \\\n  -H "Content-Type: application/json" \\\n  -d '{"avatar": "${other}"}'`)
    + block('Follow events', 'As they happen', `curl -N ${base}/v1/sessions/${id}/events${auth}`)
    + block('A call from a page', 'JavaScript, no library', `const pc = new RTCPeerConnection();
const mic = await navigator.mediaDevices.getUserMedia({ audio: true });
pc.addTransceiver(mic.getAudioTracks()[0], { direction: 'sendrecv' });
pc.addTransceiver('video', { direction: 'recvonly' });
pc.ontrack = e => { video.srcObject = e.streams[0]; };
await pc.setLocalDescription();
const url = '${base}/v1/sessions?avatar=${face}';
const answer = await fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/sdp'${jsAuth} },
  body: pc.localDescription.sdp,
});
await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });`, `<code>video</code> is a video element of yours. ${origins}`)
    + block('A video from a sound file', 'On the server’s command line', `visage render --audio voice.wav --out talk.mp4 --avatar ${face}`)
    + `<div class="rowx"><dt>All of it<small>For programs</small></dt><dd><ul class="links"><li><a href="openapi.json">/openapi.json</a> describes every route</li><li><a href="v1/server">/v1/server</a> what runs here</li>${facts.token_required ? '<li>/metrics for Prometheus, with the token</li>' : '<li><a href="metrics">/metrics</a> for Prometheus</li>'}</ul></dd></div>`;
  const plain = (title, text) => text ? `<div class="rowx plain"><dt>${title}</dt><dd>${esc(text)}</dd></div>` : '';
  $('#about').innerHTML = plain('Version', facts.version && `visage ${facts.version}`) + plain('Pack', facts.pack) + plain('Runs on', facts.backend && `${facts.backend}${facts.gpu ? `, ${facts.gpu}` : ', no GPU'}`)
    + plain('Video', facts.resolution_px && `${facts.resolution_px} × ${facts.resolution_px}, ${(facts.video_codecs || []).join(', ').toUpperCase()}`) + plain('Sessions', facts.sessions && `${facts.sessions.active} of ${facts.sessions.capacity} in use`)
    + plain('UDP port', facts.udp_port) + plain('Token', facts.version && (facts.token_required ? 'asked for' : 'not asked for'));
}

async function copy(text, button) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text); else throw new Error('no clipboard');
  } catch {
    const field = Object.assign(document.createElement('textarea'), { value: text });
    document.body.append(field);
    field.select();
    document.execCommand('copy');
    field.remove();
  }
  const use = button && $('use', button);
  if (use) { use.setAttribute('href', '#i-check'); setTimeout(() => use.setAttribute('href', '#i-copy'), 1500); }
  announce('Copied.');
}
const announce = text => { $('#said').textContent = ''; requestAnimationFrame(() => { $('#said').textContent = text; }); };

function turnTo(page) {
  const isFirst = S.turned === undefined;
  S.turned = true;
  S.page = page;
  document.querySelectorAll('[data-page]').forEach(m => { m.hidden = m.dataset.page !== page; });
  document.querySelectorAll('[data-tab]').forEach(t => { if (t.dataset.tab === page) t.setAttribute('aria-current', 'page'); else t.removeAttribute('aria-current'); });
  if (page === 'connect' && !isFirst) $('.connect h1').focus({ preventScroll: true });
  window.scrollTo(0, 0);
  openMenu(false);
  render();
}

// ── full screen ────────────────────────────────────────────────────────────────────────────────────────────────
function toggleFull() {
  const device = $('#device'), now = document.fullscreenElement || document.webkitFullscreenElement;
  if (now) return (document.exitFullscreen || document.webkitExitFullscreen).call(document);
  const enter = device.requestFullscreen || device.webkitRequestFullscreen;
  if (enter) return Promise.resolve(enter.call(device)).catch(noteError);
  $('#video').webkitEnterFullscreen?.(); // iPhone: only the video element can fill the screen
}

function wake() {
  document.documentElement.classList.remove('asleep');
  clearTimeout(wake.timer);
  if (document.fullscreenElement) wake.timer = setTimeout(() => document.documentElement.classList.toggle('asleep', !!document.fullscreenElement && !S.isOpen.menu && !$('#device .keys').contains(document.activeElement)), 3000);
}

// ── input ──────────────────────────────────────────────────────────────────────────────────────────────────────
const isOff = element => element?.getAttribute('aria-disabled') === 'true';

function pressTalk() {
  if (isOff($('#talk'))) return;
  if (S.voice === 'asking') { S.voice = 'idle'; return render(); }
  if (isMicOpen() || S.voice === 'sound') return stopTalking();
  if (isUp()) return talk();
  return S.link === 'off' ? connect() : cancel();
}

const KEYS = { ' ': pressTalk, m: toggleMute, h: toggleHear, f: toggleFull, d: () => toggleSheet() };

function onKey(event) {
  if (event.key === 'Escape') {
    if (S.isOpen.menu) return openMenu(false);
    if (S.isOpen.sheet) return toggleSheet(false);
    if (S.trouble) { S.trouble = null; return render(); }
    return undefined;
  }
  const isTaken = event.target.closest?.('input, textarea, select, [contenteditable], summary, a') || (event.target.closest?.('button') && (event.key === ' ' || event.key === 'Enter'));
  if (!S.shortcuts || isTaken || event.ctrlKey || event.metaKey || event.altKey || event.repeat || S.page !== 'live') return undefined;
  const run = KEYS[event.key.toLowerCase()];
  if (run) { event.preventDefault(); run(); }
  return undefined;
}

function onDrag(event) {
  if (![...(event.dataTransfer?.types || [])].includes('Files')) return;
  event.preventDefault();
  clearTimeout(onDrag.timer);
  const isDropping = event.type === 'dragover' && isUp() && S.page === 'live';
  if (event.type === 'dragover') onDrag.timer = setTimeout(() => { S.isDropping = false; render(); }, 400);
  if (isDropping !== S.isDropping) { S.isDropping = isDropping; render(); }
  if (event.type === 'drop') playFile(event.dataTransfer.files[0]);
}

function wire() {
  const on = (selector, act) => $(selector).addEventListener('click', event => { if (!isOff(event.currentTarget)) act(event); });
  on('#talk', pressTalk);
  on('#k-sample', playSample);
  on('#k-file', () => $('#pick').click());
  on('#k-mute', toggleMute);
  on('#k-hear', toggleHear);
  on('#k-input', () => openMenu(!S.isOpen.menu));
  on('#k-full', toggleFull);
  on('#readout', () => toggleSheet());
  on('#avatars', event => { const name = event.target.closest('.av')?.dataset.name; if (name) choose(name); });
  $('#pick').addEventListener('change', ({ target }) => { playFile(target.files[0]); target.value = ''; });
  $('#menu').addEventListener('change', changeMenu);
  document.addEventListener('click', event => {
    if (S.isOpen.menu && !event.target.closest('#menu, #k-input') && event.target.isConnected) openMenu(false);
    if (event.target.closest('[data-stop]')) stopTalking();
    const text = event.target.closest('[data-copy]');
    if (text) copy(text.dataset.copy, text);
  });
  document.addEventListener('keydown', onKey);
  ['dragover', 'dragleave', 'drop'].forEach(type => window.addEventListener(type, onDrag));
  ['pointermove', 'pointerdown', 'keydown'].forEach(type => document.addEventListener(type, wake));
  ['fullscreenchange', 'webkitfullscreenchange'].forEach(type => document.addEventListener(type, () => { wake(); press('#k-full', !!document.fullscreenElement, document.fullscreenElement ? 'Leave full screen (F)' : 'Full screen (F)'); $('#k-full').removeAttribute('aria-pressed'); $('#k-full').setAttribute('aria-label', $('#k-full').title); }));
  window.addEventListener('hashchange', () => turnTo(location.hash === '#connect' ? 'connect' : 'live'));
  window.addEventListener('online', () => { if (['lost', 'gone', 'udp'].includes(S.link)) connect(); });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { paintRoom(); });
  navigator.mediaDevices?.addEventListener?.('devicechange', listMicrophones);
  // Leaving the page ends the session. Returning from the back/forward cache starts a new one.
  window.addEventListener('pagehide', () => { S.run += 1; clearTimeout(connect.timer); dropCall(); });
  window.addEventListener('pageshow', event => { if (event.persisted) { S.link = 'connecting'; connect(); } });
}

// Read-only state for tests.
Object.defineProperty(window, 'visage', { value: Object.freeze({
  get state() { return { link: S.link, voice: S.voice, trouble: S.trouble?.kind ?? null, muted: S.isMuted, audible: isHeard(), held_ms: S.call?.held_ms ?? 0, avatar: S.avatar, session: S.call?.id ?? null, frames: S.call?.frames ?? 0, tries: S.tries }; },
  get stats() { return { server: S.stats, browser: S.net, delay_ms: delays() }; },
  get lastError() { return S.lastError; },
}) });

wire();
if (location.hash === '#connect') turnTo('connect'); else S.turned = true;
render();
connect();
setInterval(() => { if (S.link !== 'up' || S.voice === 'sound') render(); else tick(); }, 200);
setInterval(async () => { await measure(); render(); showSheet(); }, 500);
setInterval(askStats, 1000);
setInterval(askGpus, 1000);
setInterval(() => { if (isUp() && !document.hidden) askServerAgain(); }, 10000);
