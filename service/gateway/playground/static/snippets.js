// The same request from a shell and from Python, with this service's address and the images at hand.

import { pathOf } from "./api.js";
import { $, announce } from "./dom.js";

const forShell = (text) => (/^[\w./:=@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
// In a form curl ends a name at a comma or semicolon, unless it stands in quotes.
const forCurlsForm = (name) => (/[,;"\\]/.test(name) ? `"${name.replaceAll(/["\\]/g, "\\$&")}"` : name);
// JSON's strings are Python's too.
const forPython = (text) => JSON.stringify(text);

// The key itself stays out of what is copied.
const needsKey = "needsKey" in document.body.dataset;
const KEY_FOR_SHELL = needsKey ? '-H "X-API-Key: $SIGNPOST_API_KEY" \\\n' : "";

function curl(url, names) {
  if (names.length === 1) return `curl ${KEY_FOR_SHELL}--data-binary ${forShell(`@${names[0]}`)} \\\n${forShell(url)}`;
  const forms = names.map((name) => `-F ${forShell(`image=@${forCurlsForm(name)}`)}`);
  return `curl ${KEY_FOR_SHELL}${forms.join(" \\\n")} \\\n${forShell(url)}`;
}

function python(url, names) {
  const files = names.map((name) => `open(${forPython(name)}, "rb")`);
  const headers = needsKey ? ", headers=headers" : "";
  const sent =
    names.length === 1
      ? `with ${files[0]} as image:\n    answer = requests.post(url, data=image${headers})`
      : `files = [\n${files.map((file) => `    ("image", ${file}),\n`).join("")}]\n` +
        `answer = requests.post(url, files=files${headers})`;
  const imports = needsKey ? "import os\n\nimport requests" : "import requests";
  const key = needsKey ? 'headers = {"X-API-Key": os.environ["SIGNPOST_API_KEY"]}\n' : "";
  return (
    `${imports}\n\nurl = ${forPython(url)}\n${key}${sent}\nanswer.raise_for_status()\n` +
    `for found in answer.json()["predictions"]:\n    print(found["class"], found["score"])`
  );
}

function forTensors(url) {
  return `curl ${KEY_FOR_SHELL}--json '{"instances": […]}' \\\n${forShell(url)}`;
}

/** The lines for a target and images. */
export class Snippets {
  constructor() {
    this.target = null;
    this.about = null;
    this.names = [];
    document.querySelectorAll("input[name=language]").forEach((choice) => choice.addEventListener("change", () => this.show()));
    $("copy").addEventListener("click", () => copy($("code").textContent));
  }

  retarget(target, about) {
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
    const names = this.names.length ? this.names : ["image.jpg"];
    const path = `${pathOf(this.target)}:predict`;
    if (this.about && !this.about.image) {
      $("code").textContent = forTensors(new URL(path, document.baseURI).href.split("#")[0]);
      return;
    }
    const url = new URL(`${path}?top_k=3`, document.baseURI).href;
    const language = document.querySelector("input[name=language]:checked").value;
    $("code").textContent = language === "curl" ? curl(url, names) : python(url, names);
    $("code").parentElement.className = language; // long lines of a shell may be broken, Python's may not
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // only where the page is https:// or this machine's own
  } catch {
    getSelection().selectAllChildren($("code"));
    document.execCommand("copy");
  }
  $("copy").textContent = "Copied";
  announce("Copied");
  setTimeout(() => ($("copy").textContent = "Copy"), 1500);
}
