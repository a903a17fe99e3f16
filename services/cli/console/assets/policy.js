// The law: its rules, may this go there, could it ever, what would a draft change, who signed what.
import { explanation } from './datasets.js';
import { reachPicture } from './draw.js';
import { bytes, failure, field, get, h, options, post, replace, state, table, when } from './dom.js';

const TABS = { rules: 'Rules', explain: 'May it go there?', reach: 'Could it ever?', draft: 'Try a draft', history: 'Signed' };

// ------------------------------------------------------------------------------------------------- rules in words
function selector(x, what) {
  const words = Object.entries(x?.matchLabels || {}).map(([k, v]) => `${k} is ${v}`);
  for (const e of x?.matchExpressions || []) {
    const values = (e.values || []).join(' or ');
    words.push({ In: `${e.key} is ${values}`, NotIn: `${e.key} is not ${values}`, Exists: `${e.key} is given`, DoesNotExist: `${e.key} is not given` }[e.operator] || `${e.key} ${e.operator} ${values}`);
  }
  return words.map((w) => `${what}${w}`);
}

function place(p, name) {
  if (!p) return [];
  return [p.in && `${name} in ${p.in.join(' or ')}`, p.notIn && `${name} outside ${p.notIn.join(' and ')}`,
    ...selector(p.siteSelector, `${name} site `), p.entities && `${name} held by ${p.entities.join(' or ')}`].filter(Boolean);
}

function obligation(o) {
  if (o.encryptAtRest) return `encrypted with a key of ${o.encryptAtRest.keyRegion}`;
  if (o.maxRetention) return `kept at most ${o.maxRetention}`;
  if (o.maxHops) return `at most ${o.maxHops} hops`;
  return o.noTransit ? 'never sent on' : JSON.stringify(o);
}

function moment(w) {
  const daily = (w?.daily || []).map((d) => [d.days, d.hours, d.tz].filter(Boolean).join(' '));
  return [w?.notBefore && `from ${w.notBefore}`, w?.notAfter && `before ${w.notAfter}`, daily.length > 0 && `at ${daily.join(' or ')}`].filter(Boolean);
}

function conditions(rule) {
  const all = [...selector(rule.data, 'data whose '), ...place(rule.from, 'from'), ...place(rule.to, 'to'),
    ...(rule.purposes ? [`for ${rule.purposes.join(' or ')}`] : []), ...moment(rule.when)];
  return all.length === 0 ? 'always' : h('ul', { class: 'conditions' }, all.map((c) => h('li', {}, c)));
}

async function rules(box) {
  const { resources } = await get('resources', { kind: 'SovereigntyPolicy' });
  if (resources.length === 0) {
    replace(box, h('p', { class: 'empty' }, 'No SovereigntyPolicy is declared: nothing is permitted to flow. Six laws to begin with come with the sources, in deploy/policies.'));
    return;
  }
  replace(box, h('p', { class: 'quiet' }, 'What no rule permits is denied; a rule that forbids wins over those that permit; a condition that cannot be evaluated denies.'),
    resources.map((policy) => h('section', { 'aria-label': `Policy ${policy.metadata.name}` },
      h('h2', {}, policy.metadata.name, policy.spec.tier === 'guardrail' ? h('small', {}, ' guardrail') : '', ' ', h('a', { class: 'action', href: `#/policy/draft?name=${encodeURIComponent(policy.metadata.name)}` }, 'Try a change')),
      table(`Rules of ${policy.metadata.name}`, ['Rule', 'Effect', 'When', 'Of', 'Basis', 'Obligations'],
        (policy.spec.rules || []).map((r) => [h('code', {}, r.id), state(r.effect), conditions(r), (r.actions || ['transfer', 'reside', 'transit']).join(', '), r.basis || '', (r.obligations || []).map(obligation).join(', ')]),
        'This policy has no rules.'),
      policy.spec.sets ? h('p', { class: 'quiet' }, 'Sets: ', Object.entries(policy.spec.sets).map(([name, set]) => `${name} = ${set.regions.join(', ')}${set.expires ? `, until ${set.expires}` : ''}`).join('; ')) : null)));
}

// ------------------------------------------------------------------------------------------------- forms
async function choices() {
  const [status, regions] = await Promise.all([get('status'), get('resources', { kind: 'Region' })]);
  return { datasets: status.datasets.map((d) => d.name), homes: new Map(status.datasets.map((d) => [d.name, d.home])), sites: status.sites.map((s) => s.name), regions: regions.resources.map((r) => r.metadata.name) };
}

const groups = (c, chosen, first) => [first === undefined ? null : h('option', { value: '' }, first),
  h('optgroup', { label: 'Sites' }, options(c.sites, chosen)), h('optgroup', { label: 'Regions, for any site there' }, options(c.regions, chosen))];

