// The model card of the chosen version: what it is for, what it can do, what it learnt from, its figures.

import * as api from "./api.js";
import { $, h, listed } from "./dom.js";
import { figuresOf, thumbnail } from "./figures.js";

const FEW = 6; // classes that a sentence names

// Good models differ in the second decimal.
const exact = (share) => (share === undefined ? null : `${(share * 100).toFixed(2)}\u00a0%`);

/** Shows the card of a target; `onClasses` is called with the names of its classes as far as they are known. */
export class Card {
  constructor(onClasses) {
    this.onClasses = onClasses;
    this.shown = "";
    this.asked = 0;
    this.urls = [];
  }

  async retarget({ target, about }) {
    const key = JSON.stringify([target, about]);
    if (key === this.shown) return;
    this.shown = key;
    const mine = ++this.asked;
    const card = about ? await api.modelCard(target).catch(() => null) : null;
    if (mine !== this.asked) return;
    const classes = Array.isArray(card?.classes) ? card.classes.map(String) : [];
    this.onClasses(about, classes);
    $("purpose").textContent = purposeOf(card, classes);
    $("purpose").hidden = !$("purpose").textContent;
    const figures = card ? await figuresOf(card, target) : [];
    if (mine !== this.asked) return;
    $("card").hidden = card === null;
    if (card === null) return;
    $("facts").replaceChildren(...facts(card).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.urls = figures.map(({ url }) => url).filter(Boolean);
    $("figures").replaceChildren(...figures.map(thumbnail));
    $("classes").hidden = !classes.length;
    $("classes").firstElementChild.textContent = `${classes.length} classes`;
    $("classes").lastElementChild.replaceChildren(
      h(
        "ul",
        { class: "class-list" },
        classes.map((name) => h("li", { class: "tag" }, name)),
      ),
    );
  }
}

/** A sentence on what a model is for: its card's own, or one of its classes. */
function purposeOf(card, classes) {
  if (typeof card?.purpose === "string" && card.purpose) return card.purpose;
  if (!classes.length) return "";
  const few =
    classes.length <= FEW ? listed(classes) : `${classes.slice(0, FEW).join(", ")} and ${classes.length - FEW} more`;
  return `Sorts images into ${classes.length} classes: ${few}.`;
}

function facts(card) {
  const test = card.metrics?.test ?? {};
  const interval = test.accuracy_interval_95?.map(exact).join(" to ");
  const trained = card.training ?? {};
  return [
    ["Test accuracy", exact(test.accuracy)],
    ["95 % interval", interval],
    ["Test images", test.images?.toLocaleString("en")],
    ["Training images", card.data?.train?.images?.toLocaleString("en")],
    ["Parameters", card.parameters?.toLocaleString("en")],
    ["Trained", card.created && new Date(card.created).toLocaleDateString("en", { dateStyle: "long" })],
    ["Epochs", trained.epochs],
    ["Began with", trained.began_with],
  ]
    .filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "")
    .map(([name, value]) => [name, String(value)]);
}
