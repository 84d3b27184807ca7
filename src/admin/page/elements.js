// Elements of the page. Texts become text nodes: nothing that a gateway says can become markup.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; a child that is null is left out. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in a drawing. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** A state in words, with a mark before it: colour is never alone. */
export function badge([look, text], title = null) {
  return element('span', { class: `badge ${look}`, title }, element('span', { class: 'mark', 'aria-hidden': 'true' }), text);
}

/** A button. */
export function button(text, onclick, attributes = {}) {
  return element('button', { type: 'button', onclick, ...attributes }, text);
}

/**
 * A table of these columns, each `[title, cell of a row, class]`. On a narrow screen each row is a card, and titles
 * stand before their values.
 */
export function table(caption, columns, rows, nothing, attributesOf = () => ({})) {
  if (rows.length === 0) return element('p', { class: 'nothing' }, nothing);
  const head = element('tr', {}, columns.map(([title, , look]) => element('th', { scope: 'col', class: look }, title)));
  const body = rows.map((row) => element('tr', attributesOf(row), columns.map(([title, cell, look]) => element(
    'td',
    { class: look, 'data-title': title },
    element('span', {}, cell(row)),
  ))));
  return element(
    'table',
    {},
    element('caption', { class: 'hidden' }, caption),
    element('thead', {}, head),
    element('tbody', {}, body),
  );
}

/** A bar that is full to a part of 1. What it shows stands beside it in words. */
export function bar(part, look = 'good') {
  const width = Math.max(0, Math.min(1, part)) * 100;
  return drawn(
    'svg',
    { class: `bar ${look}`, viewBox: '0 0 100 8', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    drawn('rect', { class: 'track', width: 100, height: 8, rx: 2 }),
    drawn('rect', { class: 'fill', width, height: 8, rx: 2 }),
  );
}

/** Pairs of a name and a value. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return element('dl', { class: 'facts' }, shown.map(([name, value]) => [
    element('dt', {}, name),
    element('dd', {}, value),
  ]));
}