function dataFields(c, query) {
  const dataset = h('select', { name: 'dataset' }, options(c.datasets, query.get('dataset'), 'none: these labels'));
  const label = h('input', { name: 'label', placeholder: 'class=health,pii=yes', value: query.get('label') || '' });
  if (!query.get('label') && !query.get('dataset') && c.datasets.length > 0) dataset.value = c.datasets[0];
  const follow = () => { label.disabled = dataset.value !== ''; };
  dataset.addEventListener('change', follow);
  follow();
  return [field('Dataset', dataset), field('or data with labels', label)];
}

// A form whose answers have an address of their own: reload, back and links work.
function asking(box, tab, fields, verb, query, needed, ask) {
  const out = h('div', { 'aria-live': 'polite' });
  const form = h('form', { class: 'ask', onsubmit: (event) => {
    event.preventDefault();
    const filled = [...new FormData(form)].filter(([, v]) => v !== '');
    const next = `#/policy/${tab}?${new URLSearchParams(filled)}`;
    if (next === location.hash) run();
    else location.hash = next;
  } }, h('div', { class: 'fields' }, fields), h('div', { class: 'actions' }, h('button', { class: 'primary', type: 'submit' }, verb)));
  const run = async () => {
    replace(out, h('p', { class: 'empty' }, 'Evaluating the signed law'));
    try {
      replace(out, await ask(Object.fromEntries(query)));
    } catch (error) {
      replace(out, failure(error));
    }
  };
  replace(box, form, out);
  // What `replace` puts there are these very elements, listeners and all.
  if (needed.every((name) => query.get(name))) run();
}

async function explain(box, query) {
  const c = await choices();
  const from = h('select', { name: 'from' }, groups(c, query.get('from') || c.homes.get(query.get('dataset')) || c.homes.get(c.datasets[0])));
  const to = h('select', { name: 'to' }, groups(c, query.get('to')));
  asking(box, 'explain', [...dataFields(c, query), field('From', from), field('To', to),
    field('Purpose', h('input', { name: 'purpose', value: query.get('purpose') || '' }), 'of the ReplicationPolicy, if rules ask for one'),
    field('At', h('input', { name: 'at', placeholder: 'now', value: query.get('at') || '' }), 'as in 2026-07-01T08:00:00+02:00')],
  'Explain', query, ['from', 'to'], async (q) => explanation(await get('policy/explain', q)));
}

async function reach(box, query) {
  const c = await choices();
  const to = h('select', { name: 'to' }, options(c.regions, query.get('to')));
  asking(box, 'reach', [...dataFields(c, query), field('Could it get to', to, 'over any number of hops'),
    field('From', h('select', { name: 'from' }, groups(c, query.get('from'), 'its home, or anywhere'))),
    field('Purpose', h('input', { name: 'purpose', value: query.get('purpose') || '' }), 'empty: any'),
    field('At', h('input', { name: 'at', placeholder: 'any time from now on', value: query.get('at') || '' }))],
  'Search every way', query, ['to'], async (q) => {
    const r = await get('policy/reach', q);
    const what = q.dataset || `data with ${q.label}`;
    const title = r.beginsThere ? `${what} has its home in ${q.to}: nothing has to move`
      : r.reaches ? `${what} can get to ${q.to} in ${r.path.length} ${r.path.length === 1 ? 'step' : 'steps'}` : `${what} can never get to ${q.to}`;
    return h('div', { class: `verdict is-${r.reaches ? 'late' : 'current'}` }, h('h3', {}, state(r.reaches ? 'yes' : 'no', r.reaches ? 'failed' : 'done'), ' ', title),
      r.beginsThere ? null : h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'The way, or what cuts it off' }, reachPicture(r, q.to, title)),
      r.cut.length > 0 ? h('ul', {}, r.cut.map((x) => h('li', {}, `${x.rule || 'No rule'} ${x.reason === 'FORBIDDEN' ? 'forbids' : x.reason === 'NO_PERMIT' ? 'permits' : 'stops'} ${x.what}, for ${x.pairs} ${x.pairs === 1 ? 'pair' : 'pairs'} of sites; keeps it out of ${x.keepsOutOf.join(', ')}.`))) : null,
      r.relabelRuled ? null : h('p', { class: 'quiet' }, 'No rule names relabel: whoever signs the law may change what data is, and this answer is about these labels.'),
      h('p', { class: 'quiet' }, `${r.sites} sites in ${r.siteClasses} classes that the law tells apart; ${r.sitesInRegion} of them in ${q.to}.`));
  });
}

// ------------------------------------------------------------------------------------------------- draft
const verdictWords = (v) => h('span', {}, state(v.permitted ? 'permitted' : 'denied', v.permitted ? 'permit' : 'forbid'), ' ',
  v.permitted ? ['by ', h('code', {}, v.rule), v.obligations ? ` (${v.obligations})` : ''] : v.reason === 'FORBIDDEN' ? [h('code', {}, v.rule), ` forbids ${v.action}`]
    : v.reason === 'NO_PERMIT' ? `no rule permits ${v.action}` : [v.rule ? h('code', {}, v.rule) : 'the law', ` cannot be evaluated for ${v.action}`]);

