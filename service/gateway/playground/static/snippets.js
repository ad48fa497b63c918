// The lines that ask the same from code, with this service's address and the images at hand.

import { pathOf } from "./api.js";
import { $, copy } from "./dom.js";
import { LANGUAGES, forTensors } from "./languages.js";

const MOST = 5; // images that the lines name

/** The lines for a target and images. */
export class Snippets {
  constructor() {
    this.target = null;
    this.about = null;
    this.names = [];
    document
      .querySelectorAll("input[name=language]")
      .forEach((choice) => choice.addEventListener("change", () => this.show()));
    $("copy").addEventListener("click", () => copy($("code").textContent, $("copy")));
  }

  retarget({ target, about }) {
    Object.assign(this, { target, about });
    this.show();
  }

  withImages(names) {
    this.names = names;
    this.show();
  }

  show() {
    $("about").hidden = !this.target;
    if (!this.target) return;
    const names = this.names.length ? this.names.slice(0, MOST) : ["image.jpg"];
    const left = this.names.length - names.length;
    $("code-more").hidden = left <= 0;
    $("code-more").textContent = `${left} more images are left out; signpost predict FOLDER asks about a whole folder.`;
    const path = `${pathOf(this.target)}:predict`;
    if (this.about && !this.about.image) {
      $("code").textContent = forTensors(new URL(path, document.baseURI).href.split("#")[0]);
      return;
    }
    const url = new URL(`${path}?top_k=3`, document.baseURI).href;
    const language = document.querySelector("input[name=language]:checked").value;
    $("code").textContent = LANGUAGES[language](url, names);
    $("code").parentElement.className = language; // long lines of a shell may be broken, the others' may not
  }
}
