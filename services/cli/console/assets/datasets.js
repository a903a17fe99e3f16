// Datasets: what is where, in which version; one dataset's history; why a copy is not there; rollback.
import { bytes, count, failure, field, get, h, marked, number, options, post, replace, span, state, table, when } from './dom.js';
import { holdsOf } from './erasure.js';
import { copiesOf, judge, lagOf } from './fleet.js';

const at = (name, site) => `#/datasets/${encodeURIComponent(name)}${site ? `?site=${encodeURIComponent(site)}` : ''}`;

// ------------------------------------------------------------------------------------------------- all of them
function cell(r) {
  if (!r) return h('td', { class: 'none' }, h('span', { 'aria-label': 'not wanted there' }, '·'));
  const { kind, word } = judge(r);
  const version = r.role === 'home' ? `${r.newest || 'none'}` : `${r.version || 0}/${r.newest}`;
  const pinned = r.pinned ? `, shows ${r.current}` : '';
  return h('td', { class: `cell is-${kind}` }, h('a', { href: at(r.dataset, r.site), 'data-key': `cell-${r.dataset}-${r.site}`, 'aria-label': `${r.dataset} at ${r.site}: ${r.role === 'home' ? 'home' : word}, version ${version}${pinned}` },
    state(r.role === 'home' && kind === 'current' ? 'home' : word, r.role === 'home' && kind === 'current' ? 'home' : kind), h('small', {}, r.role === 'home' ? `version ${version}` : version + pinned,
      lagOf(r) ? ` · ${span(lagOf(r))} behind` : '')));
}

function matrix(world, site, filter) {
  const sites = [...world.status.sites].sort((a, b) => a.region.localeCompare(b.region) || a.name.localeCompare(b.name)).filter((s) => !site || s.name === site);
  const by = new Map(world.replicas.replicas.map((r) => [`${r.dataset}\n${r.site}`, r]));
  const datasets = world.status.datasets.filter((d) => d.name.includes(filter) && (!site || by.has(`${d.name}\n${site}`)));
  if (world.status.datasets.length === 0) return h('p', { class: 'empty' }, 'No dataset is declared yet. Declare one with ', h('code', {}, 'bailiwick apply -f FILE'), ', then make its first version with ', h('code', {}, 'bailiwick dataset commit NAME'), '.');
  if (datasets.length === 0) return h('p', { class: 'empty' }, site ? `No dataset that matches is wanted at ${site}.` : `No dataset has “${filter}” in its name.`);
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Datasets by site' }, h('table', { class: 'matrix' },
    h('caption', { class: 'quiet' }, 'What each site holds of each dataset: versions there of the newest, and the state'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Dataset'), sites.map((s) => h('th', { scope: 'col' }, s.name, h('small', {}, s.region, s.connected ? '' : ' · offline'))))),
    h('tbody', {}, datasets.map((d) => h('tr', {}, h('th', { scope: 'row' }, h('a', { href: at(d.name), 'data-key': `row-${d.name}` }, d.name), h('small', {}, `${count(d.files, 'file')}, ${bytes(d.logicalBytes)}`), d.problem ? h('em', { class: 'bad' }, d.problem) : null),
      sites.map((s) => cell(by.get(`${d.name}\n${s.name}`))))))));
}

function list(main, world, query) {
  const input = h('input', { type: 'search', placeholder: 'part of a name', 'aria-label': 'Find datasets' });
  const select = h('select', { 'aria-label': 'Site' });
  const box = h('div');
  let known = '';
  let site = query.get('site') || '';
  main.append(h('div', { class: 'titled' }, h('h1', {}, 'Datasets'), h('div', { class: 'tools' }, input, select)), box);
  const update = () => {
    if (!world.status || !world.replicas) {
      replace(box, h('p', { class: 'empty' }, 'Asking the coordinator'));
      return;
    }
    const names = world.status.sites.map((s) => s.name);
    if (names.join('\n') !== known) {
      known = names.join('\n');
      select.replaceChildren(...options(names, site, 'every site').flat());
      select.value = site;
    }
    replace(box, matrix(world, site, input.value));
  };
  input.addEventListener('input', update);
  select.addEventListener('change', () => {
    site = select.value;
    update();
  });
  update();
  return { update };
}

// ------------------------------------------------------------------------------------------------- why not there
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function rulesTable(action) {
  return table(`Every rule, asked about ${action.action}`, ['Rule', 'Effect', 'Result', 'Because'],
    action.rules.map((r) => [h('code', {}, r.rule), state(r.effect), r.error ? h('strong', { class: 'bad' }, 'cannot be evaluated') : r.applies ? h('strong', {}, 'applies') : 'does not apply', r.failing || '']), 'The law has no rules: nothing is permitted.');
}

