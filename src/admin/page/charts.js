// Small charts of the last quarter of an hour, drawn as SVG.

import { drawn, element } from './elements.js';

const WIDTH = 240;
const HEIGHT = 40;

/** The most that is drawn: one point for three pixels. */
const POINTS_MAX = 80;

/**
 * A tile: a title, the present value in words, and lines of values over time, of which some may be null.
 * Lines share a scale.
 */
export function tile(title, now, lines, look = '') {
  const spoken = `${title}: ${now}`;
  return element(
    'figure',
    { class: `tile ${look}` },
    element('figcaption', {}, element('span', { class: 'title' }, title), element('span', { class: 'now' }, now)),
    drawn(
      'svg',
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': spoken },
      drawing(lines.map(gathered)),
    ),
  );
}

function drawing(lines) {
  const most = Math.max(...lines.flat().map((value) => value ?? 0), 0);
  const base = drawn('line', { class: 'base', x1: 0, y1: HEIGHT - 0.5, x2: WIDTH, y2: HEIGHT - 0.5 });
  if (most === 0) return [base];
  return [base, ...lines.map((line, index) => drawn('path', { class: `line line-${index}`, d: path(line, most) }))];
}

/** Where nothing is known, the line is broken. */
function path(line, most) {
  const step = WIDTH / Math.max(1, line.length - 1);
  let pen = 'M';
  const parts = [];
  line.forEach((value, index) => {
    if (value === null) {
      pen = 'M';
      return;
    }
    const x = (index * step).toFixed(1);
    const y = (HEIGHT - 2 - (value / most) * (HEIGHT - 5)).toFixed(1);
    parts.push(`${pen}${x} ${y}`);
    pen = 'L';
  });
  return parts.join('');
}

/** The highest of each few values. */
function gathered(values) {
  const size = Math.ceil(values.length / POINTS_MAX) || 1;
  const gathered = [];
  for (let begin = 0; begin < values.length; begin += size) {
    const known = values.slice(begin, begin + size).filter((value) => value !== null && value !== undefined);
    gathered.push(known.length === 0 ? null : Math.max(...known));
  }
  return gathered;
}

/** How a request's time was spent: a strip of parts `[look, words, milliseconds]`. */
export function strip(parts) {
  const all = parts.reduce((sum, [, , length]) => sum + length, 0) || 1;
  let begin = 0;
  const drawnParts = parts.map(([look, words, length]) => {
    const part = drawn(
      'rect',
      { class: `part ${look}`, x: (begin / all) * 100, width: (length / all) * 100, height: 8 },
      drawn('title', {}, words),
    );
    begin += length;
    return part;
  });
  return drawn(
    'svg',
    {
      class: 'strip',
      viewBox: '0 0 100 8',
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': parts.map(([, words]) => words).join(', '),
    },
    drawnParts,
  );
}
