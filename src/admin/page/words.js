// Numbers, times and states as people read them.

const NOTHING = '-';

/** A length of time: `412 ms`, `7.3 s`, `4 m 10 s`, `2 h 5 m`, `3 d 4 h`. */
export function span(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return NOTHING;
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return both(minutes, 'm', seconds % 60, 's');
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return both(hours, 'h', minutes % 60, 'm');
  return both(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

/** The same without milliseconds, for what ticks once a second. */
export function ticking(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return NOTHING;
  return span(Math.max(0, Math.round(milliseconds / 1000)) * 1000).replace(/^0 ms$/, '0 s').replace(/\.0 s$/, ' s');
}

function both(much, one, little, other) {
  return little === 0 ? `${much} ${one}` : `${much} ${one} ${little} ${other}`;
}

/** The time of day of a moment in RFC 3339, in the reader's own zone. */
export function time(moment) {
  const at = new Date(moment);
  return Number.isNaN(at.valueOf()) ? NOTHING : at.toLocaleTimeString([], { hour12: false });
}

/** Day and time. */
export function date(moment) {
  const at = new Date(moment);
  return Number.isNaN(at.valueOf()) ? NOTHING : at.toLocaleString([], { hour12: false });
}

/** A number with at most one digit behind the point. */
export function number(value) {
  if (value === null || value === undefined) return NOTHING;
  return value >= 100 ? String(Math.round(value)) : String(Math.round(value * 10) / 10);
}

/** Bytes: `812 B`, `4.1 KiB`, `2 MiB`. */
export function bytes(count) {
  let value = count;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1024 || unit === 'GiB') return `${number(value)} ${unit}`;
    value /= 1024;
  }
}

/** A word of a closed list: `held_back` is `held back`. */
export function word(text) {
  return text === null || text === undefined ? NOTHING : text.replaceAll('_', ' ');
}

/** `1 session`, `2 sessions`. */
export function counted(count, what) {
  return count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

/** What to show for something that may be missing. */
export function or(text, instead = NOTHING) {
  return text === null || text === undefined || text === '' ? instead : text;
}

const STATES = {
  none: ['quiet', 'none yet'],
  logging_in: ['busy', 'logging in'],
  live: ['good', 'live'],
  renewing: ['good', 'live, being renewed'],
  held_back: ['bad', 'held back'],
  quarantined: ['bad', 'quarantined'],
  open: ['good', 'open'],
};

/** How a state looks, and its words. */
export function state(name) {
  return STATES[name] ?? ['quiet', word(name)];
}

const TRIGGERS = {
  cold: 'there was no session',
  expired: 'the session had died',
  refresh: 'the session was about to end',
  rotation: 'the secret has changed',
  manual: 'an operator asked for it',
};

/** Why a login was made. */
export function trigger(name) {
  return TRIGGERS[name] ?? word(name);
}

/** How a status looks. */
export function statusClass(status) {
  if (status >= 500) return 'bad';
  if (status >= 400) return 'warn';
  return 'good';
}
