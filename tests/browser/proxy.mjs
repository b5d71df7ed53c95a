// The page behind a proxy that publishes it under a path prefix, strips the prefix, and sends no header about it.
import http from 'node:http';
import { alive, expect, flags, onPage, shot } from './check.mjs';

const PREFIX = '/site/avatar';

/** All requests of the page go through the prefix; others are recorded. */
export const prefix = async () => {
  const missed = [], { hostname, port } = new URL(flags.base);
  const proxy = http.createServer((from, to) => {
    if (!from.url.startsWith(`${PREFIX}/`)) { missed.push(from.url); to.writeHead(404).end(); return; }
    const asked = http.request({ hostname, port, method: from.method, path: from.url.slice(PREFIX.length), headers: from.headers }, answer => { to.writeHead(answer.statusCode, answer.headers); answer.pipe(to); });
    asked.on('error', () => to.destroy());
    to.on('close', () => asked.destroy());
    from.pipe(asked);
  });
  await new Promise(done => proxy.listen(0, '127.0.0.1', done));
  try {
    return await onPage({ url: `http://127.0.0.1:${proxy.address().port}${PREFIX}/` }, async page => {
      await page.click('#k-sample');
      await page.until("visage.state.voice === 'sound'", 10000, 'a sample through the proxy');
      const alive_after_ms = await alive(page);
      const stills = await page.eval("[...document.querySelectorAll('#avatars img')].map(i => i.naturalWidth)");
      await page.eval("location.hash = '#connect'");
      const shown = await page.eval("document.querySelector('#rows').innerText"), links = await page.eval("[...document.querySelectorAll('#rows a')].map(a => new URL(a.href).pathname)");
      await shot(page, 'prefix');
      expect(!missed.length, 'no request without the prefix', { missed });
      expect(stills.length > 1 && stills.every(width => width > 0), 'the still images of all avatars', { stills });
      expect(shown.includes(`${PREFIX}/v1/sessions/`) && links.every(path => path.startsWith(`${PREFIX}/`)), 'the prefix in every example and link', { links });
      return { alive_after_ms, stills: stills.length };
    })();
  } finally {
    proxy.close();
    proxy.closeAllConnections();
  }
};