function difference(d) {
  const evictions = d.impact?.evictions || [], stops = d.impact?.transfersThatStop || [];
  return [h('h2', {}, 'Decisions that change'),
    table('For data that is declared', ['Data', 'From → to', { title: 'Pairs', right: true }, 'Now', 'By the draft'],
      d.decisions.map((x) => [x.datasets.join(', ') + (x.purpose ? ` for ${x.purpose}` : ''), `${x.fromRegions.join(', ')} → ${x.toRegions.join(', ')}`, x.pairs, verdictWords(x.before), verdictWords(x.after)]),
      'No decision changes for the data and sites that are declared.'),
    h('h2', {}, 'What that does to what exists'),
    evictions.length === 0 && stops.length === 0 ? h('p', { class: 'empty good' }, 'No copy becomes unlawful, no transfer stops.') : null,
    evictions.length === 0 ? null : h('p', { class: 'notice bad' }, `${evictions.length} ${evictions.length === 1 ? 'copy becomes' : 'copies become'} unlawful and would be fenced and erased (${bytes(d.impact.bytes)}).`,
      d.impact.lastCopies ? ` ${d.impact.lastCopies} of them the last of some version.` : '', d.impact.held ? ` ${d.impact.held} under a hold: fenced, not erased.` : ''),
    evictions.length === 0 ? null : table('Copies that would have to go', ['Dataset', 'Site', { title: 'Size', right: true }, 'Why', 'Note'],
      evictions.map((e) => [e.dataset, e.site, bytes(e.bytes), e.rule ? h('code', {}, e.rule) : 'no rule permits reside', [e.lastCopy && 'the last copy', e.held && 'held'].filter(Boolean).join(', ')]), ''),
    stops.length === 0 ? null : table('Transfers that would stop', ['Dataset', 'From → to', 'Why'], stops.map((t) => [`${t.dataset} version ${t.version}`, `${t.source} → ${t.destination}`, t.sentence]), ''),
    h('p', { class: 'quiet' }, 'The console changes no law: policy keys sign on your machine. When this is what you want: ', h('code', {}, `bailiwick apply -f FILE --expect-evictions ${evictions.length}`))];
}

async function draft(box, query) {
  const { resources } = await get('resources', { kind: 'SovereigntyPolicy' });
  const names = resources.map((r) => r.metadata.name);
  const text = h('textarea', { name: 'draft', rows: '18', spellcheck: 'false', 'aria-label': 'Draft, as YAML', placeholder: 'Paste resources as YAML, or begin with a policy that is in force.' });
  const select = h('select', {}, options(names, query.get('name'), 'an empty page'));
  const out = h('div', { 'aria-live': 'polite' });
  const load = async () => {
    text.value = select.value ? (await get('policy/yaml', { name: select.value })).yaml : '';
    replace(out, '');
  };
  select.addEventListener('change', () => load().catch((error) => replace(out, failure(error))));
  const compare = async (event) => {
    event?.preventDefault();
    replace(out, h('p', { class: 'empty' }, 'Comparing with the law in force and what exists'));
    try {
      replace(out, difference(await post('policy/diff', {}, text.value)));
    } catch (error) {
      replace(out, failure(error));
      const line = Number((error.message.match(/draft:(\d+)/) || [])[1]);
      if (line) {
        const before = text.value.split('\n').slice(0, line - 1).join('\n').length + (line > 1 ? 1 : 0);
        text.focus();
        text.setSelectionRange(before, before + (text.value.split('\n')[line - 1] || '').length);
      }
    }
  };
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) compare(event);
  });
  replace(box, h('form', { class: 'ask', onsubmit: compare }, field('Begin with', select), text,
    h('div', { class: 'actions' }, h('small', {}, 'Ctrl-Enter'), h('button', { class: 'primary', type: 'submit' }, 'Compare with the law in force'))), out);
  if (select.value) await load();
}

async function signed(box) {
  const { policies } = await get('policy/history');
  replace(box, table('Revisions of the signed law, newest first', [{ title: 'Revision' }, 'Signed', 'By', { title: 'Signatures', right: true }, 'Changed', 'SHA-256'],
    policies.map((p) => [p.revision, when(p.issuedAt), h('span', { title: p.by }, p.by.split('/').pop()), p.signedKeyIds.length, p.summary || 'keys of agents', h('code', { title: p.sha256 }, p.sha256.slice(0, 12))]),
    'No law was applied yet.'));
}

export function open(main, world, path, query) {
  const tab = TABS[path[0]] ? path[0] : 'rules';
  const box = h('div', {}, h('p', { class: 'empty' }, 'Asking the coordinator'));
  main.append(h('div', { class: 'titled' }, h('h1', {}, 'Policy'), h('nav', { 'aria-label': 'Policy', class: 'tabs' },
    h('ul', {}, Object.entries(TABS).map(([name, title]) => h('li', {}, h('a', { href: `#/policy/${name}`, 'aria-current': name === tab ? 'page' : null }, title)))))), box);
  ({ rules, explain, reach, draft, history: signed })[tab](box, query).catch((error) => replace(box, failure(error)));
  return {};
}
