// What was recorded: search, the proof of one record, logs and who cosigned them, reports.
import { bytes, count, failure, field, get, h, link, number, options, replace, state, table, when } from './dom.js';

const TABS = { search: 'Search', logs: 'Logs', report: 'Report' };
const KINDS = ['grant-accepted', 'transfer-ended', 'transfer-refused', 'version-received', 'version-announced', 'grant-issued', 'policy-applied', 'receipt-stored', 'version-dropped', 'peer-refused', 'audit-read'];

const FINDINGS = {
  true: ['current', 'This record is in the log that was signed, exactly as it is shown.'],
  unwitnessed: ['behind', 'The record is in the log by the log’s own signature; too few of the witnesses have signed it so far.'],
  incomplete: ['behind', 'Something that was signed is missing.'],
  tampered: ['late', 'Something is not what was signed. Keep this proof, and ask who runs that site.'],
};

function proof(p) {
  const [kind, words] = FINDINGS[p.verdict.finding] || ['late', p.verdict.finding];
  const file = URL.createObjectURL(new Blob([p.proof], { type: 'text/plain' }));
  const name = `${p.id.replace(/[^\w.-]/g, '-')}.tlog-proof`;
  return h('div', { class: `verdict is-${kind}` }, h('h3', {}, state(p.verdict.finding, p.verdict.finding), ` ${p.id}`), h('p', {}, words),
    p.verdict.problems.length ? h('ul', {}, p.verdict.problems.map((x) => h('li', { class: 'bad' }, x))) : null,
    h('dl', {}, h('dt', {}, 'Log'), h('dd', {}, h('code', {}, p.verdict.log)), h('dt', {}, 'Records signed'), h('dd', {}, number(p.verdict.records)),
      h('dt', {}, 'Witnessed by'), h('dd', {}, p.verdict.witnesses.join(', ') || 'nobody: an agent’s log is watched by the coordinator')),
    h('p', { class: 'quiet' }, 'Checked on this machine with the keys that the signed law pins. ', h('a', { href: file, download: name }, 'Save the proof'), ': whoever has it and the keys needs nothing else.'),
    h('details', {}, h('summary', {}, 'The proof'), h('pre', { class: 'scroll', tabindex: '0' }, p.proof)));
}

function record(r) {
  const under = h('div', { 'aria-live': 'polite' });
  const prove = async () => {
    replace(under, h('p', { class: 'empty' }, 'Asking for the proof, and checking it'));
    try {
      under.replaceChildren(proof(await get('audit/prove', { id: r.id })));
    } catch (error) {
      replace(under, failure(error));
    }
  };
  const d = r.detail || {};
  const told = [d.code, d.rule && `by ${d.rule}`, d.sourceRegion && `${d.sourceRegion} → ${d.destinationRegion}`, d.number && `version ${d.number}`, d.sentence || d.reason || d.message].filter(Boolean).join(' · ');
  return h('li', { class: 'record' }, h('div', { class: 'head' }, h('code', {}, r.id), h('strong', {}, r.kind), h('span', {}, r.subject), when(r.at),
    h('button', { type: 'button', onclick: prove, 'aria-label': `Prove ${r.id}` }, 'Prove')),
  told ? h('p', { class: 'quiet' }, told) : null,
  h('details', {}, h('summary', {}, 'As it was recorded'), h('pre', { class: 'scroll', tabindex: '0' }, JSON.stringify(r.detail, null, 2))), under);
}

async function search(box, query) {
  const sites = (await get('status')).sites.map((s) => s.name);
  const input = (name, attributes) => h('input', { name, value: query.get(name) || '', ...attributes });
  const out = h('div', { 'aria-live': 'polite' });
  const form = h('form', { class: 'ask', onsubmit: (event) => {
    event.preventDefault();
    const next = `#/audit/search?${new URLSearchParams([...new FormData(form)].filter(([, v]) => v !== ''))}`;
    if (next === location.hash) run();
    else location.hash = next;
  } }, h('div', { class: 'fields' }, field('Log of', h('select', { name: 'site' }, options(['coordinator', ...sites], query.get('site') || 'coordinator'))),
    field('Kind', input('kind', { list: 'kinds', placeholder: 'any' })), h('datalist', { id: 'kinds' }, KINDS.map((k) => h('option', { value: k }))),
    field('Subject contains', input('subject', { placeholder: 'anything' })), field('Since', input('since', { placeholder: '2026-03-01' })), field('Before', input('until', { placeholder: 'now' })),
    field('At most', input('limit', { placeholder: '100', inputmode: 'numeric' }))),
  h('div', { class: 'actions' }, h('small', {}, 'That a log was read is recorded in it.'), h('button', { class: 'primary', type: 'submit' }, 'Search')));
  const run = async () => {
    replace(out, h('p', { class: 'empty' }, 'Reading the log'));
    try {
      const { records } = await get('audit/list', { limit: 100, ...Object.fromEntries(query) });
      out.replaceChildren(records.length === 0 ? h('p', { class: 'empty' }, 'No record of this log matches.')
        : h('div', {}, h('p', { class: 'quiet' }, `${count(records.length, 'record')}, newest first`), h('ol', { class: 'plain' }, records.reverse().map(record))));
    } catch (error) {
      replace(out, failure(error));
    }
  };
  replace(box, form, out);
  if ([...query.keys()].length > 0) run();
  else replace(out, h('p', { class: 'empty' }, 'Choose a log. Records stay in their region: those of a site are asked of its own agent.'));
}

