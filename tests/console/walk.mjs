// Walks the console as a person would, by mouse and by keyboard, and fails on the first thing that is not as it must be,
// on any error in the browser's console and on any violation of the page's security policy. test_console.py starts it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const { CONSOLE_LINK, BAILIWICK, FLEET, CHROMIUM, PROFILE, PICTURES, TOOLS, FORBID_MAPS, VIDEO } = process.env;
const { chromium } = createRequire(path.join(TOOLS, 'here.js'))('playwright-core');
const ROOT = CONSOLE_LINK.split('?')[0];
const PATIENCE = 30000;

const troubles = [];
let coordinatorIsAway = false;

function watch(page) {
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', (error) => troubles.push(`error: ${error.stack}`));
  page.on('console', (message) => {
    // The browser logs answers that are refusals; a page that asks while the coordinator is away gets some.
    const refusal = /Failed to load resource/.test(message.text());
    if (['error', 'warning'].includes(message.type()) && !(refusal && (coordinatorIsAway || message.text().includes('status of 400')))) {
      troubles.push(`${message.type()}: ${message.text()} at ${message.location().url}`);
    }
  });
}

function cli(words, input = '') {
  const done = spawnSync(BAILIWICK, words, { encoding: 'utf8', input });
  assert.equal(done.status, 0, done.stderr);
  return done.stdout;
}
const dev = (...words) => cli(['dev', ...words, '--dir', FLEET]);

