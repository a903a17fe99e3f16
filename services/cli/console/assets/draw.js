// Pictures as SVG: where sites lie and how they hang together, and how data could move. Pure: values in, elements out.
import { s } from './dom.js';

const CARD = 58, GAP = 16, PAD = 16, HEAD = 30, MOST = 12;
const WIDEST = 1120;

const textWidth = (text, size) => text.length * size * 0.6;

// ---------------------------------------------------------------------------------------------------- the fleet
function tree(sites) {
  const root = { name: '', children: new Map(), sites: [] };
  for (const site of sites) {
    let at = root;
    let path = '';
    for (const part of (site.region || 'nowhere').split('/')) {
      path = path ? `${path}/${part}` : part;
      if (!at.children.has(part)) at.children.set(part, { name: path, children: new Map(), sites: [] });
      at = at.children.get(part);
    }
    at.sites.push(site);
  }
  return root;
}

// Boxes from left to right, in rows no wider than `limit`. Sets x and y of each; gives the size of all.
function flow(boxes, limit, gap) {
  let x = 0, y = 0, row = 0, width = 0;
  for (const box of boxes) {
    if (x > 0 && x + box.width > limit) {
      x = 0;
      y += row + gap;
      row = 0;
    }
    [box.x, box.y] = [x, y];
    x += box.width + gap;
    row = Math.max(row, box.height);
    width = Math.max(width, x - gap);
  }
  return { width, height: y + row };
}

function measure(region, cardWidth, limit) {
  // Where not all can be shown, those that somebody should look at come first; else each keeps its place.
  const sorted = [...region.sites].sort((a, b) => (a.kind === 'current') - (b.kind === 'current'));
  const shown = region.sites.length > MOST ? sorted.slice(0, MOST - 1) : region.sites;
  const cards = shown.map((site) => ({ site, width: cardWidth, height: CARD }));
  if (shown.length < region.sites.length) {
    cards.push({ more: region.sites.length - shown.length, width: cardWidth, height: CARD });
  }
  const inner = [...region.children.values()].map((child) => measure(child, cardWidth, limit - 2 * PAD));
  const boxes = [...cards, ...inner];
  const size = flow(boxes, Math.max(limit - 2 * PAD, cardWidth), GAP);
  return {
    name: region.name, boxes, width: Math.max(size.width + 2 * PAD, textWidth(region.name, 13) + 2 * PAD),
    height: size.height + HEAD + PAD,
  };
}

function place(box, x, y, out) {
  [box.left, box.top] = [x + box.x, y + box.y];
  if (box.site || box.more) {
    out.cards.push(box);
    return;
  }
  out.regions.push(box);
  for (const inner of box.boxes) place(inner, box.left + PAD, box.top + HEAD, out);
}

const middle = (card) => [card.left + card.width / 2, card.top + card.height / 2];

// Links end at the sides that look at each other; those of one side stand apart, in the order of where they come from.
function route(links, by) {
  const sides = new Map();
  const ways = links.map((link) => {
    const [a, b] = [by.get(link.from), by.get(link.to)];
    const [[ax, ay], [bx, yb]] = [middle(a), middle(b)];
    const across = Math.abs(bx - ax) > a.width;
    const sign = across ? Math.sign(bx - ax) : Math.sign(yb - ay) || 1;
    const way = { link, a, b, across, sign, shift: [0, 0] };
    [[link.from, sign, across ? yb : bx], [link.to, -sign, across ? ay : ax]].forEach(([name, side, order], end) => {
      const key = JSON.stringify([name, across, side]);
      if (!sides.has(key)) sides.set(key, []);
      sides.get(key).push({ way, end, order });
    });
    return way;
  });
  for (const ends of sides.values()) {
    ends.sort((x, y) => x.order - y.order);
    const apart = Math.min(16, (CARD - 14) / ends.length);
    ends.forEach(({ way, end }, i) => { way.shift[end] = (i - (ends.length - 1) / 2) * apart; });
  }
  return ways;
}

