// Elements, words for numbers, and how to ask the console. Text is always set as text: nothing that comes from
// elsewhere is ever markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}
export const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
export const s = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

async function answer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    throw new Failure('refused', response.status === 401
      ? 'This browser has no session any more. Open the link that bailiwick console printed last.'
      : `The console answered ${response.status} ${response.statusText}.`);
  }
  if (body.error) throw new Failure(body.error.code, body.error.message);
  return body;
}

function address(route, query) {
  const parameters = new URLSearchParams();
  for (const [key, value] of Object.entries(query || {})) {
    if (value !== '' && value !== null && value !== undefined) parameters.set(key, value);
  }
  const text = parameters.toString();
  return `api/${route}${text ? `?${text}` : ''}`;
}

const gone = () => {
  throw new Failure('gone', 'The console does not answer: was bailiwick console ended?');
};
export const get = (route, query) => fetch(address(route, query)).catch(gone).then(answer);
export const post = (route, query, body = '') =>
  fetch(address(route, query), { method: 'POST', body, headers: { 'X-Bailiwick': 'console', 'Content-Type': 'text/plain' } })
    .catch(gone).then(answer);
export const link = address;

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  let value = n;
  while (value >= 1024 && i + 1 < units.length) {
    value /= 1024;
    ++i;
  }
  return i === 0 ? `${n} B` : `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[i]}`;
}

export function span(seconds) {
  const at = Math.max(0, Math.round(seconds));
  if (at < 60) return `${at}s`;
  if (at < 3600) return `${Math.floor(at / 60)}m${String(at % 60).padStart(2, '0')}s`;
  if (at < 86400) return `${Math.floor(at / 3600)}h${String(Math.floor((at % 3600) / 60)).padStart(2, '0')}m`;
  return `${Math.floor(at / 86400)}d${Math.floor((at % 86400) / 3600)}h`;
}

export const ago = (text) => (text ? `${span((Date.now() - Date.parse(text)) / 1000)} ago` : '');
// The time as it was told, in UTC, with the age for a look.
export const when = (text) => (text ? h('time', { datetime: text, title: text }, text.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC')) : '');
export const number = (n) => Number(n).toLocaleString('en');
export const count = (n, word) => `${number(n)} ${Number(n) === 1 ? word : `${word.replace(/([^aeiou])y$/, '$1ie')}s`}`;
// What stands between backticks is a name of the language.
export const marked = (text) => text.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

// One word of state with its sign: never by colour alone.
const SIGNS = {
  current: '✓', home: '⌂', behind: '↓', transferring: '⇣', denied: '⊘', blocked: '!', empty: '∅', offline: '○', unwanted: '·',
  fenced: '▣', erasing: '▣', unconfirmed: '?', connected: '●', done: '✓', failed: '!', running: '⇣', starting: '⇣', late: '!',
  permit: '✓', forbid: '⊘', true: '✓', tampered: '!', incomplete: '?', unwitnessed: '?', 'not joined': '∅',
};
export const state = (word, kind = word) =>
  h('span', { class: `state is-${kind.replace(/ /g, '-')}` }, h('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[kind] || '·'), word);

export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'empty' }, empty);
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', { class: 'quiet' }, caption),
      h('thead', {}, h('tr', {}, columns.map((c) => h('th', { scope: 'col', class: c.right ? 'right' : null }, c.title ?? c)))),
      h('tbody', {}, rows.map((row) => h('tr', row.attributes || {},
        (row.cells || row).map((cell, i) => h(i === 0 ? 'th' : 'td', { scope: i === 0 ? 'row' : null, class: columns[i]?.right ? 'right' : null }, cell)))))));
}

export const failure = (error) =>
  h('div', { class: 'problem', role: 'alert' }, h('strong', {}, error.code === 'denied' ? 'You may not do this. ' : 'That did not work. '),
    h('span', { class: 'pre' }, error.message));

export const field = (label, control, hint) =>
  h('label', { class: 'field' }, h('span', {}, label), control, hint ? h('small', {}, hint) : null);

export function options(names, chosen, first) {
  return [first === undefined ? null : h('option', { value: '' }, first),
    names.map((name) => h('option', { value: name, selected: name === chosen }, name))];
}

// Puts new children in place of old ones only where the text of the page differs, and keeps the focus.
export function replace(parent, ...children) {
  const focused = document.activeElement;
  const key = focused && parent.contains(focused) ? focused.getAttribute('data-key') : null;
  const scrolled = [...parent.querySelectorAll('.scroll')].map((e) => [e.scrollLeft, e.scrollTop]);
  const next = h(parent.tagName, {}, ...children);
  if (next.innerHTML === parent.innerHTML) return;
  parent.replaceChildren(...next.childNodes);
  [...parent.querySelectorAll('.scroll')].forEach((e, i) => {
    if (scrolled[i]) [e.scrollLeft, e.scrollTop] = scrolled[i];
  });
  if (key) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}
