// Drawn images to try a model on, for whoever has none: of its classes where they can be drawn, else of other things.

import { $, h } from "./dom.js";
import { cat, dog } from "./drawings/animals.js";
import { circles } from "./drawings/circles.js";
import { digit } from "./drawings/digits.js";
import { GARMENTS, garment } from "./drawings/garments.js";
import { LETTERS_SHOWN, game, letter } from "./drawings/hands.js";
import { SCENES } from "./drawings/scenes.js";

const SIDE = 280; // pixels of a drawn image
const MOST = 6;
const MOST_CIRCLES = 60;
const ANYTHING = ["landscape", "apple", "face"];
const LETTER = /^[A-Z]$/;

/** How a class of a model can be drawn, or null; `classes` are all of the model's. */
function drawingOf(name, classes) {
  const word = name.toLowerCase();
  if (/^(cat|cats|kitten)$/.test(word)) return cat;
  if (/^(dog|dogs|puppy)$/.test(word)) return dog;
  if (["rock", "paper", "scissors"].includes(word)) return game(word);
  if (LETTERS_SHOWN.includes(name) && classes.length >= 20 && classes.every((each) => LETTER.test(each)))
    return letter(name);
  if (/^\d$/.test(name) && classes.includes("0")) return digit(Number(name));
  if (classes.every((each) => /^[1-9]\d?$/.test(each)) && name <= MOST_CIRCLES) return circles(Number(name));
  if (GARMENTS.includes(word)) return garment(word);
  return SCENES[word] ?? null;
}

/** The examples beside the way in; `take` is called with a drawn image as a file. */
export class Examples {
  constructor(take) {
    this.take = take;
    this.shown = "";
  }

  /** Show those for a model, by the names of its classes as far as they are known; none for what takes no image. */
  retarget(isClassifier, classes) {
    const drawn = classes.map((name) => [name, drawingOf(name, classes)]).filter(([, draw]) => draw);
    const chosen = drawn.length ? drawn.slice(0, MOST) : ANYTHING.map((name) => [name, SCENES[name]]);
    const key = JSON.stringify([isClassifier, chosen.map(([name]) => name), drawn.length > 0]);
    if (key === this.shown) return;
    this.shown = key;
    $("examples").hidden = !isClassifier;
    $("examples-say").textContent = drawn.length
      ? "Or try a drawing:"
      : "Or try a drawing, though none is of this model's classes:";
    $("examples-list").replaceChildren(...(isClassifier ? chosen.map((example) => this.button(example)) : []));
  }

  button([name, draw]) {
    const picture = h("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" });
    draw(picture.getContext("2d"), SIDE);
    const add = async () => {
      const file = `drawn_${name.toLowerCase().replaceAll(/\W+/g, "_")}.png`;
      const canvas = h("canvas", { width: SIDE, height: SIDE });
      draw(canvas.getContext("2d"), SIDE);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
      this.take([new File([blob], file, { type: "image/png" })]);
    };
    const label = `Try the drawn example ${name}`;
    return h("li", {}, h("button", { type: "button", "aria-label": label, title: name, onclick: add }, picture));
  }
}
