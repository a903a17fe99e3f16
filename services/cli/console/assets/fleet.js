// The fleet: a picture of regions, sites and links, what needs attention, sites, and what happened.
import { ago, bytes, h, number, replace, span, state, table, when } from './dom.js';
import { fleetPicture } from './draw.js';

// How a copy is, in one word; the higher the rank, the sooner somebody should look.
const RANK = { late: 9, blocked: 8, unconfirmed: 7, fenced: 6, erasing: 6, offline: 5, behind: 4, transferring: 3, empty: 3, denied: 2, unwanted: 1, current: 0 };
export function judge(replica) {
  const kind = replica.rpoBreached ? 'late' : replica.state in RANK ? replica.state : 'blocked';
  return { kind, rank: RANK[kind], word: replica.rpoBreached ? `${replica.state}, over RPO` : replica.state };
}
// How long a version has been missing; of what the law denies only when somebody set a limit to that.
export const lagOf = (r) => (r.state === 'denied' && !r.rpoBreached ? 0 : r.lagSeconds);
// Copies beside the home that are wanted and lawful, and how many of them have the newest version.
export function copiesOf(replicas) {
  const wanted = replicas.filter((r) => r.role !== 'home' && !['denied', 'unwanted', 'fenced', 'erasing', 'unconfirmed'].includes(r.state));
  return { wanted: wanted.length, current: wanted.filter((r) => r.state === 'current').length };
}
const DONE = new Set(['current', 'denied', 'unwanted']);

export function siteState(site) {
  if (!site.agent) return { kind: 'empty', word: 'not joined' };
  if (!site.connected) return { kind: 'offline', word: site.lastSeen ? `offline, seen ${ago(site.lastSeen)}` : 'offline' };
  if (!site.approved) return { kind: 'late', word: 'not approved' };
  if (site.policyError || site.policyStale) return { kind: 'late', word: site.policyStale ? 'moves nothing' : 'refused the law' };
  return { kind: 'current', word: 'connected' };
}

function linksOf(world) {
  const home = new Map(world.status.datasets.map((d) => [d.name, d.home]));
  const links = new Map();
  for (const r of world.replicas.replicas) {
    const from = home.get(r.dataset);
    if (r.role === 'home' || !from || from === r.site || r.state === 'unwanted') continue;
    const key = JSON.stringify([from, r.site]);
    if (!links.has(key)) links.set(key, { from, to: r.site, replicas: [] });
    links.get(key).replicas.push(r);
  }
  const moving = new Set((world.transfers?.transfers || []).filter((t) => t.state === 'running' || t.state === 'starting')
    .map((t) => JSON.stringify([t.source, t.destination])));
  return [...links.entries()].map(([key, link]) => {
    const worst = link.replicas.map(judge).reduce((a, b) => (b.rank > a.rank ? b : a));
    const cut = link.replicas.every((r) => r.state === 'denied');
    const lag = Math.max(...link.replicas.map(lagOf));
    return { ...link, cut, kind: worst.kind, word: worst.word, lag, moving: moving.has(key),
      text: `${link.from} to ${link.to}: ${link.replicas.map((r) => `${r.dataset} ${judge(r).word}`).join(', ')}` };
  });
}

function picture(world, links) {
  const sites = world.status.sites.map((site) => {
    const { kind, word } = siteState(site);
    return { ...site, kind, word: word.replace(/, seen .*/, ''), detail: site.freeBytes ? `${bytes(site.freeBytes)} free` : 'free space unknown' };
  });
  sites.sort((a, b) => a.region.localeCompare(b.region) || a.name.localeCompare(b.name));
  if (sites.length === 0) {
    return h('p', { class: 'empty' }, 'No site is declared yet. Declare regions and sites with ', h('code', {}, 'bailiwick apply -f FILE'), '.');
  }
  const key = [['current', 'current'], ['behind', 'behind'], ['late', 'over RPO'], ['denied', 'kept out by law'], ['offline', 'offline']];
  return [h('div', { class: 'frame' }, fleetPicture(sites, links, `${sites.length} sites and ${links.length} links between them; the tables below say the same`)),
    h('ul', { class: 'key', 'aria-label': 'What the colours say' }, key.map(([kind, word]) => h('li', {}, state(word, kind))))];
}

