// The page: asks the admin API for everything once, listens to what happens, and draws.

import { Refused, act, list, listen, request as requestById, sessionPath, status, upstreamPath } from './api.js';
import { button, element } from './elements.js';
import { accountsTable, clientsTable, loginsTable, rejectedTable, settingsTable } from './lists.js';
import { showFlow, showStatus, showTiles } from './overview.js';
import { fillDrawer, readFilter, requestsTable } from './requests.js';
import { sessionsTable } from './sessions.js';

/** Everything is asked for again so often, whatever happens. */
const EVERY_MS = 5000;

/** What several events change is asked for once. */
const GATHER_MS = 200;

/** Requests that are kept, and those of them that are shown. */
const REQUESTS_KEPT = 500;
const REQUESTS_SHOWN = 100;

/** What was done is told for so long. */
const TOLD_MS = 10_000;

/** Seconds of the sparklines. */
const SECONDS_KEPT = 900;

const known = {
  status: null,
  sessions: { items: [] },
  upstreams: { items: [] },
  summaries: [],
  requests: [],
  others: {},
};

/** When sessions and upstreams were answered: what counts down goes on from there. */
let answeredAt = 0;
let isPaused = false;
let filter = {};
let stopRequests = () => {};
let tab = 'requests';
let toldUntil = null;

const byId = (id) => document.getElementById(id);
const age = () => performance.now() - answeredAt;

// --- What is shown -------------------------------------------------------------------------------

function showSessions() {
  const before = focused(byId('sessions-table'));
  byId('sessions-table').replaceChildren(sessionsTable(known.sessions.items, age(), actions));
  before();
  if (known.status) {
    showStatus(known.status);
    showFlow(known.status, known.sessions.items, known.upstreams.items);
  }
}

/** Keeps the keyboard where it was while a part of the page is drawn anew. */
function focused(within) {
  const active = document.activeElement;
  const label = within.contains(active) ? active.getAttribute('aria-label') ?? active.textContent : null;
  return () => {
    if (label === null) return;
    const again = [...within.querySelectorAll('button')].find((one) => (one.getAttribute('aria-label') ?? one.textContent) === label);
    again?.focus();
  };
}

const TABS = {
  requests: { title: 'Requests', draw: drawRequests },
  logins: { title: 'Logins', list: 'logins', draw: (logins) => loginsTable(logins) },
  accounts: { title: 'Budgets and limits', draw: () => accountsTable(known.upstreams.items, age(), actions) },
  clients: { title: 'Clients', list: 'clients', draw: (clients) => clientsTable(clients, age(), actions) },
  rejected: { title: 'Rejected', list: 'rejected', draw: (rejected) => rejectedTable(rejected) },
  config: { title: 'Configuration', list: 'config', draw: (settings) => settingsTable(settings) },
};

function makeTabs() {
  const names = Object.keys(TABS);
  byId('tabs').replaceChildren(...names.map((name) => button(TABS[name].title, () => chooseTab(name), {
    role: 'tab',
    id: `tab-${name}`,
    'aria-controls': `pane-${name}`,
    onkeydown: (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(names.indexOf(name) + step + names.length) % names.length];
      chooseTab(next);
      byId(`tab-${next}`).focus();
    },
  })));
  byId('panes').replaceChildren(...names.map((name) => element(
    'div',
    { role: 'tabpanel', id: `pane-${name}`, 'aria-labelledby': `tab-${name}` },
    name === 'requests' ? requestsBar() : null,
    element('div', { class: 'scroll rows', tabindex: 0, role: 'group', 'aria-label': `Table of ${TABS[name].title}` }),
  )));
}

function chooseTab(name) {
  tab = name;
  for (const other of Object.keys(TABS)) {
    const isChosen = other === name;
    byId(`tab-${other}`).setAttribute('aria-selected', String(isChosen));
    byId(`tab-${other}`).tabIndex = isChosen ? 0 : -1;
    byId(`pane-${other}`).hidden = !isChosen;
  }
  drawTab();
  refreshTab();
}

function drawTab() {
  const { draw, list: name } = TABS[tab];
  const rows = byId(`pane-${tab}`).querySelector('.rows');
  const part = name ? known.others[name] : null;
  if (name && !part) return;
  const before = focused(rows);
  const more = part && part.total > part.items.length
    ? element('p', { class: 'quiet' }, `${part.total - part.items.length} more are not shown: they are at /admin/v1/${name}.`)
    : null;
  rows.replaceChildren(...[draw(part?.items), more].filter((one) => one !== null));
  before();
}

