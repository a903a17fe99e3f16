// The frame: which page is shown, what the console tells by itself, and what is wrong with the connection.
import * as audit from './audit.js';
import * as datasets from './datasets.js';
import { get, h, replace } from './dom.js';
import * as erasure from './erasure.js';
import * as fleet from './fleet.js';
import * as policy from './policy.js';
import * as transfers from './transfers.js';

const PAGES = { fleet, datasets, transfers, policy, erasure, audit };

// What the coordinator said last; null: nothing yet.
export const world = { status: null, replicas: null, transfers: null, events: null };
let page = null;   // { update(topic) } of the page that is shown
let away = '';

const $ = (id) => document.getElementById(id);

function words() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  return { path: path.split('/').map(decodeURIComponent), query: new URLSearchParams(query || '') };
}

function show() {
  if (location.hash === '#main') return;
  const { path, query } = words();
  const name = PAGES[path[0]] ? path[0] : 'fleet';
  for (const a of document.querySelectorAll('#nav a')) {
    if (a.getAttribute('href') === `#/${name}`) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const root = h('div', { class: `page page-${name}` });
  $('main').replaceChildren(root);
  page = PAGES[name].open(root, world, path.slice(1), query) || {};
  document.title = `${root.querySelector('h1')?.textContent || 'Bailiwick'} · Bailiwick`;
}

function connection(word, kind) {
  const live = $('live');
  live.className = `live is-${kind}`;
  live.lastElementChild.textContent = word;
}

function sayAway(message) {
  if (away === message) return;
  away = message;
  const box = $('away');
  box.hidden = message === '';
  if (message !== '') replace(box, h('strong', {}, 'The coordinator is away. '), h('span', {}, message), h('span', {}, ' What is shown is from before; this page goes on asking.'));
}

function listen() {
  let source = null;
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (source) return;
    source = new EventSource('api/live');
    for (const topic of ['status', 'replicas', 'transfers', 'events']) {
      source.addEventListener(topic, (event) => {
        world[topic] = JSON.parse(event.data);
        page?.update?.(topic);
      });
    }
    source.addEventListener('away', (event) => {
      const { message } = JSON.parse(event.data);
      sayAway(message);
      connection(message ? 'coordinator away' : 'live', message ? 'late' : 'ok');
    });
    source.onerror = () => {
      connection('console gone', 'late');
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(open, 2000);
      }
    };
  };
  // A browser has few connections for one host: a page that nobody looks at gives its own back.
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
  open();
}

window.addEventListener('hashchange', () => {
  show();
  if (location.hash !== '#main') {
    $('main').focus({ preventScroll: true });
    scrollTo(0, 0);
  }
});

// g, then the first letter of a page; "/" goes to the first field.
let pending = false;
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  if (pending) {
    const name = Object.keys(PAGES).find((p) => p[0] === event.key);
    if (name) location.hash = `#/${name}`;
    pending = false;
  } else if (event.key === 'g') {
    pending = true;
    setTimeout(() => { pending = false; }, 1500);
  } else if (event.key === '/') {
    const first = $('main').querySelector('input, select, textarea');
    if (first) {
      event.preventDefault();
      first.focus();
    }
  }
});

get('whoami').then((me) => {
  const name = me.identity.split('/').pop();
  replace($('who'), h('span', { title: `${me.identity}, until ${me.certificateExpires}` }, name),
    h('small', {}, me.bound ? me.roles.join(', ') || 'no role' : 'every role'));
}).catch(() => {});
show();
listen();
