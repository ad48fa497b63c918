// The model card of the chosen version: what it can do, what it learnt from, its figures.

import * as api from "./api.js";
import { $, h } from "./dom.js";

const FIGURES = { "curves.png": "Loss and accuracy by epoch", "confusion_matrix.png": "Confusion matrix" };

// Good models differ in the second decimal.
const exact = (share) => (share === undefined ? null : `${(share * 100).toFixed(2)}\u00a0%`);

let asked = 0;

/** Show the card of a target; hide the panel where there is none. */
export async function showCard(target, about) {
  const mine = ++asked;
  let card = null;
  let figures = [];
  if (about) card = await api.modelCard(target).catch(() => null);
  if (card) figures = await Promise.all(Object.entries(FIGURES).map(([file, says]) => figure(target, file, says)));
  if (mine !== asked) return;
  $("card").hidden = card === null;
  if (card === null) return;
  $("facts").replaceChildren(...facts(card).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  $("figures").querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
  $("figures").replaceChildren(...figures.filter(Boolean));
  const classes = Array.isArray(card.classes) ? card.classes : [];
  $("classes").hidden = !classes.length;
  $("classes").firstElementChild.textContent = `${classes.length} classes`;
  $("classes").lastElementChild.replaceChildren(
    h("ul", { class: "class-list" }, classes.map((name) => h("li", { class: "tag" }, name))),
  );
}

function facts(card) {
  const test = card.metrics?.test ?? {};
  const interval = test.accuracy_interval_95?.map(exact).join(" to ");
  const trained = card.training ?? {};
  return [
    ["Right on test images", exact(test.accuracy)],
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

/** Fetched rather than named as a source, so that it is asked for as everything else is. */
async function figure(target, file, says) {
  const image = await api.figure(target, file).catch(() => null);
  if (image === null) return null;
  const url = URL.createObjectURL(image);
  const link = h("a", { href: url, target: "_blank", title: `${says} (opens in a new tab)` });
  link.append(h("img", { src: url, alt: says }));
  return link;
}
