// The table of sessions.

import { badge, bar, button, element, table } from './elements.js';
import { or, span, state, ticking, trigger, word } from './words.js';

/** Below this part of its life a session is shown as ending. */
const ENDING = 0.1;

/** `age` is how old the answer is that has the rows, in milliseconds: lives go on meanwhile. */
export function sessionsTable(sessions, age, actions) {
  const left = (one) => (one.expires_in_ms === null ? null : Math.max(0, one.expires_in_ms - age));
  const columns = [
    ['Upstream', (one) => one.upstream],
    ['Account', (one) => (one.client === null ? one.account : `${one.account} for ${one.client}`)],
    ['State', (one) => stateOf(one, age)],
    ['Session', (one) => or(one.generation), 'number'],
    ['Age', (one) => ticking(one.age_ms === null ? null : one.age_ms + age), 'number'],
    ['Lifetime', (one) => lifetime(one, left(one))],
    ['Ends in', (one) => endsIn(one, left(one)), 'number'],
    ['Last login', lastLogin],
    ['In use', (one) => one.holds, 'number'],
    ['Waiting', (one) => one.waiters, 'number'],
    ['Actions', (one) => buttons(one, actions), 'actions'],
  ];
  return table('Sessions, one row each', columns, sessions, 'No upstream is configured.');
}

function stateOf(one, age) {
  const parts = [badge(state(one.state))];
  if (one.cause !== null) {
    const wait = one.retry_in_ms === null ? '' : `, next try in ${ticking(one.retry_in_ms - age)}`;
    parts.push(element('span', { class: 'quiet' }, ` ${word(one.cause)}${wait}`));
  }
  return element('span', {}, parts);
}

function lifetime(one, left) {
  if (left === null || !one.life_ms) return element('span', { class: 'quiet' }, one.generation === null ? '-' : 'end unknown');
  const part = left / one.life_ms;
  return bar(part, part < ENDING ? 'warn' : 'good');
}

function endsIn(one, left) {
  if (left !== null) return ticking(left);
  if (one.generation !== null && one.learned_life_ms !== null) return `lives about ${span(one.learned_life_ms)}`;
  return '-';
}

function lastLogin(one) {
  const last = one.last_login;
  if (last === null) return '-';
  const words = last.outcome === 'failed' ? `failed: ${word(last.cause)}` : span(last.took_ms);
  return element('span', { title: trigger(last.trigger) }, `${words} (${word(last.trigger)})`);
}

function buttons(one, actions) {
  const whose = `${one.upstream}.${one.account}`;
  const hasSession = one.generation !== null;
  const isClosed = one.state === 'held_back' || one.state === 'quarantined';
  return element(
    'span',
    { class: 'buttons' },
    isClosed
      ? button('Clear', () => actions.clear(one), { 'aria-label': `Clear ${whose}` })
      : button('Log in', () => actions.logIn(one), { 'aria-label': `Log in again: ${whose}` }),
    hasSession ? button('Log out', () => actions.logOut(one), { 'aria-label': `Log out: ${whose}` }) : null,
  );
}