function attention(world) {
  const items = [];
  const add = (kind, rank, title, text, href) => items.push({ kind, rank, title, text, href });
  for (const site of world.status.sites) {
    const { kind, word } = siteState(site);
    if (kind === 'current') continue;
    const more = site.policyStale || site.policyError || (!site.agent ? `run: bailiwick site join-token ${site.name}` : !site.approved ? `run: bailiwick site approve ${site.name}` : 'it catches up when it is back');
    add(kind, kind === 'late' ? 9 : 5, `Site ${site.name}: ${word}`, more, `#/datasets?site=${encodeURIComponent(site.name)}`);
  }
  for (const d of world.status.datasets) if (d.problem) add('blocked', 8, `${d.name}: its source at ${d.home}`, d.problem, `#/datasets/${encodeURIComponent(d.name)}`);
  for (const r of world.replicas.replicas) {
    const { kind, rank, word } = judge(r);
    if (r.role !== 'home' && !DONE.has(kind)) add(kind, rank, `${r.dataset} at ${r.site}: ${word}`, r.state === 'denied' ? `${r.reason}. A replication policy wants within its RPO what the law denies: change one of them.` : r.reason, `#/datasets/${encodeURIComponent(r.dataset)}?site=${encodeURIComponent(r.site)}`);
  }
  items.sort((a, b) => b.rank - a.rank || a.title.localeCompare(b.title));
  const { wanted } = copiesOf(world.replicas.replicas);
  if (items.length === 0) {
    return h('p', { class: 'empty good' }, wanted === 0 ? 'Nothing is replicated yet, and nothing is wrong.'
      : `Nothing needs you: ${wanted === 1 ? 'the one copy that is wanted and lawful is' : `all ${number(wanted)} copies that are wanted and lawful are`} current.`);
  }
  return h('ul', { class: 'items' }, items.map((item) => h('li', { class: `is-${item.kind}` },
    h('a', { href: item.href, 'data-key': `attention-${item.title}` }, item.title), h('p', {}, item.text))));
}

function law(world) {
  const denied = world.replicas.replicas.filter((r) => r.state === 'denied' && !r.rpoBreached);
  if (denied.length === 0) return null;
  return h('section', { 'aria-labelledby': 'law' }, h('h2', { id: 'law' }, 'Kept out by law'),
    h('p', { class: 'quiet' }, 'Wanted by a replication policy, denied by a sovereignty policy. Nothing is broken, and nothing was sent.'),
    h('ul', { class: 'items' }, denied.map((r) => h('li', { class: 'is-denied' },
      h('a', { href: `#/datasets/${encodeURIComponent(r.dataset)}?site=${encodeURIComponent(r.site)}`, 'data-key': `law-${r.dataset}-${r.site}` }, `${r.dataset} at ${r.site}`),
      h('p', {}, r.reason)))));
}

function figures(world) {
  const sites = world.status.sites, replicas = world.replicas.replicas.filter((r) => r.role !== 'home');
  const { wanted, current } = copiesOf(replicas);
  const running = (world.transfers?.transfers || []).filter((t) => t.state === 'running' || t.state === 'starting');
  const late = replicas.filter((r) => r.rpoBreached).length;
  const figure = (value, label, kind, href) => h('li', { class: kind ? `is-${kind}` : null }, h('a', { href, 'data-key': `figure-${label}` }, h('strong', {}, value), h('span', {}, label)));
  const up = sites.filter((x) => x.connected).length;
  return h('ul', { class: 'figures' },
    figure(`${up} of ${sites.length}`, 'sites connected', up < sites.length ? 'behind' : null, '#/fleet'),
    figure(`${current} of ${wanted}`, wanted === 1 ? 'copy current' : 'copies current', current < wanted ? 'behind' : null, '#/datasets'),
    figure(number(late), 'over RPO', late > 0 ? 'late' : null, '#/datasets'),
    figure(number(replicas.filter((r) => r.state === 'denied').length), 'kept out by law', null, '#/policy/explain'),
    figure(running.length === 0 ? 'none' : `${running.length} at ${bytes(running.reduce((sum, t) => sum + t.rateBytesPerSecond, 0))}/s`, 'transfers running', null, '#/transfers'));
}