async function logs(box) {
  const { logs: all } = await get('audit/logs');
  replace(box, table('The logs that the coordinator knows of', ['Log', { title: 'Entries', right: true }, 'Cosigned by', 'Problem', 'Origin'],
    all.map((l) => [h('a', { href: `#/audit/search?site=${encodeURIComponent(l.log)}` }, l.log), number(l.entries), l.cosignedBy.map((x) => h('span', { class: 'chip' }, x.split('/').pop())),
      l.problem ? h('strong', { class: 'bad' }, l.problem) : 'none', h('code', {}, l.origin)]), 'No log is known yet.'));
}

function section(name, rows) {
  const columns = rows.length === 0 ? [] : Object.keys(rows[0]);
  const heads = columns.map((c) => (typeof rows[0][c] === 'number' ? { title: c.replace(/Bytes$/, ''), right: true } : c));
  const cell = (c, value) => (c === 'at' ? when(value) : c.endsWith('Bytes') ? bytes(value) : typeof value === 'number' ? number(value) : value);
  const title = { sites: 'Sites that ever held it', moves: 'Moves, and the rule that allowed each', removals: 'Removals', transfers: 'Transfers by recipient' }[name] || name;
  return [h('h2', {}, title), table(title, heads, rows.map((row) => columns.map((c) => cell(c, row[c]))), 'None.')];
}

async function report(box, query) {
  const { datasets } = await get('status');
  const out = h('div', { 'aria-live': 'polite' });
  const form = h('form', { class: 'ask', onsubmit: (event) => {
    event.preventDefault();
    const next = `#/audit/report?${new URLSearchParams([...new FormData(form)])}`;
    if (next === location.hash) run();
    else location.hash = next;
  } }, h('div', { class: 'fields' }, field('About', h('select', { name: 'dataset' }, options(datasets.map((d) => d.name), query.get('dataset'), 'all transfers of a period'))),
    field('From', h('input', { name: 'from', placeholder: 'the beginning', value: query.get('from') || '' })), field('Before', h('input', { name: 'to', placeholder: 'now', value: query.get('to') || '' }))),
  h('div', { class: 'actions' }, h('button', { class: 'primary', type: 'submit' }, 'Make the report')));
  const run = async () => {
    replace(out, h('p', { class: 'empty' }, 'Reading the logs of every site'));
    try {
      const q = Object.fromEntries(query);
      const r = await get('audit/report', q);
      replace(out, h('h2', {}, r.title), r.notes.length ? h('div', { class: 'notice bad' }, h('strong', {}, r.finding === 'tampered' ? 'A log is tampered with.' : 'Something may be missing.'), h('ul', {}, r.notes.map((n) => h('li', {}, n)))) : h('p', { class: 'quiet' }, 'Every log was read and verified.'),
        Object.entries(r).filter(([, rows]) => Array.isArray(rows)).filter(([name]) => name !== 'notes').map(([name, rows]) => section(name, rows)),
        h('p', {}, h('a', { href: link('audit/report', { ...q, html: 1 }), download: 'bailiwick-report.html' }, 'Save as a printable page')));
    } catch (error) {
      replace(out, failure(error));
    }
  };
  replace(box, form, out);
  if ([...query.keys()].length > 0) run();
}

export function open(main, world, path, query) {
  const tab = TABS[path[0]] ? path[0] : 'search';
  const box = h('div', {}, h('p', { class: 'empty' }, 'Asking the coordinator'));
  main.append(h('div', { class: 'titled' }, h('h1', {}, 'Audit'), h('nav', { 'aria-label': 'Audit', class: 'tabs' },
    h('ul', {}, Object.entries(TABS).map(([name, title]) => h('li', {}, h('a', { href: `#/audit/${name}`, 'aria-current': name === tab ? 'page' : null }, title)))))), box);
  ({ search, logs, report })[tab](box, query).catch((error) => replace(box, failure(error)));
  return {};
}
