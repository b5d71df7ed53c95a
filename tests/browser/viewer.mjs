// The page for viewers: opened by the Share link, it shows the session of another page and ends with it.
import { expect, isUp, onPage, open, server, shot } from './check.mjs';

/** A second browser page watches the session of the first one while a sample is spoken. */
export const viewer = onPage({}, async page => {
  await page.until(`${isUp} && !document.querySelector('#share').hidden`, 5000, 'a Share link');
  const id = await page.eval('visage.state.session'), href = await page.eval("document.querySelector('#share').getAttribute('href')");
  expect(href === `view.html?session=${id}`, 'a link to the viewer page of this session', { id, href });
  const watching = await open({ path: `/${href}`, width: 900, height: 900 });
  try {
    const { after_ms } = await watching.until("window.viewer && viewer.state.state === 'up' && viewer.state.frames > 10", 10000, 'video for the viewer');
    await page.click('#k-sample');
    await page.until("visage.state.voice === 'sound'");
    const before = await watching.eval('viewer.state.frames');
    await watching.until(`viewer.state.frames > ${before + 25}`, 5000, 'a second of video while the avatar speaks');
    await shot(watching, 'viewer');
    const stats = await (await server(`/v1/sessions/${id}/stats`)).json();
    const roles = stats.viewers.map(one => one.role).join();
    expect(roles === 'creator,receive_only', 'two viewers, one of them with the microphone', { roles });
    const size = await watching.eval("[video.videoWidth, video.videoHeight]");
    expect(size[0] >= 256 && size[0] === size[1], 'the same video', { size });
    await watching.click('#hear');
    expect(await watching.eval("!document.querySelector('#video').muted"), 'audio on request', {});
    expect(!watching.errors.length, 'no error in the viewer page', watching.errors);
    await page.until(isUp);
    return { first_picture_ms: after_ms, size };
  } finally {
    await watching.close();
  }
});
