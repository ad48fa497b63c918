// The figures of a version: drawn from the numbers in its model card, or the picture that it was published with.

import * as api from "./api.js";
import { barChart, lineChart } from "./charts.js";
import { $, h, plural } from "./dom.js";
import { confusionMatrix, mistakes } from "./matrix.js";

/** Pixels that a chart has: in the panel beside, or in the dialog. */
const widthOf = (large) => (large ? Math.min(760, innerWidth - 80) : 300);

/** Pixels of a cell of a matrix: larger where few classes leave room. */
const cellOf = (large, classes) =>
  Math.max(30, Math.min(large ? 60 : 46, ((large ? innerWidth : 340) - 170) / classes));

const plain = (value) => String(Math.round(value * 1000) / 1000);
const percents = (value) => `${Math.round(value * 100)} %`;

/** The figures that a card has numbers for, each {title, says, draw}; `draw` answers the elements to show. */
export async function figuresOf(card, target) {
  const found = [...curves(card), ...matrix(card), ...reliability(card)];
  if (!card.training?.history?.length) {
    const picture = await published(target, "curves.png", "Loss and accuracy by epoch");
    if (picture) found.unshift(picture);
  }
  return found;
}

function curves({ training }) {
  const history = training?.history ?? [];
  if (history.length < 2) return [];
  return [
    ["loss", "Loss", plain],
    ["accuracy", "Accuracy", percents],
  ].map(([name, title, format]) => {
    const of = (key) => history.map((row, at) => [at + 1, row[key]]).filter(([, value]) => Number.isFinite(value));
    const series = [
      { name: "training (augmented)", points: of(name) },
      { name: "validation", points: of(`val_${name}`) },
    ].filter(({ points }) => points.length);
    const values = series.flatMap(({ points }) => points.map(([, value]) => value));
    const x = { label: "epoch", from: 1, to: history.length, format: plain, whole: true };
    const y = {
      from: name === "loss" ? 0 : Math.min(...values),
      to: name === "loss" ? Math.max(...values) : 1,
      format,
    };
    const last = series.map((each) => `${each.name} ${format(each.points.at(-1)[1])}`).join(", ");
    const says = `${title} over ${plural(history.length, "epoch")}; in the last: ${last}.`;
    return { title: `${title} by epoch`, says, draw: (large) => [lineChart({ series, x, y, says }, widthOf(large))] };
  });
}

function matrix({ metrics, classes }) {
  const { confusion, correct, images } = metrics?.test ?? {};
  if (!Array.isArray(confusion) || confusion.length !== classes?.length) return [];
  const worst = mistakes(confusion, classes);
  const words = worst.map(([count, actual, predicted]) => `${actual} taken for ${predicted}: ${count}`);
  const says = `Confusion matrix: ${correct} of ${plural(images, "test image")} right. ${words.join("; ")}`;
  const list = worst.length
    ? [
        h("h3", {}, "Most frequent mistakes"),
        h(
          "ul",
          { class: "mistakes" },
          words.map((each) => h("li", {}, each)),
        ),
      ]
    : [h("p", { class: "muted" }, "No test image was taken for another class.")];
  return [
    {
      title: "Confusion matrix",
      says,
      draw: (large) => [
        confusionMatrix(confusion, classes, says, cellOf(large, classes.length)),
        ...(large ? list : []),
      ],
    },
  ];
}

function reliability({ metrics }) {
  const bins = metrics?.test?.reliability ?? [];
  if (!bins.length) return [];
  const series = [
    { name: "this model", points: bins.map(([, score, accuracy]) => [score, accuracy]) },
    {
      name: "as its scores say",
      points: [
        [0, 0],
        [1, 1],
      ],
      dashed: true,
    },
  ];
  const axis = { from: 0, to: 1, format: percents };
  const words = bins.map(
    ([count, score, right]) =>
      `of ${plural(count, "image")} with scores of ${percents(score)} ${percents(right)} are right`,
  );
  const says = `Reliability; ${words.join("; ")}`;
  const bars = bins.map(([count, score]) => [score, count, count.toLocaleString("en")]);
  const caption =
    "How often answers are right, by their score, and how many test images have such a score. " +
    "Below the dashed line the model is surer than it should be.";
  const draw = (large) => [
    lineChart({ series, x: { ...axis, label: "highest score" }, y: axis, says }, widthOf(large)),
    ...(large
      ? [
          barChart(
            {
              bars,
              x: { ...axis, label: "test images by their highest score" },
              says: "Number of test images by score",
            },
            widthOf(large),
          ),
        ]
      : []),
    ...(large ? [h("p", { class: "muted small" }, caption)] : []),
  ];
  return [{ title: "Reliability", says, draw }];
}

/** Fetched rather than named as a source, so that it is asked for as everything else is; drawn on white. */
async function published(target, file, title) {
  const image = await api.figure(target, file).catch(() => null);
  if (image === null) return null;
  const url = URL.createObjectURL(image);
  return {
    title,
    says: title,
    url,
    draw: (large) => [h("img", { src: url, alt: large ? title : "", class: "on-white" })],
  };
}

/** A small form of a figure; pressed, it opens large. */
export function thumbnail(figure) {
  return h(
    "button",
    { type: "button", class: "figure", "aria-label": `${figure.title}, open large`, onclick: () => enlarge(figure) },
    h("span", { class: "figure-title" }, figure.title),
    figure.draw(false),
  );
}

function enlarge(figure) {
  $("large-title").textContent = figure.title;
  $("large-content").replaceChildren(...figure.draw(true));
  $("large").showModal();
}

/** Have the dialog of large figures close by its button, and by a click beside it. */
export function watchLarge() {
  $("large-close").addEventListener("click", () => $("large").close());
  $("large").addEventListener("click", (event) => event.target === $("large") && $("large").close());
}
