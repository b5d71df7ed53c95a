// Faults of the microphone and of how the page was opened: the page reports them, and video continues.
import net from 'node:net';
import os from 'node:os';
import { alive, expect, flags, onPage, server, shot } from './check.mjs';

const words = page => page.eval("document.querySelector('#plate').innerText");

/** The browser responds like one on a machine without a microphone. */
export const missing = onPage({
  scripts: ["navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('Requested device not found', 'NotFoundError'));"],
}, async page => {
  await page.click('#talk');
  await page.until("visage.state.trouble === 'missing'");
  await shot(page, 'missing');
  const said = await words(page);
  expect(/No microphone found/.test(said) && /Plug one in/.test(said) && /Try again/.test(said), 'what is missing, and what to do', { said });
  return { said: said.split('\n')[0], alive_after_ms: await alive(page) };
});

/** The track ends during the call, as when the microphone is unplugged. */
export const unplugged = onPage({
  scripts: ["{ const take = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices); navigator.mediaDevices.getUserMedia = async wanted => window.taken = await take(wanted); }"],
}, async page => {
  await page.click('#talk');
  await page.until("visage.state.voice === 'open'");
  const id = await page.eval('visage.state.session');
  await page.eval("(() => { const [track] = taken.getAudioTracks(); track.stop(); track.dispatchEvent(new Event('ended')); })()");
  await page.until("visage.state.trouble === 'unplugged' && visage.state.voice === 'idle'");
  await shot(page, 'unplugged');
  const said = await words(page), isRed = await page.eval("document.documentElement.classList.contains('open')");
  expect(/microphone went away/.test(said) && /Talk again/.test(said) && !isRed, 'the text that the microphone was unplugged, and no red indicator', { said, isRed });
  const alive_after_ms = await alive(page);
  expect((await server(`/v1/sessions/${id}`)).status === 200, 'the same session', { id });
  await page.click('#plate .btn.first');
  await page.until("visage.state.voice === 'open' && visage.state.trouble === null");
  return { said: said.split('\n')[0], alive_after_ms };
});

/** The page over http at a local address that is not loopback, which the browser does not treat as secure. */
export const insecure = async () => {
  const address = Object.values(os.networkInterfaces()).flat().find(({ family, internal }) => family === 'IPv4' && !internal)?.address;
  if (!address) return { skipped: 'a page that is not secure (no address but the loopback on this machine)' };
  const { hostname, port } = new URL(flags.base);
  const forwarder = net.createServer(from => { const to = net.connect(port, hostname); from.pipe(to).pipe(from); [from, to].forEach(end => end.on('error', () => { from.destroy(); to.destroy(); })); });
  await new Promise(done => forwarder.listen(0, address, done));
  try {
    return await onPage({ url: `http://${address}:${forwarder.address().port}` }, async page => {
      await page.click('#talk');
      await page.until("visage.state.trouble === 'insecure'");
      await shot(page, 'insecure');
      const said = await words(page), isSecure = await page.eval('isSecureContext');
      expect(!isSecure && /https or localhost/.test(said) && said.includes('--tls self-signed') && said.includes(`https://${address}`), 'what to do, with command and address', { isSecure, said });
      await page.click('#k-sample');
      await page.until("visage.state.voice === 'sound'", 10000, 'a sample to play');
      return { said: said.split('\n')[0], alive_after_ms: await alive(page) };
    })();
  } finally {
    forwarder.close();
  }
};
