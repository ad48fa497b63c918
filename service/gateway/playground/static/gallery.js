// The images that were brought, each with its answer.

import * as api from "./api.js";
import { bars, best, inWords, times } from "./answers.js";
import { $, announce, h, plural } from "./dom.js";
import { hide, overlay } from "./heatmap.js";

const AT_ONCE = 3; // requests; the service batches what arrives together
const BARS = 5;

/** Images and their answers; `onChange` is called when images come or go. */
export class Gallery {
  constructor(onChange) {
    this.onChange = onChange;
    this.items = [];
    this.waiting = [];
    this.running = 0;
    this.batch = { answered: [], failed: 0 };
    this.target = null;
    this.about = null;
    $("clear").addEventListener("click", () => this.clear());
  }

  get names() {
    return this.items.map((item) => item.name);
  }

  /** Ask another model, or the same one again, about every image. */
  retarget(target, about) {
    const changed = JSON.stringify([target, about]) !== JSON.stringify([this.target, this.about]);
    this.target = target;
    this.about = about;
    if (changed && about?.image) this.items.forEach((item) => this.enqueue(item));
  }

  /** Take images, the first of them first. */
  add(files) {
    const items = files.map((file) => this.makeItem(file));
    this.items.unshift(...items);
    $("gallery").prepend(...items.map((item) => item.element));
    items.forEach((item) => this.enqueue(item));
    this.changed();
  }

  makeItem(file) {
    const name = file.name || "pasted image";
    const item = { file, name, url: URL.createObjectURL(file), asked: 0 };
    const image = h("img", { src: item.url, alt: name });
    item.picture = h("div", { class: "picture" }, image);
    image.addEventListener("error", () => {
      const says = "This browser can't show it; the service may read it all the same.";
      image.replaceWith(h("p", { class: "no-picture" }, says));
    });
    item.answer = h("div", { class: "answer" });
    const remove = h(
      "button",
      { type: "button", class: "quiet remove", "aria-label": `Remove ${name}`, onclick: () => this.remove(item) },
      "×",
    );
    item.element = h(
      "li",
      { class: "item", "data-name": name },
      item.picture,
      h(
        "div",
        { class: "told" },
        h("div", { class: "item-head" }, h("h3", { class: "file", title: name }, name), remove),
        item.answer,
      ),
    );
    return item;
  }

  enqueue(item) {
    item.element.classList.remove("failed");
    item.element.setAttribute("aria-busy", "true");
    item.answer.replaceChildren(h("p", { class: "muted" }, this.target ? "Asking…" : "Waits until the service can be asked."));
    hide(item);
    if (!this.waiting.includes(item)) this.waiting.push(item);
    this.pump();
  }

  pump() {
    // Without a key, and while the page loads, nobody is there to be asked yet.
    while (this.target && this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      this.answer(this.waiting.shift()).finally(() => {
        this.running -= 1;
        this.pump();
        if (!this.running) this.say();
      });
    }
  }

  async answer(item) {
    const mine = ++item.asked;
    const { target, about } = this;
    try {
      const answered = await api.predict(target, item.file);
      if (mine === item.asked) this.show(item, answered, target, about);
    } catch (failure) {
      if (mine === item.asked) this.showFailure(item, failure);
    }
  }

  show(item, { model, prediction, stages }, target, about) {
    item.element.removeAttribute("aria-busy");
    this.batch.answered.push(`${item.name}: ${inWords(prediction)}`);
    const explain = (event) => overlay(event.currentTarget, item, target, about);
    item.answer.replaceChildren(
      best(prediction),
      ...(prediction.class === null ? [] : bars(prediction, BARS).filter(Boolean)),
      ...(about?.explain
        ? [h("button", { type: "button", class: "small", "aria-pressed": "false", onclick: explain }, "What it looks at")]
        : []),
      times(stages),
      h("p", { class: "muted small" }, `${model.name} version ${model.version}`),
    );
  }

  showFailure(item, failure) {
    item.element.removeAttribute("aria-busy");
    item.element.classList.add("failed");
    this.batch.failed += 1;
    this.batch.why = `${item.name}: ${failure.message}`;
    // What is wrong with the image stays wrong; the rest may pass.
    const passing = [0, 401, 403, 429].includes(failure.status) || failure.status >= 500;
    item.answer.replaceChildren(
      h("p", { class: "error" }, failure.message),
      passing ? h("button", { type: "button", class: "small", onclick: () => this.enqueue(item) }, "Try again") : "",
    );
  }

  /** Tell a screen reader what came of all that was asked together. */
  say() {
    const { answered, failed, why } = this.batch;
    this.batch = { answered: [], failed: 0 };
    const parts = [];
    if (answered.length > 2) parts.push(`${plural(answered.length, "image")} answered`);
    else if (answered.length) parts.push(answered.join("; "));
    if (failed) parts.push(failed === 1 ? why : `${failed} images failed`);
    if (parts.length) announce(parts.join(". "));
  }

  remove(item) {
    const at = this.items.indexOf(item);
    this.forget(item);
    this.items.splice(at, 1);
    this.changed();
    announce(`${item.name} removed`);
    // The focus must not be lost with its button.
    const next = this.items[Math.min(at, this.items.length - 1)];
    (next ? next.element.querySelector(".remove") : $("pick")).focus();
  }

  clear() {
    this.items.forEach((item) => this.forget(item));
    this.items = [];
    this.changed();
    announce("All images removed");
    $("pick").focus();
  }

  forget(item) {
    item.asked += 1; // an answer on its way is for nobody
    this.waiting = this.waiting.filter((each) => each !== item);
    URL.revokeObjectURL(item.url);
    item.element.remove();
  }

  changed() {
    const count = this.items.length;
    $("gallery").classList.toggle("single", count === 1);
    $("drop").classList.toggle("compact", count > 0);
    $("gallery-bar").hidden = count < 2;
    $("count").textContent = plural(count, "image");
    this.onChange();
  }
}
