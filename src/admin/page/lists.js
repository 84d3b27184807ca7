// The other tables: logins, budgets and limits, clients, rejected messages, configuration.

import { badge, bar, button, element, table } from './elements.js';
import { counted, date, number, or, span, state, ticking, time, trigger, word } from './words.js';

export function loginsTable(logins) {
  const columns = [
    ['Time', (one) => time(one.at)],
    ['Upstream', (one) => one.upstream],
    ['Account', (one) => one.account],
    ['Why', (one) => trigger(one.trigger)],
    ['How it ended', (one) => badge(one.outcome === 'logged_in' ? ['good', 'logged in'] : ['bad', `failed: ${word(one.cause)}`])],
    ['Session', (one) => or(one.generation), 'number'],
    ['Took', (one) => span(one.took_ms), 'number'],
    ['Requests that waited', (one) => one.shared_by, 'number'],
  ];
  return table('Logins, the newest first', columns, logins, 'No login yet: the first request that needs a session makes one.');
}

/** One row for each account: what is left of its budget and of its limits. */
export function accountsTable(upstreams, age, actions) {
  const rows = upstreams.flatMap((upstream) => upstream.accounts.map((account, index) => ({ upstream, account, index })));
  const columns = [
    ['Upstream', ({ upstream }) => element('span', { title: upstream.url }, upstream.name)],
    ['Reached', ({ upstream }) => reached(upstream, age)],
    ['Account', ({ account }) => account.name],
    ['Logins', ({ account }) => mayLogIn(account, age)],
    ['Attempts left', ({ account }) => attempts(account, age)],
    ['Rate left', ({ account }) => rates(account.limit, age)],
    ['Under way', ({ account }) => underWay(account.limit), 'number'],
    ['Waiting', ({ account }) => account.limit?.waiting ?? '-', 'number'],
    ['Actions', (row) => (row.index > 0 ? null : pauseButton(row.upstream, actions)), 'actions'],
  ];
  return table('Upstreams and accounts', columns, rows, 'No upstream is configured.');
}

function reached(upstream, age) {
  if (upstream.paused) return badge(['warn', `paused: clients wait ${upstream.paused.retry_after_seconds} s`]);
  if (upstream.circuit_open_for_ms !== null) return badge(['bad', `not tried for ${ticking(upstream.circuit_open_for_ms - age)}`]);
  if (upstream.unresolved) return badge(['bad', `no addresses: ${upstream.unresolved}`]);
  const out = upstream.addresses.filter((address) => address.left_out_for_ms !== null).length;
  const connections = upstream.addresses.reduce((all, address) => all + address.connections, 0);
  const list = upstream.addresses.map((address) => address.address).join(', ');
  if (out > 0) return badge(['warn', `${out} of ${counted(upstream.addresses.length, 'address')} left out`], list);
  return badge(['good', `${upstream.addresses.length === 0 ? 'not asked yet' : counted(connections, 'connection')}`], list);
}

function mayLogIn(account, age) {
  const wait = account.retry_in_ms === null ? '' : `, next in ${ticking(account.retry_in_ms - age)}`;
  const [look, words] = state(account.state);
  return badge([look, account.cause === null ? words : `${words}: ${word(account.cause)}${wait}`]);
}

function attempts(account, age) {
  const part = account.attempts_max === 0 ? 0 : account.attempts_left / account.attempts_max;
  const refill = account.refills_in_ms === null ? '' : `, whole in ${ticking(account.refills_in_ms - age)}`;
  const look = account.attempts_left === 0 ? 'bad' : part < 1 ? 'warn' : 'good';
  return element('span', { class: 'with-bar' }, bar(part, look), `${account.attempts_left} of ${account.attempts_max}${refill}`);
}

