// visage: the page for viewers of a session. It is a WHEP client of the server that it was loaded from, and sends nothing.

const $ = selector => document.querySelector(selector);
const session = new URLSearchParams(location.search).get('session') || '';
const BACK_OFF_S = [1, 3, 5, 10];
const S = { pc: null, run: 0, tries: 0, resource: null, frames: 0, state: 'connecting' };
let token = '';
try { token = sessionStorage.getItem('visage.token') || ''; } catch { /* a browser that keeps nothing still works */ }

const WORDS = {
  connecting: ['', 'Connecting'],
  up: ['run', 'Live'],
  token: ['warn', 'This server asks for its token.'],
  gone: ['warn', 'This session is over.'],
  full: ['warn', 'The session has no room for another viewer. Trying again.'],
  lost: ['warn', 'The connection is lost. Trying again.'],
  codec: ['warn', 'This browser cannot decode the session’s video.'],
};

function show(state) {
  S.state = state;
  const [dot, words] = WORDS[state];
  $('#dot').className = `dot ${dot}`;
  $('#sentence').textContent = words;
  $('#ask').hidden = state !== 'token';
  $('#device').classList.toggle('still', state !== 'up');
}

const headers = more => ({ ...more, ...(token ? { authorization: `Bearer ${token}` } : {}) });

function hangUp() {
  S.pc?.close();
  if (S.resource) fetch(S.resource, { method: 'DELETE', headers: headers(), keepalive: true }).catch(() => {});
  Object.assign(S, { pc: null, resource: null });
}

async function connect() {
  const run = ++S.run;
  clearTimeout(connect.timer);
  hangUp();
  show('connecting');
  if (!session) return show('gone');
  const pc = S.pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  pc.addTransceiver('audio', { direction: 'recvonly' });
  pc.addTransceiver('video', { direction: 'recvonly' });
  const stream = new MediaStream();
  pc.ontrack = ({ track }) => { stream.addTrack(track); $('#video').srcObject = stream; };
  pc.onconnectionstatechange = () => { if (run === S.run && ['failed', 'disconnected', 'closed'].includes(pc.connectionState)) retry('lost'); };
  try {
    await pc.setLocalDescription(await pc.createOffer());
    const answer = await fetch(`whep/${encodeURIComponent(session)}`, { method: 'POST', body: pc.localDescription.sdp, headers: headers({ 'content-type': 'application/sdp' }) });
    if (run !== S.run) return undefined;
    if (!answer.ok) return refused(answer.status);
    S.resource = new URL(answer.headers.get('location'), answer.url).href;
    await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  } catch {
    if (run === S.run) retry('lost');
  }
  return undefined;
}

function refused(status) {
  if (status === 401) return show('token');
  if (status === 404) return show('gone');
  if (status === 422) return show('codec');
  return retry(status === 503 ? 'full' : 'lost');
}

function retry(state) {
  S.run += 1;
  hangUp();
  show(state);
  connect.timer = setTimeout(connect, BACK_OFF_S[Math.min(S.tries++, BACK_OFF_S.length - 1)] * 1000);
}

$('#video').addEventListener('playing', () => { S.tries = 0; show('up'); });
const count = () => { S.frames += 1; $('#video').requestVideoFrameCallback?.(count); };
$('#video').requestVideoFrameCallback?.(count);
$('#hear').addEventListener('click', () => {
  const video = $('#video');
  video.muted = !video.muted;
  $('#hear').setAttribute('aria-pressed', !video.muted);
  $('#hear use').setAttribute('href', video.muted ? '#i-earoff' : '#i-ear');
});
$('#again').addEventListener('click', () => { S.tries = 0; connect(); });
$('#full').addEventListener('click', () => {
  if (document.fullscreenElement) return document.exitFullscreen();
  return $('#device').requestFullscreen ? $('#device').requestFullscreen() : $('#video').webkitEnterFullscreen?.();
});
$('#ask').addEventListener('submit', event => {
  event.preventDefault();
  token = $('#token').value.trim();
  try { sessionStorage.setItem('visage.token', token); } catch { /* kept for this page only */ }
  connect();
});
addEventListener('pagehide', () => { S.run += 1; clearTimeout(connect.timer); hangUp(); });
addEventListener('pageshow', event => { if (event.persisted) connect(); });

// Read-only state for tests.
Object.defineProperty(window, 'viewer', { value: Object.freeze({ get state() { return { state: S.state, frames: S.frames, resource: S.resource }; } }) });
connect();