// The answer of policy explain, in words, with what would change it.
export function explanation(e) {
  const against = e.actions.find((a) => !a.permitted);
  return h('div', { class: `verdict is-${e.permitted ? 'current' : 'denied'}` },
    h('h3', {}, state(e.permitted ? 'permitted' : 'denied', e.permitted ? 'permit' : 'forbid'), ` A copy of ${e.dataset} ${e.permitted ? 'may' : 'may not'} go from ${e.from} to ${e.to}`),
    h('p', {}, capital((against || e.actions[0])?.sentence || ''), '.'),
    e.actions.filter((a) => a.permitted && a.obligations).map((a) => h('p', {}, `With the obligation for ${a.action}: ${a.obligations}.`)),
    against?.remedy ? [h('h4', {}, 'What would allow it'), h('p', {}, marked(capital(against.remedy)), '.')] : null,
    h('p', { class: 'quiet' }, `By the signed law, revision ${e.policyRevision}, evaluated on this machine. `,
      e.permitted ? '' : [h('a', { href: `#/policy/draft${against?.rule ? `?name=${encodeURIComponent(against.rule.split('/')[0])}` : ''}` }, 'Try a change in a draft'), ': it shows what else would move.']),
    h('details', {}, h('summary', {}, 'Every rule'), e.actions.map(rulesTable)));
}

async function whyNot(box, dataset, home, site) {
  replace(box, h('p', { class: 'empty' }, 'Asking why'));
  try {
    const why = await get('why', { dataset, site });
    const parts = [h('h2', {}, `${dataset} at ${site}`)];
    if (why.code === 'denied') {
      parts.push(h('p', { class: 'lead' }, 'The law keeps it out. Nothing is broken and nothing was sent: the sending and the receiving site each check this themselves.'));
      try {
        parts.push(explanation(await get('policy/explain', { dataset, from: home, to: site })));
      } catch (error) {
        parts.push(h('p', {}, capital(why.sentence), '.'), failure(error));
      }
    } else {
      parts.push(h('p', { class: 'lead' }, state(why.satisfied ? 'current' : why.code, why.satisfied ? 'current' : 'behind'), ' ', capital(why.sentence), '.'));
    }
    if (why.rpoBreached) parts.push(h('p', { class: 'bad' }, `Missing for ${span(why.lagSeconds)}, over the RPO of ${span(why.rpoSeconds)}.`));
    parts.push(h('p', { class: 'quiet' }, 'The same on the command line: ', h('code', {}, `bailiwick why ${dataset} ${site}`)));
    replace(box, h('section', { class: 'panel', 'aria-label': `Why, of ${dataset} at ${site}` }, parts));
  } catch (error) {
    replace(box, failure(error));
  }
}

// ------------------------------------------------------------------------------------------------- rollback
function rollbackDialog(dataset, version, newest, sites, said) {
  const every = 'every replica';
  const select = h('select', { name: 'site' }, options(sites, '', every));
  const go = h('button', { type: 'submit', class: 'primary' });
  const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
  const trouble = h('div');
  const what = version === 0 ? 'follow the newest version' : `show version ${version}`;
  const label = () => { go.textContent = `${capital(what)} at ${select.value || every}`; };
  select.addEventListener('change', label);
  label();
  const form = h('form', { onsubmit: async (event) => {
    event.preventDefault();
    go.disabled = true;
    go.textContent = 'Telling the sites';
    try {
      const done = await post('rollback', { dataset, number: version, site: select.value });
      const offline = done.offline.length ? ` Offline, will do so when back: ${done.offline.join(', ')}.` : '';
      said(done.sites.length ? `${dataset} ${version === 0 ? 'follows the newest version again' : `shows version ${version}`} at ${done.sites.join(', ')}.${offline}` : offline || `No replica of ${dataset} holds a version yet.`);
      dialog.close();
    } catch (error) {
      replace(trouble, failure(error));
      go.disabled = false;
      label();
    }
  } }, h('h2', { id: 'dialog-title' }, version === 0 ? `Follow the newest version of ${dataset}` : `Roll ${dataset} back to version ${version}`),
  h('p', {}, version === 0 ? 'Readers see the newest version again, and each new one as it arrives.'
    : `Readers see version ${version} instead of ${newest} from the next time they open it; files are switched all at once. Nothing is deleted, and newer versions go on arriving; they are not shown until you follow the newest again.`),
  field('Where', select), trouble, h('div', { class: 'actions' }, cancel, go));
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' }, form);
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  cancel.focus();
}

// ------------------------------------------------------------------------------------------------- one of them
function places(world, name) {
  const replicas = world.replicas.replicas.filter((r) => r.dataset === name);
  return table('Where it is wanted or lies', ['Site', 'State', { title: 'Versions', right: true }, 'Readers see', { title: 'Lag', right: true }, 'Why'],
    replicas.map((r) => {
      const { kind, word } = judge(r);
      const sees = r.role === 'home' ? 'the source' : r.current === 0 ? 'nothing yet' : `version ${r.current}${r.pinned ? ', rolled back' : ''}`;
      return [r.site, state(r.role === 'home' && kind === 'current' ? 'home' : word, r.role === 'home' && kind === 'current' ? 'home' : kind), r.role === 'home' ? r.newest : `${r.version}/${r.newest}`,
        r.pinned ? h('strong', {}, sees) : sees, lagOf(r) ? span(lagOf(r)) : 'none',
        r.role === 'home' ? '' : h('a', { href: at(name, r.site), 'data-key': `why-${r.site}`, 'aria-label': `Why, at ${r.site}` }, r.reason || 'Why?')];
    }), 'No ReplicationPolicy wants it anywhere, and no site holds it.');
}

