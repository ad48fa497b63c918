// Which model and version answer; what states they are in.

import * as api from "./api.js";
import { $, h, plural } from "./dom.js";
import { describe } from "./signatures.js";

const NOTHING = "-"; // compared with
const QUIET_MS = 10000;
const WAITING_MS = 1500;
const FRIENDLY = { AVAILABLE: "ready", LOADING: "loading", UNLOADING: "going", START: "waiting", END: "failed" };
const TONES = { AVAILABLE: "good", END: "bad" };

/**
 * The chosen model; `onChange` is called when it, or what is known of it, changes.
 *
 * It is called with one target, or with two where a version is compared with another, each {target, about, problem}:
 * {model, at}, what it takes (see signatures.js) or null, and why it can't be asked.
 */
export class Chooser {
  constructor(onChange) {
    this.onChange = onChange;
    this.models = [];
    this.labels = {};
    this.about = null; // what the chosen target takes, once it is ready
    this.shown = ""; // what the selects were made from
    this.gone = ""; // what became of the model that was chosen
    this.asked = 0;
    this.keyless = false; // nothing is asked until there is a key
    $("model").addEventListener("change", () => {
      this.gone = "";
      this.chooseModel();
    });
    for (const id of ["version", "compare"]) $(id).addEventListener("change", () => this.look());
    $("chooser").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("visibilitychange", () => document.hidden || this.keyless || this.refresh());
    document.addEventListener(api.UNREACHABLE, () => pill("bad", "not reachable"));
    this.wanted = new URLSearchParams(location.hash.slice(1));
  }

  get target() {
    return { model: $("model").value, at: $("version").value };
  }

  /** What the chosen version is compared with, or null. */
  get other() {
    const at = $("compare").value;
    return at === NOTHING ? null : { model: $("model").value, at };
  }

  /** Ask for the states, now and then again; not without a key where one is `lacking`. */
  async refresh(lacking = false) {
    clearTimeout(this.timer);
    this.keyless = false;
    if (lacking) return this.wantKey("This service needs an API key.");
    let pause = WAITING_MS;
    try {
      this.models = await api.models();
      const first = this.shown === "";
      this.showModels();
      if (first && this.models.length) await this.chooseModel(this.wanted.get("at") ?? "", this.wanted.get("with"));
      else if (this.models.length) await this.update();
      if (this.models.every(isReady)) pause = QUIET_MS;
    } catch (failure) {
      if (failure.status === 401) return this.wantKey(failure.message);
      if (failure.status) pill("bad", "not usable");
      this.tell(failure.message);
    }
    if (!document.hidden) this.timer = setTimeout(() => this.refresh(), pause);
  }

  /** Say that a key is missing; it is asked again once there is one. */
  wantKey(problem) {
    this.keyless = true;
    pill("wait", "key needed");
    if (!this.shown) for (const id of ["model", "version"]) $(id).replaceChildren(h("option", {}, "–"));
    this.tell(problem);
  }

  showModels() {
    const ready = this.models.filter(isReady).length;
    if (!this.models.length) pill("wait", "no model yet");
    else if (ready === this.models.length) pill("good", `${plural(ready, "model")} ready`);
    else pill("wait", `${ready} of ${plural(this.models.length, "model")} ready`);
    const names = this.models.map((model) => model.name);
    const key = JSON.stringify(names);
    if (key === this.shown || !names.length) return;
    const before = this.shown ? $("model").value : this.wanted.get("model");
    this.shown = key;
    $("model").replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    $("model").value = names.includes(before) ? before : (this.models.find(isReady)?.name ?? names[0]);
    $("model").disabled = false;
    if (before && !names.includes(before)) this.gone = `${before} is not served; ${$("model").value} answers instead.`;
  }

  async chooseModel(at = "", other = null) {
    const { model } = this.target;
    const labels = await api.labels(model).catch(() => ({}));
    if (model !== this.target.model) return; // another one was chosen meanwhile
    this.labels = labels;
    this.showVersions(at, other ?? NOTHING);
    await this.look();
  }