function tables(world, links) {
  return [
    h('section', { 'aria-labelledby': 'sites' }, h('h2', { id: 'sites' }, 'Sites'),
      table('Sites, their agents and the law that they follow', ['Site', 'Region', 'State', 'Law', { title: 'Free', right: true }, 'Build'],
        world.status.sites.map((x) => {
          const { kind, word } = siteState(x);
          return [x.name, x.region, state(word, kind), h('span', {}, `revision ${x.policyRevision}`, x.policyError ? h('em', { class: 'bad' }, ` ${x.policyError}`) : '', x.policyStale ? h('em', { class: 'bad' }, ` ${x.policyStale}`) : ''),
            x.freeBytes ? bytes(x.freeBytes) : 'unknown', x.build];
        }), 'No site is declared yet.')),
    h('section', { 'aria-labelledby': 'links' }, h('h2', { id: 'links' }, 'Links'),
      table('From the home of a dataset to where it is wanted', ['From', 'To', 'State', { title: 'Lag', right: true }, 'Datasets'],
        links.map((l) => [l.from, l.to, state(l.word, l.kind), l.lag ? span(l.lag) : 'none',
          l.replicas.map((r, i) => [i ? ', ' : '', h('a', { href: `#/datasets/${encodeURIComponent(r.dataset)}?site=${encodeURIComponent(r.site)}`, 'data-key': `link-${r.dataset}-${r.site}` }, r.dataset)])]),
        'Nothing is to be replicated yet: no ReplicationPolicy wants a dataset somewhere else.')),
  ];
}

function happened(world) {
  const events = [...(world.events?.events || [])].reverse().slice(0, 12);
  return events.length === 0 ? h('p', { class: 'empty' }, 'Nothing has happened yet.')
    : h('ol', { class: 'events' }, events.map((e) => h('li', {}, h('b', {}, e.kind.replace(/-/g, ' ')), when(e.at),
      h('span', {}, [e.dataset && `${e.dataset}${e.number ? ` version ${e.number}` : ''}`, e.site && `at ${e.site}`, e.message].filter(Boolean).join(' · ')))));
}

export function open(main, world) {
  const parts = Object.fromEntries(['figures', 'picture', 'attention', 'law', 'tables', 'events'].map((name) => [name, h('div', { class: `part-${name}` })]));
  main.append(h('h1', {}, 'Fleet'), parts.figures,
    h('section', { 'aria-label': 'Picture of the fleet' }, parts.picture),
    h('div', { class: 'two' },
      h('section', { 'aria-labelledby': 'attention' }, h('h2', { id: 'attention' }, 'What needs attention'), parts.attention, parts.law),
      h('section', { 'aria-labelledby': 'happened' }, h('h2', { id: 'happened' }, 'What happened'), parts.events)),
    parts.tables);
  const update = () => {
    if (!world.status || !world.replicas) {
      replace(parts.picture, h('p', { class: 'empty tall' }, 'Asking the coordinator'));
      return;
    }
    const links = linksOf(world);
    replace(parts.figures, figures(world));
    replace(parts.picture, picture(world, links));
    replace(parts.attention, attention(world));
    replace(parts.law, law(world));
    replace(parts.tables, tables(world, links));
    replace(parts.events, happened(world));
  };
  update();
  return { update };
}