function drawRequests() {
  return requestsTable(known.requests.slice(0, REQUESTS_SHOWN), nothingYet(), show);
}

function nothingYet() {
  if (Object.keys(filter).length > 0) return 'No request that the filter lets through.';
  if (known.status?.recent.requests === null) return 'Requests are not kept: admin.requests_kept is 0.';
  const url = known.status?.listeners[0]?.url ?? 'http://127.0.0.1:8080';
  return `No request yet. Try: curl ${url.startsWith('unix:') ? `--unix-socket ${url.slice(5)} http://localhost/` : `${url}/`}`;
}

function requestsBar() {
  const problem = element('span', { class: 'bad', role: 'alert', id: 'filter-problem' });
  const input = element('input', {
    id: 'filter',
    type: 'search',
    placeholder: 'client:alice status:>=400 upstream:cms path:/v3/*',
    autocomplete: 'off',
    spellcheck: 'false',
    'aria-describedby': 'filter-problem',
  });
  const apply = async (event) => {
    event?.preventDefault();
    problem.textContent = '';
    const before = filter;
    try {
      filter = readFilter(input.value);
      await followRequests();
    } catch (error) {
      filter = before;
      problem.textContent = error.message;
    }
  };
  const pause = button('Pause', () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? 'Go on' : 'Pause';
    pause.setAttribute('aria-pressed', String(isPaused));
    if (isPaused) stopRequests();
    else followRequests().catch(tell);
  }, { 'aria-pressed': 'false' });
  input.addEventListener('search', apply);
  return element(
    'form',
    { class: 'requests-bar', onsubmit: apply },
    element('label', { for: 'filter' }, 'Show'),
    input,
    element('button', { type: 'submit' }, 'Filter'),
    pause,
    element('span', { id: 'lost', class: 'quiet', role: 'status' }),
    problem,
  );
}

async function show(request) {
  fillDrawer(byId('drawer'), request);
  byId('drawer').showModal();
  // How many shared its login may be known better by now.
  const again = await requestById(request.id).catch(() => null);
  if (again && byId('drawer').open) fillDrawer(byId('drawer'), again);
}

// --- What is asked for ---------------------------------------------------------------------------

async function refresh() {
  try {
    const [now, sessions, upstreams] = await Promise.all([status(), list('sessions'), list('upstreams')]);
    Object.assign(known, { status: now, sessions, upstreams });
    answeredAt = performance.now();
    tell(null);
    showSessions();
    if (tab === 'accounts') drawTab();
  } catch (error) {
    tell(error);
  }
}

async function refreshTab() {
  const { list: name } = TABS[tab];
  if (!name) return;
  try {
    known.others[name] = await list(name);
    drawTab();
  } catch (error) {
    tell(error);
  }
}

/** Once after several calls. */
function gathered(work) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work();
    }, GATHER_MS);
  };
}

const refreshSoon = gathered(() => {
  refresh();
  if (tab === 'logins' || tab === 'clients') refreshTab();
});

const drawRequestsSoon = gathered(() => {
  if (tab === 'requests') drawTab();
});

/** What needs no filter. */
function follow() {
  listen({ events: 'login,session,summary' }, {
    open: () => alive('good', 'live'),
    broken: (forEver) => alive('bad', forEver ? 'not let in' : 'connection lost'),
    login: refreshSoon,
    session: refreshSoon,
    summary: (second) => {
      known.summaries = [...known.summaries, second].slice(-SECONDS_KEPT);
      showTiles(known.summaries);
    },
  });
}

/** Requests as they end, out of those that the filter lets through; the last ones first of all. */
async function followRequests() {
  const { items } = await list('requests', { ...filter, limit: REQUESTS_KEPT });
  stopRequests();
  known.requests = items;
  byId('lost').textContent = '';
  if (tab === 'requests') drawTab();
  let lost = 0;
  stopRequests = listen({ ...filter, events: 'request' }, {
    request: (one) => {
      if (known.requests.some((other) => other.id === one.id && other.at === one.at)) return;
      known.requests.unshift(one);
      known.requests.length = Math.min(known.requests.length, REQUESTS_KEPT);
      drawRequestsSoon();
    },
    lost: (event) => {
      lost += event.lost;
      byId('lost').textContent = `${lost} came too fast to be shown`;
    },
  });
}

