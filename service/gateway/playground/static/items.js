// The images that were brought, and what each version that is asked says of them. They stay until they are removed,
// whichever model is chosen meanwhile.

import * as api from "./api.js";
import { inWords } from "./answers.js";
import { announce, plural } from "./dom.js";
import { Queue } from "./queue.js";

/**
 * Images with answers. `onChange` is called with the images that came, went or got an answer.
 *
 * An item has `file`, `name`, `url` and `answers`: one for each target, {target, about, number, state, …} with the state
 * "waiting", "answered" (with `prediction`, `model`, `stages`, `ms`) or "failed" (with `failure`).
 */
export class Items {
  constructor(onChange) {
    this.onChange = onChange;
    this.all = [];
    this.targets = [];
    this.queue = new Queue(() => this.say());
    this.asked = 0;
    this.news = { answered: [], failed: [] };
  }

  /** Take files, the first of them first. */
  add(files) {
    const items = files.map((file) => ({
      file,
      name: file.path || file.webkitRelativePath || file.name || "pasted image",
      url: URL.createObjectURL(file),
      answers: [],
    }));
    this.all.unshift(...items);
    items.forEach((item) => this.ask(item));
    this.onChange(items);
    return items;
  }

  /** Ask other models, or the same again, about every image; each target is {target, about, problem}. */
  retarget(targets) {
    if (JSON.stringify(targets) === JSON.stringify(this.targets)) return;
    this.targets = targets;
    this.queue.clear();
    this.all.forEach((item) => this.ask(item));
    this.onChange(this.all);
  }

  /** Ask the targets about an image, those that have answered as they are now excepted. */
  ask(item, again = false) {
    const before = item.answers;
    item.answers = this.targets.map((asked, at) => {
      const kept = before[at];
      const same = JSON.stringify([kept?.target, kept?.about]) === JSON.stringify([asked.target, asked.about]);
      return kept?.state === "answered" && same && !again ? kept : { ...asked, state: "waiting", number: ++this.asked };
    });
    for (const answer of item.answers.filter(({ state }) => state === "waiting")) {
      if (answer.problem && !again) this.fail(answer, new api.Failure(answer.problem, 0));
      else this.queue.add(() => this.predict(item, answer));
    }
  }

  /** Ask again where that failed for a reason that may have passed, or for the reason that `which` picks. */
  retry(which = mayPass) {
    const failed = this.all.filter((item) => item.answers.some((answer) => answer.failure && which(answer.failure)));
    failed.forEach((item) => this.ask(item, true));
    this.onChange(failed);
  }

  async predict(item, answer) {
    if (!item.answers.includes(answer)) return; // removed, or others are asked by now
    const startedMs = performance.now();
    try {
      const found = await api.predict(answer.target, item.file);
      Object.assign(answer, found, { state: "answered", ms: performance.now() - startedMs });
    } catch (failure) {
      this.fail(answer, failure);
    }
    if (!item.answers.includes(answer)) return;
    if (answer.failure) this.news.failed.push(`${item.name}: ${answer.failure.message}`);
    else this.news.answered.push(`${item.name}: ${inWords(answer.prediction)}`);
    this.onChange([item]);
  }

  fail(answer, failure) {
    Object.assign(answer, { state: "failed", failure });
  }

  /** Fetch what spoke for an answer, once. */
  explain(item, answer) {
    if (answer.state !== "answered" || !answer.about?.explain || answer.heat) return;
    answer.heat = { state: "waiting" };
    this.queue.add(async () => {
      if (!item.answers.includes(answer)) return;
      try {
        const outputs = await api.runSignature(answer.target, answer.about.explain, item.file);
        answer.heat = { state: "answered", rows: outputs.heatmap };
      } catch (failure) {
        answer.heat = { state: "failed", failure };
      }
      if (item.answers.includes(answer)) this.onChange([item]);
    });
  }

  remove(item) {
    this.all = this.all.filter((each) => each !== item);
    this.forget(item);
    this.onChange([item]);
  }

  clear() {
    const removed = this.all;
    this.all = [];
    this.queue.clear();
    removed.forEach((item) => this.forget(item));
    this.onChange(removed);
  }

  forget(item) {
    item.answers = []; // an answer on its way is for nobody
    URL.revokeObjectURL(item.url);
  }

  /** Tell a screen reader what came of all that was asked together. */
  say() {
    const { answered, failed } = this.news;
    this.news = { answered: [], failed: [] };
    const parts = [];
    if (answered.length > 2) parts.push(plural(answered.length, "answer"));
    else if (answered.length) parts.push(answered.join("; "));
    if (failed.length) parts.push(failed.length === 1 ? failed[0] : `${failed.length} failed`);
    if (parts.length) announce(parts.join(". "));
  }
}

/** Whether to ask again may help: what is wrong with the image stays wrong. */
export const mayPass = (failure) => [0, 401, 403, 404, 429].includes(failure.status) || failure.status >= 500;

/** Whether the targets say different things of an image; null as long as that is not known. */
export function differs({ answers }) {
  if (answers.length < 2 || answers.some(({ state }) => state !== "answered")) return null;
  return answers[0].prediction.class !== answers[1].prediction.class;
}