function curve({ a, b, across, sign, shift }) {
  const [[ax, ay], [bx, by]] = [middle(a), middle(b)];
  if (across) {
    const [x1, x2] = [ax + sign * a.width / 2, bx - sign * (b.width / 2 + 7)];
    const [y1, y2] = [ay + shift[0], by + shift[1]];
    const bend = Math.max(30, Math.abs(x2 - x1) / 2);
    return `M${x1} ${y1}C${x1 + sign * bend} ${y1} ${x2 - sign * bend} ${y2} ${x2} ${y2}`;
  }
  const [y1, y2] = [ay + sign * a.height / 2, by - sign * (b.height / 2 + 7)];
  const [x1, x2] = [ax + shift[0], bx + shift[1]];
  const bend = Math.max(20, Math.abs(y2 - y1) / 2);
  return `M${x1} ${y1}C${x1} ${y1 + sign * bend} ${x2} ${y2 - sign * bend} ${x2} ${y2}`;
}

const arrow = (kind) =>
  s('marker', { id: `arrow-${kind}`, viewBox: '0 0 8 8', refX: 6, refY: 4, markerWidth: 12, markerHeight: 12, markerUnits: 'userSpaceOnUse', orient: 'auto-start-reverse' },
    s('path', { d: 'M0 0L8 4L0 8z', class: `tip is-${kind}` }));

function card(box) {
  if (box.more) {
    return s('g', { class: 'card more' }, s('rect', { x: box.left, y: box.top, width: box.width, height: box.height, rx: 8 }),
      s('text', { x: box.left + 14, y: box.top + 34, class: 'small' }, `and ${box.more} more, below`));
  }
  const { site } = box;
  return s('a', { href: `#/datasets?site=${encodeURIComponent(site.name)}`, class: `card is-${site.kind}`, 'data-key': `site-${site.name}`,
    'aria-label': `site ${site.name} in ${site.region}: ${site.word}, ${site.detail}` },
  s('rect', { x: box.left, y: box.top, width: box.width, height: box.height, rx: 8, class: 'body' }),
  s('rect', { x: box.left, y: box.top + 12, width: 3, height: box.height - 24, rx: 1.5, class: 'edge' }),
  s('text', { x: box.left + 14, y: box.top + 24, class: 'name' }, site.name),
  s('text', { x: box.left + 14, y: box.top + 43, class: 'small' }, `${site.word} · ${site.detail}`));
}

// sites: {name, region, kind, word, detail}, in the order in which they are to be drawn; links: {from, to, kind, text, moving}.
export function fleetPicture(sites, links, label) {
  const widest = Math.max(...sites.map((site) => Math.max(textWidth(site.name, 14), textWidth(`${site.word} · ${site.detail}`, 11.5))), 110);
  const cardWidth = Math.min(Math.ceil(widest) + 30, 300);
  const tops = [...tree(sites).children.values()].map((region) => measure(region, cardWidth, Math.max(cardWidth * 2 + 5 * PAD + GAP, 640)));
  const size = flow(tops, WIDEST, 72);
  const out = { regions: [], cards: [] };
  for (const top of tops) place(top, 1, 1, out);
  const by = new Map(out.cards.filter((c) => c.site).map((c) => [c.site.name, c]));
  const kinds = [...new Set(links.map((l) => l.kind))];
  const drawn = links.filter((l) => by.has(l.from) && by.has(l.to));
  return s('svg', { class: 'picture', viewBox: `0 0 ${Math.max(size.width + 2, 480)} ${size.height + 2}`, role: 'group', 'aria-label': label },
    s('defs', {}, kinds.map(arrow)),
    out.regions.map((r) => s('g', { class: 'region' },
      s('rect', { x: r.left, y: r.top, width: r.width, height: r.height, rx: 12 }),
      s('text', { x: r.left + PAD, y: r.top + 20 }, r.name))),
    route(drawn, by).map(({ link: l, ...way }) => s('path', { d: curve(way), class: `link is-${l.kind}${l.cut ? ' cut' : ''}${l.moving ? ' moving' : ''}`, 'marker-end': `url(#arrow-${l.kind})` },
      s('title', {}, l.text))),
    out.cards.map(card));
}

// ---------------------------------------------------------------------------------------------------- reach
function node(x, y, width, title, detail, kind) {
  return s('g', { class: `card is-${kind}` }, s('rect', { x, y, width, height: CARD, rx: 8, class: 'body' }),
    s('text', { x: x + 14, y: y + 24, class: 'name' }, title), s('text', { x: x + 14, y: y + 43, class: 'small' }, detail));
}