  /** After a look at the states: the same choice, with what is new of it. */
  async update() {
    const before = this.chosenState;
    const { model } = this.target;
    const labels = await api.labels(model).catch(() => this.labels);
    if (model !== this.target.model) return;
    this.labels = labels;
    this.showVersions($("version").value, $("compare").value);
    if (!this.about || before !== this.chosenState) await this.look();
  }

  get versions() {
    return this.models.find((model) => model.name === this.target.model)?.model_version_status ?? [];
  }

  showVersions(at, other) {
    const labels = Object.entries(this.labels);
    const choices = [
      ["", "Default"],
      ...labels.map(([label, version]) => [`/labels/${encodeURIComponent(label)}`, `${label} (version ${version})`]),
      ...this.versions.map(({ version }) => [`/versions/${version}`, `Version ${version}`]),
    ];
    const key = JSON.stringify(choices);
    if (key !== this.shownVersions) {
      this.shownVersions = key;
      const options = () => choices.map(([value, text]) => h("option", { value }, text));
      $("version").replaceChildren(...options());
      $("version").disabled = false;
      $("compare").replaceChildren(h("option", { value: NOTHING }, "Nothing"), ...options());
    }
    const known = (value) => choices.some(([each]) => each === value);
    $("version").value = known(at) ? at : "";
    $("compare").value = known(other) ? other : NOTHING;
    $("compare-field").hidden = this.versions.length < 2;
    $("versions").replaceChildren(
      ...this.versions.map(({ version, state, status }) =>
        h(
          "li",
          {},
          h("span", {}, `Version ${version}`),
          labels
            .filter(([, number]) => String(number) === version)
            .map(([label]) => h("span", { class: "tag" }, label)),
          h("span", { class: `pill ${TONES[state] ?? "wait"}` }, FRIENDLY[state] ?? state.toLowerCase()),
          status.error_message && h("p", { class: "error" }, status.error_message),
        ),
      ),
    );
    if (!this.versions.length) $("versions").replaceChildren(h("li", { class: "muted" }, "None loaded yet"));
    this.chosenState = JSON.stringify([this.target, this.versions]);
  }

  /** Find out what the chosen version takes, and the one that it is compared with. */
  async look() {
    const mine = ++this.asked;
    const found = await Promise.all([this.target, this.other].filter(Boolean).map(lookAt));
    if (mine !== this.asked) return;
    const [{ target, about }] = found;
    this.about = about;
    this.tell(found.map(({ problem }) => problem).find(Boolean) ?? this.gone);
    const image = about?.image;
    $("takes").textContent = image
      ? `${image.width} × ${image.height} pixels, ${image.channels === 1 ? "grey" : "colour"}` +
        (image.classes > 0 ? `, ${image.classes.toLocaleString("en")} classes` : "")
      : "";
    const other = found[1]?.target.at;
    const place = {
      model: target.model,
      ...(target.at && { at: target.at }),
      ...(found.length > 1 && { with: other }),
    };
    history.replaceState(null, "", `#${new URLSearchParams(place)}`);
    this.onChange(found);
  }

  tell(problem) {
    if ($("notice").textContent !== problem) $("notice").textContent = problem;
    $("notice").hidden = !problem;
  }
}

async function lookAt(target) {
  try {
    const about = describe(await api.metadata(target));
    const inputs = about.inputs.join(", ");
    const problem = about.image
      ? ""
      : `${target.model} is not an image classifier; it takes tensors as JSON (${inputs}).`;
    return { target, about, problem };
  } catch (failure) {
    return { target, about: null, problem: failure.message };
  }
}

const isReady = (model) => model.model_version_status.some(({ state }) => state === "AVAILABLE");

function pill(tone, text) {
  $("service").className = `pill ${tone}`;
  if ($("service").textContent !== text) $("service").textContent = text;
}
