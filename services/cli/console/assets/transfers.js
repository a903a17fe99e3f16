// What is on its way, and what has ended.
import { bytes, h, replace, span, state, table, when } from './dom.js';

const LIMITS = {
  cap: 'a BandwidthPolicy', priority: 'a more urgent transfer, which it lets pass', disk: 'the disk', cpu: 'the processor',
  link: 'the line', peer: 'the other end, from which nothing comes',
};
const limitText = (t) => (t.limit ? `Limited by ${LIMITS[t.limit] || t.limit}${t.limitSite ? ` at ${t.limitSite}` : ''}.` : '');

function running(t) {
  const share = t.totalBytes ? Math.min(100, (100 * t.doneBytes) / t.totalBytes) : 0;
  return h('li', { class: 'transfer' },
    h('div', { class: 'head' }, h('strong', {}, h('a', { href: `#/datasets/${encodeURIComponent(t.dataset)}`, 'data-key': `t-${t.id}` }, t.dataset), ` version ${t.version}`),
      h('span', {}, `${t.source} → ${t.destination}`), state(t.state)),
    h('progress', { max: 100, value: share, 'aria-label': `${t.dataset} to ${t.destination}` }, `${share.toFixed(0)}%`),
    h('p', { class: 'quiet' }, `${bytes(t.doneBytes)} of ${bytes(t.totalBytes)} present, ${bytes(t.wireBytes)} on the wire`,
      t.rateBytesPerSecond ? `, ${bytes(t.rateBytesPerSecond)}/s` : '', t.etaSeconds === null ? '' : `, ${span(t.etaSeconds)} left`, t.limit ? `. ${limitText(t)}` : ''),
    t.message ? h('p', { class: 'bad' }, t.message) : null);
}

export function open(main, world) {
  const now = h('div'), ended = h('div');
  main.append(h('h1', {}, 'Transfers'),
    h('section', { 'aria-labelledby': 'now' }, h('h2', { id: 'now' }, 'On their way'), now),
    h('section', { 'aria-labelledby': 'ended' }, h('h2', { id: 'ended' }, 'Ended'), ended));
  const update = () => {
    if (!world.transfers) {
      replace(now, h('p', { class: 'empty' }, 'Asking the coordinator'));
      return;
    }
    const all = world.transfers.transfers;
    const on = all.filter((t) => t.state === 'running' || t.state === 'starting');
    replace(now, on.length === 0 ? h('p', { class: 'empty' }, 'Nothing is on its way. A new version shows here the moment it starts to travel.')
      : h('ul', { class: 'plain' }, on.map(running)));
    const past = all.filter((t) => !on.includes(t)).sort((a, b) => b.ended.localeCompare(a.ended));
    replace(ended, table('The last hundred, newest first', ['Dataset', { title: 'Version', right: true }, 'From → to', 'State', { title: 'Data', right: true }, { title: 'On the wire', right: true }, 'Ended', 'Message'],
      past.map((t) => [h('a', { href: `#/datasets/${encodeURIComponent(t.dataset)}`, 'data-key': `e-${t.id}` }, t.dataset), t.version, `${t.source} → ${t.destination}`, state(t.state), bytes(t.totalBytes), bytes(t.wireBytes), when(t.ended),
        [t.code && t.state === 'failed' ? h('code', {}, t.code) : null, t.code && t.message ? ' ' : null, t.message]]), 'No transfer has ended since the coordinator started.'));
  };
  update();
  return { update };
}