async function step(what, body) {
  const began = Date.now();
  await body();
  assert.deepEqual(troubles, [], `in the step: ${what}`);
  console.log(`${what}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

const context = await chromium.launchPersistentContext(PROFILE, {
  executablePath: CHROMIUM, headless: true, viewport: { width: 1280, height: 860 }, colorScheme: 'light', acceptDownloads: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
let page = context.pages()[0] || await context.newPage();
watch(page);
const go = (hash) => page.evaluate((to) => { location.hash = to; }, hash);
const see = (text, where = page) => where.getByText(text).first().waitFor();

// Of the picture of the fleet: the classes of a link, by the words that it tells a pointer, and the colour that it has for the eye.
const link = (from, to) => page.evaluate((start) => {
  const drawn = [...document.querySelectorAll('.picture path.link')].find((path) => path.querySelector('title').textContent.startsWith(start));
  return drawn && { kinds: [...drawn.classList], says: drawn.querySelector('title').textContent, colour: getComputedStyle(drawn).stroke };
}, `${from} to ${to}: `);
const linkIs = async (from, to, kind, says) => {
  await page.waitForFunction(([start, wanted, words]) => [...document.querySelectorAll('.picture path.link')].some((path) =>
    path.querySelector('title').textContent.startsWith(start) && path.classList.contains(wanted) && path.querySelector('title').textContent.includes(words)),
  [`${from} to ${to}: `, `is-${kind}`, says]);
  return link(from, to);
};
const siteIs = (name, kind) => page.locator(`a.card.is-${kind}[data-key="site-${name}"]`).waitFor();
const picture = async (name) => {
  fs.mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
};
// WCAG 2: how much lighter one colour is than another, 1 to 21.
function contrast(...colours) {
  const light = colours.map((colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  });
  return (Math.max(...light) + 0.05) / (Math.min(...light) + 0.05);
}

try {
  await step('the link opens the fleet, and its token is gone from the address', async () => {
    await page.goto(CONSOLE_LINK);
    await page.waitForURL(`${ROOT}**`);
    await page.getByRole('heading', { name: 'Fleet', exact: true }).waitFor();
    assert.ok(!page.url().includes('token'), page.url());
    await page.getByRole('link', { name: /^site core in eu\/de: connected/ }).waitFor();
    await see('live');
    await page.getByRole('heading', { name: 'Kept out by law' }).waitFor();
    await page.getByRole('link', { name: '2 of 2 copies current' }).waitFor();
    await see('Nothing needs you: all 2 copies that are wanted and lawful are current.');
  });

  await step('the picture says by colour how each copy is', async () => {
    const current = await linkIs('factory', 'core', 'current', 'telemetry current');
    const denied = await linkIs('factory', 'cloud-us', 'denied', 'telemetry denied');
    assert.ok(denied.kinds.includes('cut') && !current.kinds.includes('cut'), `${denied.kinds} ${current.kinds}`);
    assert.notEqual(current.colour, denied.colour);
    for (const site of ['factory', 'core', 'cloud-us']) await siteIs(site, 'current');
  });

  await step('the matrix has the versions and the state of every copy', async () => {
    await go('#/datasets');
    const cells = page.getByRole('region', { name: 'Datasets by site' });
    for (const [name, kind, text] of [
      ['telemetry at factory: home, version 2', 'current', /home\s*version 2/], ['telemetry at core: current, version 2/2', 'current', /current\s*2\/2/],
      ['telemetry at cloud-us: denied, version 0/2', 'denied', /denied\s*0\/2/], ['maps at core: home, version 1', 'current', /home\s*version 1/],
      ['maps at factory: current, version 1/1', 'current', /current\s*1\/1/]]) {
      const cell = cells.getByRole('link', { name, exact: true });
      await cell.waitFor();
      assert.match(await cell.innerText(), text);
      assert.ok(await cell.evaluate((a, wanted) => a.closest('td').classList.contains(wanted), `is-${kind}`), name);
    }
    assert.equal(await cells.getByLabel('not wanted there').count(), 1, 'maps are not wanted at cloud-us');
  });

  await step('the history has sizes, and who holds and shows what', async () => {
    await go('#/datasets/telemetry');
    const versions = JSON.parse(cli(['dataset', 'versions', 'telemetry', '-o', 'json'])).versions;
    assert.deepEqual(versions.map((v) => v.number), [2, 1]);
    await page.getByRole('button', { name: 'Roll back to version 1' }).waitFor();
    const rows = await page.getByRole('region', { name: 'Versions, newest first' }).evaluate((region) =>
      [...region.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
    const held = [['core (shown)', 'factory'], ['core', 'factory']];
    for (const [i, v] of versions.entries()) {
      const [number, , files, size, , message, identity] = rows[i];
      assert.deepEqual([number, files, size, message, identity], [`${v.number}`, '30', `${(v.logicalBytes / 1024).toFixed(1)} KiB`, ['day shift', 'night shift'][i], v.identity.slice(0, 12)]);
    }
    assert.ok(versions[0].logicalBytes < versions[1].logicalBytes, 'the second is smaller, and drawn so');
    const chips = await page.evaluate(() => [...document.querySelectorAll('tbody tr')].filter((row) => row.querySelector('meter')).map((row) =>
      [[...row.querySelectorAll('.chip')].map((chip) => chip.textContent).sort(), row.querySelector('meter').value / row.querySelector('meter').max]));
    assert.deepEqual(chips.map(([sites]) => sites), held);
    assert.ok(chips[1][1] === 1 && chips[0][1] < 1, `${chips}`);
  });

  await step('a denied copy is explained', async () => {
    await go('#/fleet');
    await page.getByRole('link', { name: 'telemetry at cloud-us' }).first().click();
    await see('The law keeps it out');
    await see('Policy acme/eu-data-stays forbids transfer from factory (eu/de/fra) to cloud-us (us/east)');
    await page.getByRole('heading', { name: 'What would allow it' }).waitFor();
    await page.getByText('Every rule', { exact: true }).click();
    await see('destination us/east is not in eu');
  });

  await step('a rollback asks first, is done, and is seen', async () => {
    await page.getByRole('button', { name: 'Roll back to version 1' }).click();
    const dialog = page.getByRole('dialog');
    await see('Nothing is deleted', dialog);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await page.getByText('rolled back', { exact: false }).count(), 0, 'cancelled, and yet done');
    await page.getByRole('button', { name: 'Roll back to version 1' }).click();
    await dialog.getByLabel('Where').selectOption('core');
    await dialog.getByRole('button', { name: 'Show version 1 at core' }).click();
    await see('telemetry shows version 1 at core.');
    await page.getByRole('row', { name: /core.*version 1, rolled back/ }).waitFor();
    await page.getByRole('button', { name: 'Follow the newest again' }).click();
    await dialog.getByRole('button', { name: /^Follow the newest version/ }).click();
    await see('telemetry follows the newest version again at core.');
    await page.getByRole('row', { name: /core.*version 2/ }).waitFor();
  });

  await step('the rules are listed in words', async () => {
    await go('#/policy');
    const rules = page.getByRole('region', { name: 'Rules of acme' });
    await rules.getByRole('row', { name: /^telemetry-within-the-eu .*permit data whose class is telemetry from in eu to in eu transfer, reside, transit residency/ }).waitFor();
    await rules.getByRole('row', { name: /^eu-data-stays .*forbid from in eu to outside eu/ }).waitFor();
    await rules.getByRole('row', { name: /^no-pii-abroad .*forbid data whose pii is yes to outside eu/ }).waitFor();
    assert.equal(await rules.getByRole('row').count(), 4);
    await page.getByRole('region', { name: 'Rules of maps' }).getByRole('row', { name: /^maps-in-the-eu / }).waitFor();
  });

  await step('whether it may go there is asked by filling the form, by keyboard', async () => {
    await go('#/policy/explain');
    const field = (name) => page.getByRole('combobox', { name, exact: true });
    for (const [name, choice] of [['Dataset', 'telem'], ['From', 'factory'], ['To', 'cloud-us']]) {
      await field(name).focus();
      await page.keyboard.type(choice);
    }
    assert.deepEqual([await field('Dataset').inputValue(), await field('From').inputValue(), await field('To').inputValue()], ['telemetry', 'factory', 'cloud-us']);
    await page.keyboard.press('Tab');
    await page.keyboard.type('analysis');
    await page.keyboard.press('Enter');
    await see('A copy of telemetry may not go from factory to cloud-us');
    await page.waitForURL(/#\/policy\/explain\?dataset=telemetry&from=factory&to=cloud-us&purpose=analysis$/);
    await field('To').selectOption('core');
    await page.getByRole('button', { name: 'Explain' }).press('Enter');
    await see('A copy of telemetry may go from factory to core');
  });

  await step('a draft is compared with the law in force; what is wrong in one is said with its line', async () => {
    await go('#/policy/draft?name=acme');
    const draft = page.getByLabel('Draft, as YAML');
    await page.waitForFunction(() => document.querySelector('textarea')?.value.includes('telemetry-within-the-eu'));
    const text = await draft.inputValue();
    await draft.fill(text.replace('effect: permit', 'effect: forbid'));
    await page.getByRole('button', { name: 'Compare with the law in force' }).click();
    await see('1 copy becomes unlawful and would be fenced and erased');
    await page.getByRole('row', { name: /^telemetry core/ }).waitFor();
    await draft.fill(text.replace('effect: permit', 'efect: permit'));
    await page.getByRole('button', { name: 'Compare with the law in force' }).click();
    await see(/draft:\d+:\d+: .*efect/);
  });

  await step('reach is drawn', async () => {
    await go('#/policy/reach?dataset=telemetry&to=us');
    await see('telemetry can never get to us');
    await page.getByRole('img', { name: 'telemetry can never get to us' }).waitFor();
    await go('#/policy/reach?dataset=maps&to=eu/de/fra');
    const way = page.getByRole('img', { name: 'maps can get to eu/de/fra in 1 step' });
    await way.waitFor();
    assert.deepEqual(await way.locator('.card').evaluateAll((all) => all.map((card) => [...card.querySelectorAll('text')].map((text) => text.textContent))),
      [['core', 'eu/de'], ['factory', 'eu/de/fra']]);
    assert.match(await way.textContent(), /copy.*maps\/maps-in-the-eu/);
    assert.equal(await way.locator('path.link.is-late').count(), 1);
    await picture('reach-yes-light');
  });

  await step('the audit log is searched, and a record is proved', async () => {
    await go('#/audit');
    await page.getByLabel('Log of').selectOption('core');
    await page.getByLabel('Kind').fill('version-received');
    await page.getByRole('button', { name: 'Search' }).click();
    await see('2 records, newest first');
    await page.getByRole('button', { name: /^Prove core\// }).first().click();
    await see('This record is in the log that was signed, exactly as it is shown.');
    const saved = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Save the proof' }).click();
    const proof = fs.readFileSync(await (await saved).path(), 'utf8');
    assert.match(proof, /^c2sp\.org\/tlog-proof@v1\n/);
    await go('#/audit/report?dataset=telemetry');
    await page.getByRole('heading', { name: 'Moves, and the rule that allowed each' }).waitFor();
    await see('acme/telemetry-within-the-eu');
  });

  await step('what is held, what had to go and what was redacted is seen as it happens', async () => {
    await go('#/erasure');
    await see('Nothing is held.');
    await see('Every copy lies where it may, and none had to go.');
    await see('No file was redacted.');
    cli(['dataset', 'hold', 'telemetry', '--version', '1', '--site', 'core', '--reason', 'case <b>4711</b>']);
    await page.getByRole('row', { name: /telemetry version 1 at core case <b>4711<\/b>/ }).waitFor();
    cli(['apply', '-f', '-'], FORBID_MAPS);
    await page.getByRole('row', { name: /maps factory .*erased .*unlawful, maps\/no-maps-in-halls/ }).waitFor();
    cli(['dataset', 'redact', 'telemetry', 'f7', '--reason', 'request 12', '--yes']);
    await page.getByRole('row', { name: /telemetry .*request 12 1 content, \d+ chunks? .*factory .*done/ }).waitFor();
    await page.getByRole('row', { name: /core .*held/ }).waitFor();
    await go('#/datasets/telemetry');
    await see('Held: version 1 at core');
    await see('case <b>4711</b>');
  });

  await step('by keyboard alone', async () => {
    await go('#/fleet');
    await page.getByRole('heading', { name: 'Fleet', exact: true }).waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('d');
    await page.getByRole('heading', { name: 'Datasets', exact: true }).waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('tele');
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('data-key') || document.activeElement.id || document.activeElement.tagName);
    for (let i = 0; i < 12 && await focused() !== 'row-telemetry'; ++i) await page.keyboard.press('Tab');
    assert.equal(await focused(), 'row-telemetry');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'telemetry', exact: true }).waitFor();
    await page.getByRole('button', { name: 'Roll back to version 1' }).waitFor();
    for (let i = 0; i < 40 && await focused() !== 'roll-1'; ++i) await page.keyboard.press('Tab');
    assert.equal(await focused(), 'roll-1');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.goto(`${ROOT}#/transfers`);
    await page.getByRole('heading', { name: 'Transfers', exact: true }).waitFor();
    await page.reload();
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the page');
  });

  await step('every control has a name, every page one heading of the first rank', async () => {
    for (const hash of ['#/fleet', '#/datasets', '#/datasets/telemetry', '#/transfers', '#/policy', '#/policy/explain', '#/policy/draft', '#/erasure', '#/audit', '#/audit/logs']) {
      await go(hash);
      await page.locator('h1').waitFor();
      await page.waitForFunction(() => !/Asking the coordinator/.test(document.querySelector('main').textContent));
      assert.equal(await page.locator('h1').count(), 1, hash);
      const nameless = await page.evaluate(() => [...document.querySelectorAll('main input, main select, main textarea, main button, main a')]
        .filter((e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).map((e) => e.outerHTML));
      assert.deepEqual(nameless, [], hash);
    }
  });

  await step('the coordinator goes away, and comes back', async () => {
    await go('#/fleet');
    await page.getByRole('link', { name: /^site core/ }).waitFor();
    coordinatorIsAway = true;
    dev('stop', 'coordinator');
    await see('The coordinator is away.');
    await page.getByRole('link', { name: /^site core/ }).waitFor();  // what was known stays
    await go('#/policy/explain?dataset=telemetry&from=factory&to=core');
    await see(/cannot reach the coordinator/);
    dev('start', 'coordinator');
    await page.locator('#away').waitFor({ state: 'hidden' });
    coordinatorIsAway = false;
    await go('#/policy/explain?dataset=telemetry&from=core&to=factory');
    await see('A copy of telemetry may go from core to factory');
  });

  await step('a transfer is seen as it goes on, and its link moves', async () => {
    cli(['apply', '-f', '-'], VIDEO);
    await go('#/fleet');
    await page.evaluate(() => { globalThis.sameDocument = true; });
    cli(['dataset', 'commit', 'video']);
    const moving = await linkIs('factory', 'core', 'transferring', 'video transferring');
    assert.ok(moving.kinds.includes('moving'), `${moving.kinds}`);
    await page.getByRole('link', { name: /^1 at .*\/s ?transfers running$/ }).waitFor();
    await go('#/transfers');
    const progress = page.getByRole('progressbar', { name: 'video to core' });
    await progress.waitFor();
    const seen = new Set();
    await page.waitForFunction(() => {
      globalThis.shares ??= new Set();
      const share = document.querySelector('.transfer progress')?.value;
      if (share > 0 && share < 100) globalThis.shares.add(share);
      return globalThis.shares.size >= 3;
    });
    for (const share of await page.evaluate(() => [...globalThis.shares])) seen.add(share);
    assert.deepEqual([...seen], [...seen].sort((a, b) => a - b), 'it goes forward');
    await see(/of 16\.0 MiB present, .* on the wire, .*\/s, .* left\. Limited by a BandwidthPolicy at factory\./);
    await picture('transfers-running-light');
    cli(['delete', 'bandwidthpolicy', 'line', '--yes']);
    await page.getByRole('row', { name: /^video 1 factory → core done 16\.0 MiB/ }).waitFor();
    await see('Nothing is on its way.');
    assert.equal(await page.evaluate(() => globalThis.sameDocument), true, 'without a reload');
  });

  await step('a site that is away, and what it lacks for too long, change colour', async () => {
    await go('#/fleet');
    const before = await linkIs('factory', 'core', 'current', 'video current');
    dev('stop', 'core');
    await siteIs('core', 'offline');
    fs.appendFileSync(path.join(path.dirname(FLEET), 'video', 'film'), 'more');
    cli(['dataset', 'commit', 'video']);
    const offline = await linkIs('factory', 'core', 'offline', 'video offline');
    cli(['apply', '-f', '-'], VIDEO.slice(VIDEO.indexOf('---')).replace('rpo: 1h', 'rpo: 1s'));
    const late = await linkIs('factory', 'core', 'late', 'video offline, over RPO');
    assert.equal(new Set([before, offline, late].map(({ colour }) => colour)).size, 3, 'three states, three colours');
    await page.getByRole('row', { name: /^factory core .*over RPO \d+s/ }).waitFor();
    await page.getByRole('link', { name: '1 over RPO' }).waitFor();
    await page.getByRole('link', { name: 'video at core: offline, over RPO' }).waitFor();
    await picture('fleet-late-light');
    await go('#/datasets');
    await page.getByRole('link', { name: 'video at core: offline, over RPO, version 1/2' }).waitFor();
    await go('#/fleet');
    dev('start', 'core');
    await siteIs('core', 'current');
    await linkIs('factory', 'core', 'current', 'video current');
  });

  await step('dark is dark and light is light, and both can be read', async () => {
    const page0 = {};
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const hash of ['#/fleet', '#/datasets', '#/policy', '#/erasure']) {
        await go(hash);
        await page.waitForFunction(() => !/Asking/.test(document.querySelector('main').textContent));
        const colours = await page.evaluate(() => {
          const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (c !== 'rgba(0, 0, 0, 0)') return c; } return ''; };
          return { page: getComputedStyle(document.documentElement).backgroundColor,
            texts: [...document.querySelectorAll('h1, h2, main p, main td, main th, main small, main a, main .state, .bar a')].filter((e) => e.textContent.trim() && !e.closest('svg'))
              .map((e) => ({ text: e.textContent.trim().slice(0, 40), of: getComputedStyle(e).color, on: behind(e) })) };
        });
        page0[colorScheme] = colours.page;
        assert.ok(colours.texts.length > 5, hash);
        const faint = colours.texts.filter(({ of, on }) => contrast(of, on) < 4.5);
        assert.deepEqual(faint.slice(0, 5).map((t) => ({ ...t, contrast: contrast(t.of, t.on) })), [], `${hash}, ${colorScheme}: WCAG AA`);
      }
    }
    await page.emulateMedia({ colorScheme: 'light' });
    assert.ok(contrast(page0.light, 'rgb(255, 255, 255)') < 1.2 && contrast(page0.dark, 'rgb(0, 0, 0)') < 1.3, JSON.stringify(page0));
  });

  await step('pictures', async () => {
    fs.mkdirSync(PICTURES, { recursive: true });
    const shots = { fleet: '#/fleet', datasets: '#/datasets', why: '#/datasets/telemetry?site=cloud-us', transfers: '#/transfers', policy: '#/policy',
      explain: '#/policy/explain?dataset=telemetry&from=factory&to=cloud-us', reach: '#/policy/reach?dataset=telemetry&to=us', audit: '#/audit/search?site=core', erasure: '#/erasure' };
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const [name, hash] of Object.entries(shots)) {
        if (colorScheme === 'dark' && !['fleet', 'datasets', 'why', 'erasure', 'policy', 'explain'].includes(name)) continue;
        await go(hash);
        await page.waitForFunction(() => !/Asking|Evaluating|Reading the log/.test(document.querySelector('main').textContent));
        await page.screenshot({ path: path.join(PICTURES, `${name}-${colorScheme}.png`), fullPage: true });
      }
    }
  });

  await step('a browser without a session is told so', async () => {
    await context.clearCookies();
    page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const answer = await page.goto(ROOT);
    assert.equal(answer.status(), 401);
    await see('open the link that bailiwick console printed last');
  });
} catch (error) {
  fs.mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: path.join(PICTURES, 'failed.png'), fullPage: true }).catch(() => {});
  console.error(error.stack, '\nin the browser:', troubles.join('\n') || 'no error');
  process.exitCode = 1;
}
await context.close();