function history(versions, replicas, roll) {
  const largest = Math.max(...versions.map((v) => v.logicalBytes), 1);
  const shown = new Map();
  for (const r of replicas) if (r.current) shown.set(r.current, [...(shown.get(r.current) || []), r.site]);
  return table('Versions, newest first', [{ title: 'Version' }, 'Committed', { title: 'Files', right: true }, { title: 'Size', right: true }, 'Held by', 'Message', 'Identity', ''],
    versions.map((v) => [v.number, when(v.committedAt), number(v.files),
      h('span', { class: 'size' }, bytes(v.logicalBytes), h('meter', { min: 0, max: largest, value: v.logicalBytes, 'aria-hidden': 'true' })),
      v.sites.length === 0 ? h('em', { class: 'bad' }, 'no site') : v.sites.map((site) => h('span', { class: `chip${shown.get(v.number)?.includes(site) ? ' on' : ''}`, title: shown.get(v.number)?.includes(site) ? 'shown to readers' : 'held' }, site, shown.get(v.number)?.includes(site) ? h('span', { class: 'unseen' }, ' (shown)') : null)),
      v.message || h('span', { class: 'quiet' }, 'none'), h('code', { title: v.identity }, v.identity.slice(0, 12)),
      h('button', { type: 'button', 'data-key': `roll-${v.number}`, 'data-roll': v.number, 'aria-label': `Roll back to version ${v.number}` }, 'Roll back')]),
    'No version yet: make one with bailiwick dataset commit.');
}

function copiesWord(replicas) {
  const { wanted, current } = copiesOf(replicas);
  if (wanted === 0) return 'No other site is to have a copy of it, or may.';
  if (wanted === 1) return `The one copy ${current === 1 ? 'holds the newest' : 'does not hold the newest yet'}.`;
  return `${number(current)} of ${number(wanted)} copies hold the newest.`;
}

function one(main, world, name, query) {
  const facts = h('p', { class: 'facts' }), where = h('div'), why = h('div'), past = h('div'), pins = h('div'), kept = h('div'), said = h('p', { role: 'status', class: 'said' });
  let versions = null, newest = null;
  main.append(h('p', { class: 'crumb' }, h('a', { href: '#/datasets' }, 'Datasets')), h('h1', {}, name), facts, why,
    h('section', { 'aria-labelledby': 'where' }, h('h2', { id: 'where' }, 'Where it is'), said, pins, kept, where),
    h('section', { 'aria-labelledby': 'history' }, h('h2', { id: 'history' }, 'History'), past));
  const replicas = () => (world.replicas?.replicas || []).filter((r) => r.dataset === name);
  const say = (text) => { said.textContent = text; };
  const sitesOf = () => replicas().filter((r) => r.role !== 'home' && r.version).map((r) => r.site);
  main.addEventListener('click', (event) => {
    const button = event.target.closest('[data-roll]');
    if (button) rollbackDialog(name, Number(button.dataset.roll), versions?.[0]?.number, sitesOf(), say);
  });
  const load = async () => {
    try {
      versions = (await get('versions', { dataset: name })).versions;
      replace(past, history(versions, replicas()));
      replace(kept, holdsOf((await get('holds', { dataset: name })).holds));
    } catch (error) {
      if (versions === null || error.code === 'not-found') replace(past, failure(error));
    }
  };
  const update = () => {
    if (!world.status || !world.replicas) return;
    const d = world.status.datasets.find((x) => x.name === name);
    if (!d) {
      replace(facts, 'There is no dataset of this name now.');
      return;
    }
    replace(facts, `Home at ${d.home}. ${d.newest ? `Version ${d.newest}: ${count(d.files, 'file')}, ${bytes(d.logicalBytes)}.` : 'No version yet.'} ${copiesWord(replicas())}`,
      d.problem ? h('strong', { class: 'bad' }, ` ${d.problem}`) : '');
    replace(where, places(world, name));
    const pinned = replicas().filter((r) => r.pinned);
    replace(pins, pinned.length === 0 ? '' : h('p', { class: 'notice' }, `Rolled back at ${pinned.map((r) => `${r.site} (shows ${r.current})`).join(', ')}. `,
      h('button', { type: 'button', 'data-roll': 0, 'data-key': 'roll-0' }, 'Follow the newest again')));
    const key = replicas().map((r) => `${r.site} ${r.versions.join(' ')} ${r.current}`).join('\n') + d.newest;
    if (key !== newest) {
      newest = key;
      load();
    }
    if (!asked && query.get('site')) {
      asked = true;
      whyNot(why, name, d.home, query.get('site'));
    }
  };
  let asked = false;
  update();
  return { update };
}

export const open = (main, world, path, query) => (path[0] ? one(main, world, path[0], query) : list(main, world, query));
