// The admin API as this page uses it: everything that is shown here exists there.

const PATH = '/admin/v1';

/** The most elements of one answer. */
const PART = 1000;

/** Why something was not done, in words (RFC 9457). */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the gateway answered ${status}`);
    this.status = status;
    this.code = problem?.code ?? null;
  }
}

async function called(path, options = {}) {
  const response = await fetch(PATH + path, options);
  if (response.ok) return response.json();
  throw new Refused(response.status, await response.json().catch(() => null));
}

export function status() {
  return called('/status');
}

/** The first elements of a list: `{ items, next, total }`. */
export function list(name, query = {}) {
  return called(`/${name}?${new URLSearchParams({ limit: PART, ...query })}`);
}

/** One of the last requests. */
export function request(id) {
  return called(`/requests/${encodeURIComponent(id)}`);
}

/** Has something done; what came of it comes back. */
export function act(path, body = {}) {
  return called(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** The path of an action on an account's session. */
export function sessionPath(session, action) {
  return `/sessions/${encodeURIComponent(session.upstream)}/${encodeURIComponent(session.account)}/${action}`;
}

/** The path of an action on an upstream. */
export function upstreamPath(name, action) {
  return `/upstreams/${encodeURIComponent(name)}/${action}`;
}

/**
 * Listens to what happens. `listeners` has a function for each kind of event, and `open` and `broken` for the
 * stream itself; the browser connects again by itself unless it was refused.
 */
export function listen(query, listeners) {
  const source = new EventSource(`${PATH}/live?${new URLSearchParams(query)}`);
  source.addEventListener('open', () => listeners.open?.());
  source.addEventListener('error', () => listeners.broken?.(source.readyState === EventSource.CLOSED));
  for (const kind of ['request', 'login', 'session', 'summary', 'lost']) {
    const listener = listeners[kind];
    if (listener) source.addEventListener(kind, (event) => listener(JSON.parse(event.data)));
  }
  return () => source.close();
}
