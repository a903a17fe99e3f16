// Walks the console as a person would, by mouse and by keyboard, and fails on the first thing that is not as it must be,
// on any error in the browser's console and on any violation of the page's security policy. test_console.py starts it.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const { CONSOLE_LINK, BAILIWICK, FLEET, CHROMIUM, PROFILE, PICTURES, TOOLS, FORBID_MAPS } = process.env;
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

  await step('a denied copy is explained', async () => {
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
