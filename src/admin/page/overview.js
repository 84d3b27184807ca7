// What an operator sees in the first five seconds: one sentence, what needs a look, the flow, the last quarter of an
// hour.

import { tile } from './charts.js';
import { badge, element } from './elements.js';
import { counted, date, number, ticking } from './words.js';

/** Seconds of which the present rates are the average. */
const RECENT = 10;

export function showStatus(status) {
  const isGood = status.state === 'running' && status.troubles.length === 0;
  const summary = document.getElementById('summary');
  summary.className = isGood ? 'good' : 'bad';
  summary.querySelector('.text').textContent = status.summary;
  document.title = isGood ? 'Doorward' : `! Doorward: ${status.summary}`;
  const troubles = document.getElementById('troubles');
  troubles.hidden = status.troubles.length === 0;
  troubles.replaceChildren(...status.troubles.map((trouble) => element('li', {}, trouble)));
  const { files, sha256, loaded_at: loaded, last_reload: last } = status.configuration;
  // What is wrong with it stands among what needs a look.
  const refused = last !== null && last.faults.length > 0 ? ` Read again ${date(last.at)}: refused.` : '';
  document.getElementById('configuration').textContent =
    `Doorward ${status.version}, up ${ticking(status.uptime_seconds * 1000)}. ${files.join(', ')} (${sha256}), read ${date(loaded)}.${refused}`;
}

/** Clients, routes, sessions, upstreams: each with its count and whether all is well there. */
export function showFlow(status, sessions, upstreams) {
  const { traffic, listeners } = status;
  const asks = listeners.some((listener) => listener.asks_for_clients);
  const inTrouble = sessions.filter((one) => one.state === 'held_back' || one.state === 'quarantined').length;
  const unwell = upstreams.filter((one) => one.paused || one.circuit_open_for_ms !== null || one.unresolved).length;
  const steps = [
    [counted(traffic.clients, 'client'), traffic.load === 'normal', asks || traffic.clients > 0 ? counted(traffic.connections, 'connection') : `anybody, ${counted(traffic.connections, 'connection')}`],
    [counted(traffic.routes, 'route'), true, traffic.waiting === 0 ? 'nobody waits' : `${traffic.waiting} wait for their turn`],
    [counted(traffic.sessions, 'session'), inTrouble === 0, inTrouble === 0 ? loggingIn(traffic) : `${counted(inTrouble, 'account')} without a login`],
    [counted(traffic.upstreams, 'upstream'), unwell === 0, unwell === 0 ? 'none in trouble' : `${unwell} in trouble`],
  ];
  document.getElementById('flow').replaceChildren(...steps.map(([text, isGood, detail]) => element(
    'li',
    {},
    badge([isGood ? 'good' : 'bad', text]),
    element('span', { class: 'quiet' }, detail),
  )));
}

function loggingIn(traffic) {
  return traffic.logins_under_way === 0 ? 'no login under way' : `${counted(traffic.logins_under_way, 'login')} under way`;
}

/** The sparklines, of summaries of a second each. */
export function showTiles(summaries) {
  const last = summaries.slice(-RECENT);
  const told = last.filter((one) => one.requests !== null);
  const requests = sum(told, 'requests');
  const errors = sum(told, 'errors');
  const isTold = told.length > 0;
  const rate = isTold ? `${number(requests / told.length)} /s` : 'not recorded';
  const newest = [...last].reverse().find((one) => one.p50_ms !== null);
  const latency = newest ? `${['p50_ms', 'p95_ms', 'p99_ms'].map((name) => brief(newest[name])).join(' / ')} ms` : '-';
  const share = requests > 0 ? `${number((errors / requests) * 100)} %` : isTold ? '0 %' : '-';
  const logins = sum(summaries, 'logins');
  const failed = sum(summaries, 'logins_failed');
  document.getElementById('tiles').replaceChildren(
    tile('Requests', rate, [summaries.map((one) => one.requests)]),
    tile('p50 / p95 / p99', latency, ['p99_ms', 'p95_ms', 'p50_ms'].map((name) => summaries.map((one) => one[name]))),
    tile('Errors (5xx)', share, [summaries.map((one) => one.errors)], errors > 0 ? 'bad' : ''),
    tile('Logins in 15 min', failed > 0 ? `${logins}, ${failed} failed` : String(logins), [summaries.map((one) => one.logins)], failed > 0 ? 'bad' : ''),
  );
}

/** As much of a number as three of them have room for in a tile. */
function brief(value) {
  return value >= 10 ? String(Math.round(value)) : number(value);
}

function sum(summaries, name) {
  return summaries.reduce((all, one) => all + (one[name] ?? 0), 0);
}
