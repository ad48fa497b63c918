// The images and their answers on the page: as cards or as a table, with what can be done to all of them.

import { makeCard, updateCard } from "./cards.js";
import { toCsv } from "./csv.js";
import { $, announce, plural, save } from "./dom.js";
import { Items, differs, mayPass } from "./items.js";
import { makeHead, makeRow, updateRow } from "./table.js";

const MANY = 25; // images that come at once, from which on a table shows more than cards

/** The images; `onChange` is called with their names when images come or go. */
export class Gallery {
  constructor(onChange) {
    this.onChange = onChange;
    this.items = new Items((changed) => this.changed(changed));
    this.elements = new Map(); // of the items, in the form that is shown
    this.form = "cards";
    this.actions = { remove: (item) => this.remove(item), retry: (item) => this.retry(item) };
    $("clear").addEventListener("click", () => this.clear());
    $("retry").addEventListener("click", () => this.items.retry());
    $("download").addEventListener("click", () => this.download());
    $("heat").addEventListener("change", () => this.updateAll());
    $("opacity").addEventListener("input", () => this.fade());
    document
      .querySelectorAll("input[name=form]")
      .forEach((choice) => choice.addEventListener("change", () => this.show(choice.value)));
    this.fade();
  }

  /** Ask these targets about every image; see `Items`. */
  retarget(targets) {
    this.targets = targets;
    const explains = targets.some(({ about }) => about?.explain);
    $("heat").disabled = !explains;
    this.nameColumns();
    this.items.retarget(targets);
    this.showHeatBar();
  }

  add(files) {
    const items = this.items.add(files);
    if (items.length >= MANY && this.form === "cards") {
      document.querySelector("input[name=form][value=table]").checked = true;
      this.show("table");
    }
  }

  /** Ask again what was refused for its key. */
  withKey() {
    this.items.retry(({ status }) => status === 401);
  }

  retry(item) {
    this.items.ask(item, true);
    this.changed([item]);
  }

  changed(changed) {
    const all = new Set(this.items.all);
    const counted = this.elements.size;
    const fresh = [];
    for (const item of changed) {
      if (!all.has(item)) {
        this.elements.get(item)?.remove();
        this.elements.delete(item);
      } else {
        if (!this.elements.has(item)) fresh.push(this.make(item));
        this.update(item);
      }
    }
    this.list.prepend(...fresh);
    this.count();
    if (counted !== this.elements.size) this.onChange(this.items.all.map(({ name }) => name));
  }

  get list() {
    return this.form === "cards" ? $("gallery") : $("rows");
  }

  make(item) {
    const element = this.form === "cards" ? makeCard(item, this.actions) : makeRow(item);
    this.elements.set(item, element);
    return element;
  }

  update(item) {
    const heat = $("heat").checked && this.form === "cards";
    if (heat) item.answers.forEach((answer) => this.items.explain(item, answer));
    const element = this.elements.get(item);
    if (this.form === "cards") updateCard(element, item, heat, this.actions);
    else updateRow(element, item, this.actions);
  }

  updateAll() {
    this.items.all.forEach((item) => this.update(item));
    this.showHeatBar();
  }

  showHeatBar() {
    const shown = $("heat").checked && !$("heat").disabled && this.form === "cards";
    for (const id of ["opacity-field", "heat-says"]) $(id).hidden = !shown;
    $("heat").parentElement.hidden = this.form !== "cards";
    const takesImages = this.targets?.some(({ about }) => about?.image);
    $("heat-none").hidden = !$("heat").disabled || !takesImages || this.form !== "cards";
  }

  /** Show the images as "cards" or as a "table". */
  show(form) {
    this.form = form;
    this.elements.forEach((element) => element.remove());
    this.elements.clear();
    this.list.replaceChildren(...this.items.all.map((item) => this.make(item)));
    this.updateAll();
    this.count();
  }

  nameColumns() {
    const name = ({ target: { at } }) =>
      at ? decodeURIComponent(at.replace("/versions/", "Version ").replace("/labels/", "")) : "Default";
    $("columns").replaceChildren(...makeHead(this.targets.map(name)));
  }

  fade() {
    $("images").style.setProperty("--heat", String($("opacity").value / 100));
  }

  /** What stands above the images: how many, how far, and what versions agree on. */
  count() {
    const { all } = this.items;
    const answers = all.flatMap((item) => item.answers);
    const done = answers.filter(({ state }) => state !== "waiting").length;
    const failed = all.filter((item) => item.answers.some(({ failure }) => failure)).length;
    $("gallery").classList.toggle("single", all.length === 1);
    $("gallery").classList.toggle("compared", (this.targets?.length ?? 0) > 1);
    $("gallery").hidden = this.form !== "cards";
    $("table").hidden = this.form !== "table" || !all.length;
    for (const id of ["drop", "examples"]) $(id).classList.toggle("compact", all.length > 0);
    $("gallery-bar").hidden = !all.length;
    $("count").textContent = `${plural(all.length, "image")}${failed ? `, ${failed} failed` : ""}`;
    $("progress").hidden = done === answers.length || answers.length < MANY;
    $("progress").max = Math.max(1, answers.length);
    $("progress").value = done;
    $("retry").hidden = !all.some((item) => item.answers.some(({ failure }) => failure && mayPass(failure)));
    this.compareAll(all);
  }

  compareAll(all) {
    const judged = all.map(differs).filter((each) => each !== null);
    const apart = judged.filter(Boolean).length;
    $("agreement").hidden = !judged.length;
    $("agreement").textContent = apart
      ? `The two versions disagree on ${apart} of ${plural(judged.length, "image")}.`
      : `The two versions agree on ${judged.length === 1 ? "this image" : `all ${plural(judged.length, "image")}`}.`;
  }

  remove(item) {
    const at = this.items.all.indexOf(item);
    this.items.remove(item);
    announce(`${item.name} removed`);
    // The focus must not be lost with its button.
    const next = this.items.all[Math.min(at, this.items.all.length - 1)];
    (next ? this.elements.get(next).querySelector(".remove") : $("pick")).focus();
  }

  clear() {
    this.items.clear();
    announce("All images removed");
    $("pick").focus();
  }

  download() {
    const model = this.targets?.[0]?.target.model ?? "answers";
    save(`${model}_answers.csv`, new Blob([toCsv(this.items.all)], { type: "text/csv" }));
    announce("The table is saved.");
  }
}
