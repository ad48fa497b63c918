// Charts as SVG in the page's own colours, so that they are sharp at any size and dark where the page is.

import { svg } from "./dom.js";

const LEFT = 46;
const BOTTOM = 40;
const TOP = 30;
const RIGHT = 24;

/**
 * A chart of lines, so many pixels wide.
 *
 * `series` are {name, points: [[x, y], …], dashed}; `x` and `y` are {label, from, to, format}; `says` is what a screen
 * reader reads of it.
 */
export function lineChart({ series, x, y, says }, width) {
  const height = Math.round(60 + 0.42 * width);
  const across = scale(x, LEFT, width - RIGHT);
  const up = scale(y, height - BOTTOM, TOP);
  const path = ({ points }) =>
    points.map(([a, b], at) => `${at ? "L" : "M"}${across(a).toFixed(1)} ${up(b).toFixed(1)}`).join("");
  const few = series.every(({ points }) => points.length <= 20);
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": says },
    ticks(y).flatMap((value) => row(value, y, up, width)),
    ticks(x).flatMap((value) => column(value, x, across, height)),
    text(x.label, (LEFT + width - RIGHT) / 2, height - 4, "middle"),
    series.flatMap((each, at) => [
      svg("path", { class: `line line-${at}${each.dashed ? " dashed" : ""}`, d: path(each) }),
      ...(few && !each.dashed
        ? each.points.map(([a, b]) => svg("circle", { class: `dot line-${at}`, cx: across(a), cy: up(b), r: 3 }))
        : []),
    ]),
    legend(series),
  );
}

/** Bars at places of an axis, in a logarithmic scale: `bars` are [x, height, label], the rest is as in `lineChart`. */
export function barChart({ bars, x, says }, width) {
  const across = scale(x, LEFT, width - RIGHT);
  const most = Math.max(1, ...bars.map(([, height]) => height));
  const height = 130;
  const wide = Math.min(18, width / 22);
  const tall = (count) => (Math.log10(1 + count) / Math.log10(1 + most)) * (height - 64);
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": says },
    svg("path", { class: "axis", d: `M${LEFT} ${height - BOTTOM}H${width - RIGHT}` }),
    bars.flatMap(([at, count, label]) => [
      svg("rect", {
        class: "line-0 column",
        x: across(at) - wide / 2,
        y: height - BOTTOM - tall(count),
        width: wide,
        height: tall(count),
      }),
      text(label, across(at), height - BOTTOM - tall(count) - 3, "middle", "tiny"),
    ]),
    ticks(x).map((value) => text(x.format(value), across(value), height - BOTTOM + 15, "middle")),
    text(x.label, (LEFT + width - RIGHT) / 2, height - 4, "middle"),
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

const row = (value, axis, up, width) => [
  svg("path", { class: "grid", d: `M${LEFT} ${up(value)}H${width - RIGHT}` }),
  text(axis.format(value), LEFT - 7, up(value) + 4, "end"),
];

const column = (value, axis, across, height) => [
  svg("path", { class: "grid", d: `M${across(value)} ${TOP}V${height - BOTTOM}` }),
  text(axis.format(value), across(value), height - BOTTOM + 16, "middle"),
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
