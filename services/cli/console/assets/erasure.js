// What must stay, what may no longer lie where it is, and what was erased from every version. Read only: holds, releases
// and redactions are given on the command line, where whoever gives them is asked.
import { bytes, count, failure, get, h, replace, state, table, when } from './dom.js';

const dataset = (name, key) => h('a', { href: `#/datasets/${encodeURIComponent(name)}`, 'data-key': `${key}-${name}` }, name);
const short = (id) => (id ? h('code', { class: 'id', title: id }, id.slice(0, 12)) : 'none');
const person = (by) => h('span', { title: by }, by.split('/').pop());
const KINDS = { repairing: 'fenced', 'last-copy': 'fenced', held: 'fenced', unjudged: 'blocked', erased: 'done', pending: 'behind', waiting: 'behind' };
const stateOf = (word) => state(word.replace(/-/g, ' '), KINDS[word] || word);

const where = (hold) => (hold.onlyAt.length ? `at ${hold.onlyAt.join(', ')}, known only there` : hold.site === '' ? 'at every site' : `at ${hold.site}`);
const held = (hold) => `${hold.number === 0 ? 'every version' : `version ${hold.number}`} ${where(hold)}`;
// Of one dataset, in sentences.
export const holdsOf = (holds) =>
  holds.map((x) => h('p', { class: 'notice' }, `Held: ${held(x)}, by `, person(x.by), ' since ', when(x.since), `: ${x.reason}. `, h('small', {}, 'Neither retention nor law take it away; where the law forbids it, it is out of use.')));

function holdsTable({ holds }) {
  return table('Kept whatever retention and law say, until somebody releases it', ['Dataset', 'What', 'Reason', 'By', 'Since', 'Release it with'],
    holds.map((x) => [dataset(x.dataset, 'hold'), held(x), x.reason, person(x.by), when(x.since), h('code', {}, `bailiwick dataset release ${x.dataset} --hold ${x.hold}`)]),
    'Nothing is held. A hold keeps versions for a case or a contract: bailiwick dataset hold.');
}

function evictionsTable({ evictions, more }) {
  const open = (e) => (e.state === 'erased' ? 1 : 0);
  return [table('Copies that the law or their longest retention forbids: first those that are still there', ['Dataset', 'Site', 'State', { title: 'Versions', right: true }, { title: 'Size', right: true }, 'Since', 'Why', 'Receipt'],
    [...evictions].sort((a, b) => open(a) - open(b) || b.since.localeCompare(a.since)).map((e) => [dataset(e.dataset, `evicted-${e.site}`), e.site, stateOf(e.state), e.versions.join(', ') || 'all', bytes(e.bytes), when(e.since),
      [e.cause ? `${e.cause}${e.rule ? ', ' : ''}` : e.reason, e.cause && e.rule ? h('code', {}, e.rule) : null], short(e.receipt)]),
    'Every copy lies where it may, and none had to go.'),
  more ? h('p', { class: 'quiet' }, 'Of what was erased only the newest are listed; all: ', h('code', {}, 'bailiwick eviction list --limit 0')) : null];
}

function redactionsTable({ redactions }) {
  return table('Orders that policy keys signed: contents of files that go from every version at every site', ['Dataset', 'State', 'Reason', 'Erases', 'By', 'Issued', 'Sites', 'Order'],
    redactions.map((r) => [dataset(r.dataset, 'redacted'), [stateOf(r.state), r.missing ? h('p', { class: 'bad' }, r.missing) : null], r.reason, `${count(r.contents, 'content')}, ${count(r.chunks, 'chunk')}`, person(r.by), when(r.issuedAt),
      h('ul', { class: 'plain' }, r.sites.map((x) => h('li', {}, x.site, ' ', stateOf(x.state), x.reason ? h('span', { class: 'quiet' }, ` ${x.reason}`) : null))), short(r.order)]),
    'No file was redacted.');
}

export function open(main) {
  const boxes = { holds: h('div'), evictions: h('div'), redactions: h('div') };
  const shown = { holds: holdsTable, evictions: evictionsTable, redactions: redactionsTable };
  main.append(h('h1', {}, 'Holds and erasure'),
    h('section', { 'aria-labelledby': 'holds' }, h('h2', { id: 'holds' }, 'What must stay'), boxes.holds),
    h('section', { 'aria-labelledby': 'evictions' }, h('h2', { id: 'evictions' }, 'What may not stay'), boxes.evictions),
    h('section', { 'aria-labelledby': 'redactions' }, h('h2', { id: 'redactions' }, 'What was redacted'), boxes.redactions));
  for (const box of Object.values(boxes)) replace(box, h('p', { class: 'empty' }, 'Asking the coordinator'));
  let asking = false, again = false, asked = 0;
  const load = async () => {
    again = asking;
    if (asking) return;
    asking = true;
    asked = Date.now();
    for (const [route, box] of Object.entries(boxes)) {
      await get(route).then((told) => replace(box, shown[route](told)), (error) => { if (!box.querySelector('table')) replace(box, failure(error)); });
    }
    asking = false;
    if (again) load();
  };
  load();
  // Most steps are events; that a site went silent is none.
  return { update: (topic) => { if (topic === 'events' || Date.now() - asked > 10000) load(); } };
}
