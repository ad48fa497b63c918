// Images as cards: the picture, what was answered, and, where it is wanted, what the model looked at beside it.

import { bars, best, times } from "./answers.js";
import { h } from "./dom.js";
import { drawHeat } from "./heatmap.js";
import { differs, mayPass } from "./items.js";

const BARS = 5;

/** The card of an item. `actions` has `remove` and `retry`, each for an item. */
export function makeCard(item, actions) {
  const remove = h(
    "button",
    { type: "button", class: "quiet remove", "aria-label": `Remove ${item.name}`, onclick: () => actions.remove(item) },
    "×",
  );
  return h(
    "li",
    { class: "item", "data-name": item.name },
    h("div", { class: "pictures" }, picture(item)),
    h(
      "div",
      { class: "told" },
      h("div", { class: "item-head" }, h("h3", { class: "file", title: item.name }, item.name), remove),
      h("div", { class: "answers" }),
    ),
  );
}

/** Bring a card up to date; `heat` says whether heat maps are shown. */
export function updateCard(card, item, heat, actions) {
  const { answers } = item;
  const waiting = !answers.length || answers.some(({ state }) => state === "waiting");
  card.setAttribute("aria-busy", String(waiting));
  card.classList.toggle(
    "failed",
    answers.some(({ state }) => state === "failed"),
  );
  card.classList.toggle("differs", differs(item) === true);
  const shown = answers.length ? answers : [{ state: "unasked" }];
  // What is opened stays open, and what has the focus keeps it, as long as the answers are the same.
  const key = shown.map((answer) => `${answer.state} ${answer.number}`).join();
  if (card.dataset.shows !== key) {
    card.dataset.shows = key;
    card
      .querySelector(".answers")
      .replaceChildren(
        ...shown.map((answer) => h("div", { class: "answer" }, content(item, answer, actions))),
        ...(differs(item) ? [h("p", { class: "disagree" }, "The two versions disagree.")] : []),
      );
  }
  const pictures = card.querySelector(".pictures");
  pictures.querySelectorAll(".heat").forEach((each) => each.remove());
  if (heat) pictures.append(...answers.map((answer) => heated(item, answer)).filter(Boolean));
  pictures.classList.toggle("beside", pictures.children.length > 1);
}

/** The picture of an item, or a sentence where the browser can't show it. */
export function picture(item) {
  const image = h("img", { src: item.url, alt: item.name, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => {
    const says = "This browser can't show it; the service may read it all the same.";
    image.replaceWith(h("p", { class: "no-picture" }, says));
  });
  return h("div", { class: "picture" }, image);
}

function content(item, answer, actions) {
  switch (answer.state) {
    case "answered":
      return [best(answer.prediction), ...bars(answer.prediction, BARS), times(nameOf(answer, item), answer.stages)];
    case "failed":
      return [
        h("p", { class: "error" }, answer.failure.message),
        mayPass(answer.failure) &&
          h("button", { type: "button", class: "small", onclick: () => actions.retry(item) }, "Try again"),
      ];
    case "waiting":
      return [h("p", { class: "muted" }, "Asking…")];
    default:
      return [h("p", { class: "muted" }, "Waits until the service can be asked.")];
  }
}

const nameOf = ({ model }, { answers }) => `${answers.length > 1 ? "" : `${model.name} `}version ${model.version}`;

/** The picture again, with the heat over it; null where the model does not tell. */
function heated(item, { about, heat, model }) {
  if (!about?.explain || !heat) return null;
  const says = (text, kind) => h("div", { class: "picture heat" }, h("p", { class: `no-picture ${kind}` }, text));
  if (heat.state === "waiting") return says("Asking…", "");
  if (heat.state === "failed") return says(heat.failure.message, "error");
  const image = h("img", { src: item.url, alt: `What the model looks at in ${item.name}` });
  const version = item.answers.length > 1 && h("p", { class: "legend" }, `Version ${model.version}`);
  return h("div", { class: "picture heat" }, image, drawHeat(heat.rows, image), version);
}
