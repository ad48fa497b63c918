// Images as rows of a table, for many of them.

import { isStrange } from "./answers.js";
import { h, milliseconds, percent } from "./dom.js";
import { differs, mayPass } from "./items.js";

const COLUMNS = ["Class", "Score", "Time"];

/** The rows that head a table for so many targets, by their names. */
export function makeHead(names) {
  const columns = names.flatMap(() => COLUMNS.map((column) => h("th", { scope: "col" }, column)));
  const titles = h("tr", {}, h("th", { scope: "col" }, "Image"), columns, h("td", {}));
  if (names.length < 2) return [titles];
  const groups = names.map((name) => h("th", { scope: "colgroup", colspan: COLUMNS.length }, name));
  return [h("tr", { class: "versions-row" }, h("td", {}), groups, h("td", {})), titles];
}

/** The row of an item. `actions` has `remove` and `retry`, each for an item. */
export function makeRow(item) {
  return h("tr", { class: "row", "data-name": item.name });
}

/** Bring a row up to date. */
export function updateRow(row, item, actions) {
  const { answers } = item;
  row.classList.toggle(
    "failed",
    answers.some(({ state }) => state === "failed"),
  );
  row.classList.toggle("differs", differs(item) === true);
  const again = answers.some(({ failure }) => failure && mayPass(failure));
  row.replaceChildren(
    h(
      "th",
      { scope: "row" },
      h("span", { class: "of-image" }, thumbnail(item), h("span", { class: "file", title: item.name }, item.name)),
    ),
    ...(answers.length ? answers : [{ state: "unasked" }]).flatMap((answer, at) =>
      cells(answer, at > 0 && differs(item)),
    ),
    h(
      "td",
      { class: "row-buttons" },
      again &&
        h(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": `Try ${item.name} again`,
            onclick: () => actions.retry(item),
          },
          "↻",
        ),
      h(
        "button",
        {
          type: "button",
          class: "quiet remove",
          "aria-label": `Remove ${item.name}`,
          onclick: () => actions.remove(item),
        },
        "×",
      ),
    ),
  );
}

function thumbnail(item) {
  const image = h("img", { src: item.url, alt: "", width: 36, height: 36, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.classList.add("broken"));
  return image;
}

function cells(answer, other) {
  if (answer.state === "failed") return [h("td", { class: "error", colspan: COLUMNS.length }, answer.failure.message)];
  if (answer.state !== "answered") {
    const says = answer.state === "waiting" ? "Asking…" : "Waits until the service can be asked.";
    return [h("td", { class: "muted", colspan: COLUMNS.length }, says)];
  }
  const { prediction, ms } = answer;
  const strange =
    isStrange(prediction) &&
    h("span", { class: "tag", title: "Unlike the images that the model learned from" }, "not known");
  const another = other && h("span", { class: "tag different" }, "differs");
  return [
    h("td", { class: "class" }, h("strong", {}, prediction.class ?? ""), " ", strange, " ", another),
    h("td", { class: "number" }, prediction.class === null ? "" : percent(prediction.score)),
    h("td", { class: "number muted" }, milliseconds(ms)),
  ];
}
