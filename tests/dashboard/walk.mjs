// Walks through the page of the admin API as an operator does, in Chromium.
//
//     node walk.mjs LINK GATEWAY API_KEY CONFIG FOLDER
//
// LINK opens the page once. GATEWAY is where clients send requests to; it has an upstream `cms` with an account
// `editor` whose session is live, and has answered two requests. API_KEY names the stack there. CONFIG is the file of its
// configuration. Pictures go to FOLDER. Each step that holds is told in a line; the first one that does not ends with 1.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

import { chromium } from 'playwright-core';

const [link, gateway, apiKey, config, folder] = process.argv.slice(2);
const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** How long anything may take to be seen. */
const SEEN_MS = 20_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  // Root has no sandbox of its own; the page comes from this machine.
  args: ['--no-sandbox'],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
const page = await context.newPage();
page.setDefaultTimeout(SEEN_MS);

/** What the browser complains of, the policy of the page included. */
const complaints = [];
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
});
page.on('pageerror', (error) => complaints.push(String(error)));

async function step(what, work) {
  await work();
  console.log(`holds: ${what}`);
}

async function picture(name) {
  await page.screenshot({ path: path.join(folder, `${name}.png`) });
}

/** Rules of WCAG 2.2, A and AA, and axe's best practices. */
async function isAccessible(where) {
  // Evaluated by the browser's debugger, which the page's policy does not concern.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document);
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`);
  });
  assert.deepEqual(found, [], where);
}

async function call(where) {
  const response = await fetch(gateway + where, { headers: { api_key: apiKey } });
  await response.arrayBuffer();
  return response.status;
}

const text = (selector) => page.locator(selector).innerText();
const rows = (pane) => page.locator(`#pane-${pane} tbody tr`);
const seen = (work, what) => page.waitForFunction(work, null, { timeout: SEEN_MS }).catch(() => {
  throw new assert.AssertionError({ message: `not seen: ${what}` });
});

try {
  await step('a link opens the page, and its secret leaves the address', async () => {
    await page.goto(link);
    assert.equal(new URL(page.url()).pathname + new URL(page.url()).search, '/');
    await page.getByText('All well').waitFor();
  });

  await step('the link opens nothing a second time', async () => {
    const other = await browser.newContext();
    const again = await (await other.newPage()).goto(link);
    assert.equal(again.status(), 401);
    await other.close();
  });

  await step('the session is there in words, with what is left of its life', async () => {
    const row = page.locator('#sessions-table tbody tr', { hasText: 'cms' });
    await row.getByText('live').waitFor();
    const words = await row.innerText();
    assert.match(words, /editor/);
    assert.match(words, /cold|expired/);
  });

  await step('the stream is live, and a request appears without a click', async () => {
    await page.locator('#live', { hasText: 'live' }).waitFor();
    assert.equal(await call('/v3/content_types?token=canary-in-a-query'), 200);
    await rows('requests').nth(2).waitFor();
    assert.ok(!(await page.content()).includes('canary-in-a-query'), 'a query is shown');
  });

  await step('all of it fits a window of 1280 by 800', async () => {
    const [width, height] = await page.evaluate(() => {
      const { scrollWidth, scrollHeight } = document.documentElement;
      return [scrollWidth, scrollHeight];
    });
    assert.ok(width <= 1280 && height <= 800, `${width} by ${height}`);
    await picture('wide-light');
    await isAccessible('wide, light');
  });

  await step('a request tells its story', async () => {
    await rows('requests').first().getByRole('button').click();
    const drawer = page.locator('#drawer');
    await drawer.getByText('What happened').waitFor();
    assert.match(await drawer.innerText(), /sent with session|replayed with session/);
    await picture('story');
    await isAccessible('story');
    await page.keyboard.press('Escape');
    await drawer.waitFor({ state: 'hidden' });
  });

  await step('a filter lets some through, and a bad one says what is wrong with it', async () => {
    const filter = page.getByLabel('Show');
    await filter.fill('status:>=400');
    await filter.press('Enter');
    await seen(() => document.querySelectorAll('#pane-requests tbody tr').length === 0, 'no request above 400');
    await filter.fill('sttus:400');
    await filter.press('Enter');
    await page.getByText('is none of client:').waitFor();
    await filter.fill('status:soon');
    await filter.press('Enter');
    await seen(() => document.querySelector('#filter-problem').textContent.length > 0, 'what is wrong with a status');
    await filter.fill('upstream:cms path:/v3/*');
    await filter.press('Enter');
    await rows('requests').first().waitFor();
  });

  await step('what is paused does not move, and goes on where it is', async () => {
    await page.getByRole('button', { name: 'Pause', exact: true }).click();
    const before = await rows('requests').count();
    assert.equal(await call('/v3/assets'), 200);
    await page.getByRole('button', { name: 'Go on' }).click();
    await rows('requests').filter({ hasText: '/v3/assets' }).first().waitFor();
    assert.ok(await rows('requests').count() > before);
  });

  await step('tabs are walked through by keyboard', async () => {
    await page.locator('#tab-requests').focus();
    for (const [name, words] of [
      ['logins', /there was no session/],
      ['accounts', /of \d/],
      ['clients', /./],
      ['rejected', /./],
      ['config', /listeners|upstreams/],
    ]) {
      await page.keyboard.press('ArrowRight');
      const pane = page.locator(`#pane-${name}`);
      await pane.waitFor();
      await pane.locator('.rows > *').first().waitFor();
      assert.match(await pane.innerText(), words, name);
      assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${name}`);
      await picture(`tab-${name}`);
      await isAccessible(name);
    }
    await page.keyboard.press('ArrowRight');
    await page.locator('#pane-requests').waitFor();
  });

  await step('nothing is done that is not meant', async () => {
    const before = await text('#sessions-table');
    await page.getByRole('button', { name: 'Log out: cms.editor' }).click();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.locator('#question').waitFor({ state: 'hidden' });
    assert.match(before, /live/);
    await page.locator('#sessions-table').getByText('live').first().waitFor();
  });

  await step('a session is logged out, and the next request logs in', async () => {
    await page.getByRole('button', { name: 'Log out: cms.editor' }).click();
    await picture('question');
    await isAccessible('question');
    await page.locator('#question').getByRole('button', { name: 'Log out' }).click();
    await page.locator('#told.good').waitFor();
    await page.locator('#sessions-table').getByText('none yet').first().waitFor();
    assert.equal(await call('/v3/content_types'), 200);
    await page.locator('#sessions-table').getByText('live').first().waitFor();
  });

  await step('an upstream is paused and used again', async () => {
    await page.locator('#tab-accounts').click();
    await page.getByRole('button', { name: 'Pause cms' }).click();
    await page.locator('#question').getByRole('button', { name: 'Pause' }).click();
    await page.locator('#troubles').getByText('paused by an operator').waitFor();
    assert.equal(await call('/v3/content_types'), 503);
    await picture('paused');
    await isAccessible('paused');
    await page.getByRole('button', { name: 'Resume cms' }).click();
    await page.locator('#question').getByRole('button', { name: 'Resume' }).click();
    await page.getByText('All well').waitFor();
    assert.equal(await call('/v3/content_types'), 200);
    await page.locator('#tab-requests').click();
  });

  await step('the configuration is read again, and what is wrong with one is told until it is mended', async () => {
    const reload = async () => {
      await page.locator('#reload').click();
      await page.locator('#question').getByRole('button', { name: 'Reload' }).click();
    };
    await reload();
    await page.locator('#told.good', { hasText: 'read again and in force' }).waitFor();
    const before = await readFile(config, 'utf8');
    await writeFile(config, `${before}pth = "/v3"\n`);
    await reload();
    const told = page.locator('#told.bad', { hasText: 'nothing has changed' });
    await told.waitFor();
    assert.match(await told.innerText(), /doorward\.toml:\d+.*pth/s);
    await page.locator('#troubles').getByText('the one before is kept').waitFor();
    assert.equal(await call('/v3/content_types'), 200);
    await picture('refused-configuration');
    await isAccessible('refused configuration');
    await writeFile(config, before);
    await reload();
    await page.getByText('All well').waitFor();
  });

  await step('it is dark where that is wanted, and stays so', async () => {
    await page.locator('#theme').click();
    await page.reload();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
    await page.getByText('All well').waitFor();
    await rows('requests').first().waitFor();
    await picture('wide-dark');
    await isAccessible('wide, dark');
  });

  await step('it can be read on a narrow screen', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 390, `${width} wide`);
    await picture('narrow-dark');
    await isAccessible('narrow, dark');
    await page.locator('#theme').click();
    await picture('narrow-light');
    await isAccessible('narrow, light');
  });

  await step('the browser has nothing to complain of', async () => {
    // Those are answers that were asked for: a status that is none, a paused upstream, a refused configuration.
    const others = complaints.filter((complaint) => !/status of (400|401|409|503)/.test(complaint));
    assert.deepEqual(others, []);
  });
} catch (error) {
  await picture('failed').catch(() => {});
  console.error(error);
  console.error(complaints.join('\n'));
  process.exitCode = 1;
} finally {
  await browser.close();
}
