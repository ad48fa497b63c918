// Charts as SVG in the page's own colours, so that they are sharp at any size and dark where the page is.

import { svg } from "./dom.js";

const WIDTH = 480;
const HEIGHT = 270;
const LEFT = 46;
const BOTTOM = 40;
const TOP = 30;
const RIGHT = 12;

/**
 * A chart of lines.
 *
 * `series` are {name, points: [[x, y], …], dashed}; `x` and `y` are {label, from, to, format}; `says` is what a screen
 * reader reads of it.
 */
export function lineChart({ series, x, y, says }) {
  const across = scale(x, LEFT, WIDTH - RIGHT);
  const up = scale(y, HEIGHT - BOTTOM, TOP);
  const path = ({ points }) =>
    points.map(([a, b], at) => `${at ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`).join("");
  const few = series.every(({ points }) => points.length <= 20);
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": says },
    ticks(y).flatMap((value) => row(value, y, up)),
    ticks(x).flatMap((value) => column(value, x, across)),
    text(x.label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, "middle"),
    series.flatMap((each, at) => [
      svg("path", { class: `line line-${at}${each.dashed ? " dashed" : ""}`, d: path(each) }),
      ...(few && !each.dashed
        ? each.points.map(([a, b]) => svg("circle", { class: `dot line-${at}`, cx: across(a), cy: up(b), r: 3 }))
        : []),
    ]),
    legend(series),
  );
}

/** Bars at places of an axis: `bars` are [x, height, label], `x` is as in `lineChart`. */
export function barChart({ bars, x, says }) {
  const across = scale(x, LEFT, WIDTH - RIGHT);
  const most = Math.max(1, ...bars.map(([, height]) => height));
  const height = 110;
  const tall = (count) => (Math.log10(1 + count) / Math.log10(1 + most)) * (height - 50);
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, class: "chart", role: "img", "aria-label": says },
    svg("path", { class: "axis", d: `M${LEFT} ${height - BOTTOM}H${WIDTH - RIGHT}` }),
    bars.flatMap(([at, count, label]) => [
      svg("rect", {
        class: "line-0 bar",
        x: across(at) - 9,
        y: height - BOTTOM - tall(count),
        width: 18,
        height: tall(count),
      }),
      text(label, across(at), height - BOTTOM - tall(count) - 3, "middle", "tiny"),
    ]),
    ticks(x).map((value) => text(x.format(value), across(value), height - BOTTOM + 15, "middle")),
    text(x.label, (LEFT + WIDTH - RIGHT) / 2, height - 4, "middle"),
  );
}

const scale =
  ({ from, to }, start, end) =>
  (value) =>
    start + ((value - from) / (to - from || 1)) * (end - start);

/** Round values between the ends of an axis, five or so. */
function ticks({ from, to, whole }) {
  const rough = (to - from || 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999));
  const found = [];
  for (let at = Math.ceil(from / step - 1e-9); at * step <= to + step * 1e-6; at += 1) found.push(at * step);
  return found;
}

const row = (value, axis, up) => [
  svg("path", { class: "grid", d: `M${LEFT} ${up(value)}H${WIDTH - RIGHT}` }),
  text(axis.format(value), LEFT - 7, up(value) + 4, "end"),
];

const column = (value, axis, across) => [
  svg("path", { class: "grid", d: `M${across(value)} ${TOP}V${HEIGHT - BOTTOM}` }),
  text(axis.format(value), across(value), HEIGHT - BOTTOM + 16, "middle"),
];

function legend(series) {
  let x = LEFT;
  return series.flatMap(({ name, dashed }, at) => {
    const mark = svg("path", { class: `line line-${at}${dashed ? " dashed" : ""}`, d: `M${x} 12H${x + 18}` });
    const found = [mark, text(name, x + 24, 16, "start")];
    x += 44 + 6.4 * name.length;
    return found;
  });
}

const text = (says, x, y, anchor, kind = "") => svg("text", { x, y, "text-anchor": anchor, class: kind }, says);