function alive(look, text) {
  byId('live').className = `live ${look}`;
  byId('live').querySelector('.text').textContent = text;
}

/** Shows why the gateway could not be asked; nothing where it could. */
function tell(error) {
  const notice = byId('notice');
  notice.hidden = error === null;
  if (error === null) return;
  const isOut = error instanceof Refused && error.status === 401;
  notice.textContent = isOut
    ? 'This page is not let in any more. Open it again with: doorward dashboard'
    : `The gateway cannot be asked: ${error.message}`;
}

// --- What is done --------------------------------------------------------------------------------

/** Asks whether it is meant, has it done, and tells what came of it. */
async function change(question, yes, path, body = {}) {
  if (!(await confirmed(question, yes))) return;
  try {
    const done = await act(path, body);
    told(done.detail, 'good');
  } catch (error) {
    told(`Not done: ${error.message}`, 'bad');
  }
  await refresh();
  await refreshTab();
}

function confirmed(question, yes) {
  const dialog = byId('question');
  return new Promise((resolve) => {
    dialog.replaceChildren(element(
      'form',
      { method: 'dialog' },
      element('h2', { id: 'question-title' }, question),
      element('p', { class: 'quiet' }, 'It is written to the log and to the audit trail.'),
      element('div', { class: 'buttons' }, element('button', { value: 'yes', class: 'strong' }, yes), element('button', { value: 'no' }, 'Cancel')),
    ));
    dialog.returnValue = '';
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
    dialog.showModal();
  });
}

function told(text, look) {
  const place = byId('told');
  place.className = `told ${look}`;
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toldUntil);
  toldUntil = setTimeout(() => {
    place.hidden = true;
  }, TOLD_MS);
}

const whose = (one) => `${one.upstream}.${one.account}${one.client === null ? '' : ` for ${one.client}`}`;
const ofClient = (one) => (one.client === null ? {} : { client: one.client });

const actions = {
  logIn: (one) => change(`Log in again as ${whose(one)}?`, 'Log in', sessionPath(one, 'log_in'), ofClient(one)),
  logOut: (one) => change(`Log ${whose(one)} out, once no request carries its session?`, 'Log out', sessionPath(one, 'log_out'), ofClient(one)),
  clear: (one) => change(`Give ${one.upstream}.${one.account} a whole budget of login attempts? Another wrong login may lock it at the upstream.`, 'Clear', sessionPath(one, 'clear')),
  pause: (one) => change(`Pause ${one.name}? Its clients get 503 until you resume it.`, 'Pause', upstreamPath(one.name, 'pause')),
  resume: (one) => change(`Use ${one.name} again?`, 'Resume', upstreamPath(one.name, 'resume')),
  reload: () => change('Read the configuration again? Where anything in it is wrong, nothing changes.', 'Reload', '/reload'),
  revoke: (key) => change(`Revoke the key ${key.digest} for ever? It cannot be taken back.`, 'Revoke', '/clients/revoke', { digest: key.digest }),
};

// --- Light and dark ------------------------------------------------------------------------------

function makeTheme() {
  const isDark = matchMedia('(prefers-color-scheme: dark)').matches;
  let theme = localStorage.getItem('theme') ?? (isDark ? 'dark' : 'light');
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    byId('theme').textContent = theme === 'dark' ? 'Light' : 'Dark';
  };
  byId('theme').addEventListener('click', () => {
    theme = theme === 'dark' ? 'light' : 'dark';
    localStorage.setItem('theme', theme);
    apply();
  });
  apply();
}

// --- Start ---------------------------------------------------------------------------------------

makeTheme();
makeTabs();
chooseTab('requests');
byId('reload').addEventListener('click', actions.reload);
byId('drawer').addEventListener('click', (event) => {
  // A click beside it is one on the dialogue itself.
  if (event.target === byId('drawer')) byId('drawer').close();
});
await refresh();
try {
  known.summaries = (await list('summaries', { limit: SECONDS_KEPT })).items;
  showTiles(known.summaries);
  await followRequests();
} catch (error) {
  tell(error);
}
follow();
setInterval(refresh, EVERY_MS);
// What counts down.
setInterval(() => {
  if (known.status) showSessions();
}, 1000);
