// The API key: asked for where the service needs one, kept until the tab is closed, sent with every request.

import * as api from "./api.js";
import { $, announce } from "./dom.js";

/** Ask for a key when a request lacks one, or its key is not known; `onKey` is called once one is good. */
export class KeyDialog {
  constructor(onKey) {
    this.onKey = onKey;
    $("key-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.check();
    });
    $("key").addEventListener("input", () => this.tell(""));
    $("key-change").addEventListener("click", () => this.ask());
    $("key-cancel").addEventListener("click", () => $("key-dialog").close());
    document.addEventListener(api.KEY_REFUSED, ({ detail }) => this.ask(detail));
  }

  /** Whether the service needs a key and this tab has none. */
  get lacking() {
    return "needsKey" in document.body.dataset && !api.hasKey();
  }

  ask(problem = "") {
    if ($("key-dialog").open) return;
    this.tell(problem);
    $("key").value = "";
    $("key-dialog").showModal();
    $("key").focus();
  }

  async check() {
    const key = $("key").value.trim();
    if (!key) return this.tell("Type or paste a key first.");
    $("key-use").disabled = true;
    try {
      await api.tryKey(key);
    } catch (failure) {
      this.tell(failure.message);
      $("key").select();
      return;
    } finally {
      $("key-use").disabled = false;
    }
    $("key-dialog").close();
    $("key").value = "";
    announce("The key is good.");
    this.onKey();
  }

  tell(problem) {
    $("key-problem").textContent = problem;
    $("key").setAttribute("aria-invalid", String(Boolean(problem)));
  }
}
