// The live table of requests, its filter, and the story of one of them.

import { strip } from './charts.js';
import { badge, button, element, facts, table } from './elements.js';
import { bytes, or, span, statusClass, time, word } from './words.js';

/** Words of a filter: `client:alice status:>=400 upstream:cms path:/v3/*`. */
const NAMES = ['client', 'upstream', 'status', 'path'];

/** A filter as the API takes it. */
export function readFilter(text) {
  const query = {};
  for (const part of text.split(/\s+/).filter((part) => part !== '')) {
    const [name, ...rest] = part.split(':');
    if (!NAMES.includes(name) || rest.length === 0 || rest.join(':') === '') {
      throw new Error(`"${part}" is none of ${NAMES.map((known) => `${known}:...`).join(', ')}`);
    }
    query[name] = rest.join(':');
  }
  return query;
}

/** The rows, the newest first. */
export function requestsTable(requests, nothing, show) {
  const columns = [
    ['Time', (one) => time(one.at)],
    ['Client', (one) => or(one.client, one.peer ?? '-')],
    ['Method', (one) => one.method],
    ['Path', (one) => button(one.path, () => show(one), { class: 'link path', title: one.path })],
    ['Upstream', (one) => or(one.upstream)],
    ['Status', (one) => badge([statusClass(one.status), String(one.status)])],
    ['What decided', (one) => word(one.reason)],
    ['Session', (one) => sessionOf(one), 'number'],
    ['Waiting, login, upstream, body', (one) => timeStrip(one)],
    ['Took', (one) => span(one.took_ms), 'number'],
  ];
  return table('Requests, the newest first', columns, requests, nothing);
}

function sessionOf(one) {
  if (one.refused === null) return or(one.generation);
  return `${one.refused.generation} > ${or(one.generation)}`;
}

/** Moments count from the head of the request. */
function parts(one) {
  const moments = [
    ['wait', 'waiting for its turn', one.waited_ms],
    ['login', 'for its session', one.session_ms],
    ['upstream', 'for the upstream', one.head_ms],
    ['body', 'for the rest', one.took_ms],
  ];
  let before = 0;
  const parts = [];
  for (const [look, what, until] of moments) {
    if (until === null) continue;
    const length = Math.max(0, until - before);
    if (length > 0) parts.push([look, `${span(length)} ${what}`, length]);
    before = Math.max(before, until);
  }
  return parts;
}

function timeStrip(one) {
  const spent = parts(one);
  return spent.length === 0 ? element('span', { class: 'quiet' }, 'below 1 ms') : strip(spent);
}

/** Everything that is known of a request, in a dialogue. */
export function fillDrawer(drawer, one) {
  const spent = parts(one);
  const copied = element('span', { class: 'quiet', role: 'status' });
  const copy = async () => {
    // Only pages of this machine or over TLS may write there.
    await navigator.clipboard?.writeText(one.id);
    copied.textContent = 'copied';
  };
  drawer.replaceChildren(
    element(
      'header',
      {},
      element('h2', { id: 'drawer-title' }, `${one.method} ${one.path}`),
      button('Close', () => drawer.close(), { autofocus: true }),
    ),
    element('p', {}, badge([statusClass(one.status), `${one.status} ${word(one.reason)}`])),
    element('h3', {}, 'What happened'),
    element('ol', { class: 'story' }, one.story.split('; ').map((step) => element('li', {}, step))),
    element('h3', {}, 'Where the time went'),
    spent.length === 0 ? element('p', {}, 'It took less than a millisecond.') : strip(spent),
    spent.length === 0 ? null : element('ul', { class: 'legend' }, spent.map(([look, words]) => element('li', { class: look }, words))),
    element('h3', {}, 'Facts'),
    facts([
      ['Request id', element('span', {}, element('code', {}, one.id), ' ', button('Copy', copy), copied)],
      ['Ended', time(one.at)],
      ['Client', one.client],
      ['Came from', one.peer],
      ['Upstream', one.upstream],
      ['Account', one.account],
      ['Session', one.generation === null ? null : String(one.generation)],
      ['Refused session', one.refused === null ? null : `${one.refused.generation} (${one.refused.status})`],
      ['Sent again', one.replayed ? 'yes, once' : 'no'],
      ['Login shared by', one.awaited_login ? `${one.login_shared_by} requests` : null],
      ['Answer', bytes(one.body_bytes)],
      ['Secrets taken out', one.redacted > 0 ? String(one.redacted) : null],
    ]),
  );
}