function rates(limit, age) {
  const bounded = (limit?.rates ?? []).filter((rate) => rate.per_second !== null || rate.paused_for_ms !== null);
  if (bounded.length === 0) return element('span', { class: 'quiet' }, 'no limit');
  return element('span', {}, bounded.map((rate) => {
    const what = rate.counts === 'all' ? '' : `${rate.counts}: `;
    if (rate.paused_for_ms !== null) return badge(['warn', `${what}paused for ${ticking(rate.paused_for_ms - age)}`]);
    const part = rate.burst ? rate.left / rate.burst : 1;
    return element('span', { class: 'with-bar' }, bar(part, part === 0 ? 'bad' : 'good'), `${what}${or(rate.left)} of ${or(rate.burst)}, ${number(rate.per_second)} /s`);
  }));
}

function underWay(limit) {
  if (!limit) return '-';
  return limit.in_flight_max === null ? String(limit.in_flight) : `${limit.in_flight} of ${limit.in_flight_max}`;
}

function pauseButton(upstream, actions) {
  return upstream.paused
    ? button('Resume', () => actions.resume(upstream), { 'aria-label': `Resume ${upstream.name}` })
    : button('Pause', () => actions.pause(upstream), { 'aria-label': `Pause ${upstream.name}` });
}

export function clientsTable(clients, age, actions) {
  const columns = [
    ['Client', (one) => one.name],
    ['Shows who it is by', (one) => element('span', {}, one.keys.map((key) => keyOf(key, actions)), shown(one))],
    ['May', (one) => element('ul', { class: 'plain' }, one.grants.map((grant) => element('li', {}, grantOf(grant))))],
    ['Rate left', (one) => rates(one.limit, age)],
    ['Under way', (one) => underWay(one.limit), 'number'],
    ['Requests', (one) => one.requests, 'number'],
    ['Last used', (one) => (one.last_used_at === null ? '-' : date(one.last_used_at))],
  ];
  return table('Clients', columns, clients, 'No client is configured: listeners are open to this machine.');
}

function keyOf(key, actions) {
  const states = { good: ['good', 'good'], expired: ['warn', 'expired'], revoked: ['bad', 'revoked'] };
  const [look, words] = states[key.state];
  const end = key.expires_at === null ? '' : `, ends ${date(key.expires_at)}`;
  return element(
    'span',
    { class: 'key' },
    badge([look, `key ${key.digest}: ${words}${end}`]),
    key.state === 'revoked' ? null : button('Revoke', () => actions.revoke(key), { 'aria-label': `Revoke ${key.digest}` }),
  );
}

function shown(one) {
  const others = [
    ...one.certificates.map((name) => `certificate of ${name}`),
    ...one.unix.map((name) => `process of ${name}`),
    ...one.issuers.map((name) => `token of ${name}`),
  ];
  return others.length === 0 ? null : element('span', {}, others.join(', '));
}

function grantOf(grant) {
  const methods = grant.methods === null ? 'anything' : grant.methods.join(', ');
  const paths = grant.paths === null ? '' : ` ${grant.paths.join(', ')}`;
  const accounts = grant.accounts === null ? '' : ` as ${grant.accounts.join(', ')}`;
  return `${methods}${paths} at ${grant.upstreams.join(', ')}${accounts}`;
}

export function rejectedTable(rejected) {
  const columns = [
    ['Time', (one) => time(one.at)],
    ['Listener', (one) => one.listener],
    ['Came from', (one) => or(one.peer)],
    ['Why', (one) => word(one.reason)],
    ['Method', (one) => or(one.method)],
    ['Path', (one) => or(one.path)],
    ['Fields', (one) => or(one.fields.join(', '))],
  ];
  return table('Rejected messages, the newest first', columns, rejected, 'No message has been rejected for what it is.');
}

export function settingsTable(settings) {
  const columns = [
    ['Key', (one) => element('code', {}, one.key)],
    ['Value', (one) => element('code', {}, typeof one.value === 'string' ? one.value : JSON.stringify(one.value))],
    ['Set by', (one) => originOf(one.origin)],
  ];
  return table('Every value of the configuration', columns, settings, 'There is no configuration.');
}

function originOf(origin) {
  if (origin.kind === 'file') return origin.line === null ? origin.path : `${origin.path}:${origin.line}`;
  if (origin.kind === 'variable') return origin.name;
  return element('span', { class: 'quiet' }, 'default');
}
