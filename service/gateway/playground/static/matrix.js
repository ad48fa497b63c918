// The confusion matrix as SVG: which class was taken for which, legible for many classes, and the worst in words.

import { svg } from "./dom.js";

const LETTER = 7.4; // pixels of a letter of the labels
const LONGEST = 16; // letters of a label
const MOST_NUMBERS = 60; // classes, from which on a cell is too small for a number

/** Draw a matrix of counts, rows the true class, columns the predicted one; a cell is so many pixels wide. */
export function confusionMatrix(confusion, classes, says, cell) {
  const names = classes.map((name) => (name.length > LONGEST ? `${name.slice(0, LONGEST - 1)}…` : name));
  const longest = Math.max(...names.map((name) => name.length));
  const margin = 34 + longest * LETTER;
  const upright = longest * LETTER > cell;
  const top = upright ? margin : 46;
  const side = classes.length * cell;
  const [width, height] = [Math.max(margin + side + 6, margin + side / 2 + 54), top + side + 6];
  const middle = (at) => (at + 0.5) * cell;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart matrix", role: "img", "aria-label": says },
    label("predicted class", margin + side / 2, 16, "middle", "muted"),
    label("true class", 0, 0, "middle", "muted", `translate(14 ${top + side / 2}) rotate(-90)`),
    names.map((name, at) =>
      upright
        ? label(name, 0, 0, "start", "", `translate(${margin + middle(at) + 4} ${top - 7}) rotate(-90)`)
        : label(name, margin + middle(at), top - 8, "middle"),
    ),
    names.map((name, at) => label(name, margin - 8, top + middle(at) + 4, "end")),
    svg("rect", { class: "frame-of-matrix", x: margin, y: top, width: side, height: side }),
    svg("path", {
      class: "grid",
      d: names.map((_, at) => `M${margin} ${top + at * cell}h${side}M${margin + at * cell} ${top}v${side}`).join(""),
    }),
    confusion.flatMap((counts, row) => {
      const all = counts.reduce((sum, count) => sum + count, 0);
      return counts.flatMap((count, column) => {
        if (!count) return [];
        const share = count / all;
        const right = row === column;
        const [x, y] = [margin + column * cell, top + row * cell];
        const shade = right ? 0.15 + 0.85 * share : 0.25 + 0.75 * Math.sqrt(share);
        const inverse = shade > 0.6 ? "inverse" : "";
        const title = `${classes[row]} taken for ${classes[column]}: ${count} of ${all}`;
        return [
          svg(
            "rect",
            {
              class: right ? "right" : "wrong",
              x: x + 1,
              y: y + 1,
              width: cell - 2,
              height: cell - 2,
              rx: 3,
              "fill-opacity": shade.toFixed(3),
            },
            svg("title", {}, title),
          ),
          classes.length <= MOST_NUMBERS &&
            label(count, x + cell / 2, y + cell / 2 + 4, "middle", `count ${inverse} ${count > 999 ? "tiny" : ""}`),
        ];
      });
    }),
  );
}

/** The most frequent mistakes, each [count, true class, predicted class]. */
export function mistakes(confusion, classes, most = 6) {
  const found = confusion.flatMap((counts, row) =>
    counts.map((count, column) => (row === column ? [0] : [count, classes[row], classes[column]])),
  );
  return found
    .filter(([count]) => count > 0)
    .sort(([a], [b]) => b - a)
    .slice(0, most);
}

const label = (says, x, y, anchor, kind = "", transform = null) =>
  svg("text", { x, y, "text-anchor": anchor, class: kind, transform }, String(says));