const wideAs = (...texts) => Math.max(130, ...texts.map((t) => textWidth(t, 14) + 28));

// Steps of a way: {kind, from, fromRegion, to, toRegion, labels, rules}. One below the other, what allows each beside it.
function way(path) {
  const stops = [{ title: path[0].from, detail: path[0].fromRegion }];
  for (const step of path) {
    const labels = Object.entries(step.labels).map(([k, v]) => `${k}=${v}`).join(',');
    stops.push(step.kind === 'relabel' ? { title: step.from, detail: labels } : { title: step.to, detail: step.toRegion });
  }
  const width = wideAs(...stops.flatMap((stop) => [stop.title, stop.detail]));
  const high = CARD + 64;
  const parts = [];
  let right = width;
  stops.forEach((stop, i) => {
    parts.push(node(1, 1 + i * high, width, stop.title, stop.detail, i === 0 ? 'current' : 'late'));
    if (i === path.length) return;
    const y = 1 + i * high + CARD;
    parts.push(s('path', { d: `M${width / 2} ${y}V${y + 56}`, class: 'link is-late', 'marker-end': 'url(#arrow-late)' }));
    const lines = [path[i].kind === 'relabel' ? 'is relabelled' : `copy${path[i].purpose ? ` for ${path[i].purpose}` : ''}`, path[i].rules.join(', ')];
    lines.forEach((line, k) => {
      parts.push(s('text', { x: width / 2 + 16, y: y + 27 + k * 16, class: k === 0 ? 'small strong' : 'small' }, line));
      right = Math.max(right, width / 2 + 20 + textWidth(line, 11.5));
    });
  });
  return { parts, width: right, height: stops.length * high - 64 };
}

// What cuts the target off: {what, reason, rule, pairs, from, to, keepsOutOf}. One row each: there, the bar, not here.
function barriers(cuts, target) {
  const parts = [];
  let right = 0;
  cuts.forEach((cut, i) => {
    const y = 1 + i * (CARD + 40);
    const [from, to] = [cut.from.replace(/ \(.*/, ''), cut.to.replace(/ \(.*/, '')];
    const [fromRegion, toRegion] = [cut.from, cut.to].map((t) => (t.match(/\((.*)\)/) || ['', ''])[1]);
    const width = wideAs(from, fromRegion), far = wideAs(to, toRegion);
    const why = cut.what === 'hops' ? 'its bound on hops' : cut.reason === 'NO_PERMIT' ? `no rule permits ${cut.what}` : cut.reason === 'FORBIDDEN' ? `${cut.rule} forbids ${cut.what}` : `${cut.rule} cannot be evaluated`;
    const room = textWidth(why, 12) + 70;
    const x = 1 + width, bar = x + room / 2;
    parts.push(node(1, y, width, from, fromRegion, 'current'),
      s('path', { d: `M${x} ${y + CARD / 2}H${bar - 3}`, class: 'link is-denied', 'marker-end': 'url(#arrow-denied)' }),
      s('path', { d: `M${bar + 4} ${y + 6}V${y + CARD - 6}`, class: 'wall' }),
      s('path', { d: `M${bar + 12} ${y + CARD / 2}H${x + room - 4}`, class: 'link is-offline' }),
      s('text', { x: bar, y: y + CARD + 15, class: 'small', 'text-anchor': 'middle' }, `${why} · ${cut.pairs} ${cut.pairs === 1 ? 'pair' : 'pairs'} of sites`),
      node(x + room, y, far, to, toRegion, 'offline'));
    right = Math.max(right, x + room + far);
  });
  if (cuts.length === 0) {
    const width = wideAs(target);
    parts.push(node(1, 1, width, target, 'no site lies there', 'offline'));
    right = width;
  }
  return { parts, width: right, height: Math.max(cuts.length, 1) * (CARD + 40) - 16 };
}

export function reachPicture(reach, target, label) {
  const drawing = reach.reaches && reach.path.length > 0 ? way(reach.path) : barriers(reach.cut, target);
  return s('svg', { class: 'picture natural', viewBox: `0 0 ${drawing.width + 2} ${drawing.height + 2}`, width: drawing.width + 2, height: drawing.height + 2, role: 'img', 'aria-label': label },
    s('defs', {}, ['late', 'denied'].map(arrow)), drawing.parts);
}
