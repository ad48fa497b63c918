// How an answer looks: the class, bars of scores, and where the time went.

import { h, milliseconds, percent } from "./dom.js";

const STAGES = {
  decode: "decode",
  queue: "wait",
  infer: "model",
  encode: "write",
  rest: "other",
  network: "network",
};

const LEAST_MS = 0.05; // what would be shown as 0.0 is left out
const DOUBT = "The model doesn't know this: it is unlike the images that it learned from.";

/** Whether a model says that it does not know what it sees. */
export const isStrange = (prediction) => prediction.in_domain === false;

/** The best class in large letters, and a sentence where the model does not know what it sees. */
export const best = (prediction) =>
  h(
    "div",
    { class: isStrange(prediction) ? "strange" : "" },
    prediction.class !== null &&
      h("p", { class: "best" }, h("strong", {}, prediction.class), h("span", {}, percent(prediction.score))),
    isStrange(prediction) && h("p", { class: "doubt" }, DOUBT),
  );

/** An answer in a few words. */
export function inWords(prediction) {
  if (prediction.class === null) return "not known";
  return `${prediction.class}, ${percent(prediction.score)}${isStrange(prediction) ? ", but not known" : ""}`;
}

/** Bars of the highest scores; the others can be opened. */
export function bars(prediction, shown) {
  if (prediction.class === null) return [];
  const ranked = Object.entries(prediction.scores).sort(([, a], [, b]) => b - a);
  const list = (entries) => h("ul", { class: "bars" }, entries.map(bar));
  const rest = ranked.slice(shown);
  return [
    list(ranked.slice(0, shown)),
    ...(rest.length > 0 ? [h("details", {}, h("summary", {}, `${rest.length} more`), list(rest))] : []),
  ];
}

function bar([name, score]) {
  const filled = h("span");
  filled.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
  return h(
    "li",
    {},
    h("span", { class: "name", title: name }, name),
    h("span", { class: "score" }, percent(score)),
    h("div", { class: "bar", "aria-hidden": "true" }, filled),
  );
}

/** Who answered, and in what time; opened, a strip of the stages with their milliseconds. */
export function times(name, stages) {
  const total = stages.reduce((sum, [, ms]) => sum + ms, 0);
  const known = stages.filter(([name, ms]) => name in STAGES && ms >= LEAST_MS);
  const strip = known.map(([name, ms]) => {
    const part = h("span", { class: `stage-${name}` });
    part.style.flexGrow = String(ms);
    return part;
  });
  return h(
    "details",
    { class: "times" },
    h("summary", {}, `${name}, ${milliseconds(total)}`),
    h("div", { class: "strip", "aria-hidden": "true" }, strip),
    h(
      "ul",
      {},
      known.map(([name, ms]) => h("li", { class: `stage-${name}` }, `${STAGES[name]} ${milliseconds(ms)}`)),
    ),
  );
}
