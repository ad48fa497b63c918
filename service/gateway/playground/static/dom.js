// Small helpers for elements, numbers and screen readers. Text is only ever set as text, never as HTML.

export const $ = (id) => document.getElementById(id);

/** Make an element; attributes beginning with "on" are listeners, `class` and the rest are attributes. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const percent = (score) => `${(score * 100).toFixed(1)}\u00a0%`;

export function milliseconds(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** Have a screen reader say something, also when it is the same as before. */
export function announce(text) {
  const announcer = $("announcer");
  announcer.textContent = announcer.textContent === text ? `${text}\u00a0` : text;
}
