// The API page: each command can be copied, and its request changed and sent from here.

import * as api from "./api.js";
import { $, announce, copy, h, milliseconds } from "./dom.js";
import { KeyDialog } from "./key.js";

const MOST = 100000; // letters of an answer that are shown
const SURE = "This changes what the service serves. Send it?";

/** Add the buttons to a command, and the fields of its request below them. */
function equip(block) {
  const request = JSON.parse(block.dataset.request);
  const command = block.querySelector(".command");
  const fields = makeFields(request);
  const answer = h("div", { class: "sent", hidden: true });
  const copying = h(
    "button",
    { type: "button", class: "small", onclick: () => copy(command.textContent, copying) },
    "Copy",
  );
  const sending = h("button", { type: "submit", class: "small primary" }, "Send");
  const form = h(
    "form",
    {},
    h("div", { class: "buttons" }, sending, copying),
    h("details", { class: "change" }, h("summary", {}, "Change the request"), fields.elements),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (request.changes && !confirm(SURE)) return;
    sending.disabled = true;
    answer.hidden = false;
    answer.replaceChildren(h("p", { class: "muted" }, "Asking…"));
    answer.replaceChildren(...(await sent(request, fields)));
    sending.disabled = false;
  });
  block.append(form, answer);
}

/** Fields for what of a request can be changed. */
function makeFields(request) {
  const labelled = (text, field) => h("label", {}, h("span", {}, text), field);
  const path = h("input", { type: "text", value: request.path, spellcheck: "false", autocapitalize: "none" });
  const body =
    "body" in request && h("textarea", { rows: Math.min(12, request.body.split("\n").length), spellcheck: "false" });
  if (body) body.value = request.body;
  const file = "image" in request && h("input", { type: "file", accept: "image/*" });
  const elements = [
    labelled(`${request.method}, path and query`, path),
    body && labelled(`Body, ${request.type}`, body),
    file && labelled("Image, instead of the drawn hand", file),
  ];
  return { path, body, file, elements };
}

/** Send a request; answers what is to be shown of what came back. */
async function sent(request, { path, body, file }) {
  const address = new URL(path.value.replace(/^\//, ""), document.baseURI);
  if (address.origin !== location.origin)
    return [h("p", { class: "error" }, "Only this service can be asked from here.")];
  try {
    const content = body
      ? body.value
      : file
        ? (file.files[0] ?? (await (await fetch(request.image)).blob()))
        : undefined;
    const type = request.type ?? (file ? content.type || "image/*" : null);
    const {
      response,
      body: found,
      ms,
    } = await api.raw(address, {
      method: request.method,
      headers: type ? { "Content-Type": type } : {},
      body: content,
    });
    const text = found.type.startsWith("image/") ? "" : pretty(await found.text());
    if (response.status === 401) {
      const says = JSON.parse(text || "{}").error;
      document.dispatchEvent(new CustomEvent(api.KEY_REFUSED, { detail: says }));
    }
    announce(`Answered with ${response.status}`);
    return show(response, found, text, ms);
  } catch (failure) {
    announce(failure.message);
    return [h("p", { class: "error" }, failure.message)];
  }
}

function show(response, found, text, ms) {
  const status = `${response.status} ${response.statusText}`.trim();
  const head = h(
    "p",
    { class: "small" },
    h("span", { class: `status ${response.ok ? "good" : "wrong"}` }, status),
    ` ${found.type || "without a body"}, ${milliseconds(ms)}`,
  );
  if (found.type.startsWith("image/")) {
    const image = h("img", { src: URL.createObjectURL(found), alt: "The answer, an image" });
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    return [head, image];
  }
  const more =
    text.length > MOST &&
    h("p", { class: "muted small" }, `${(text.length - MOST).toLocaleString("en")} letters more.`);
  const shown = h("pre", { tabindex: "0", role: "group", "aria-label": "Answer" }, text.slice(0, MOST));
  return [head, text && shown, more].filter(Boolean);
}

/** JSON with line breaks, lists of plain values on one line; any other text as it is. */
function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2).replaceAll(
      /\[\s+([^[\]{}]+?)\s+\]/g,
      (_, values) => `[${values.replaceAll(/\s+/g, " ")}]`,
    );
  } catch {
    return text;
  }
}

document.querySelectorAll(".try").forEach(equip);
const keys = new KeyDialog(() => announce("The key is good; send it again."));
$("key-change").hidden = !("needsKey" in document.body.dataset);
// A link to an operation opens it.
const opened = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (opened instanceof HTMLDetailsElement) opened.open = true;
if (keys.lacking) $("key-change").textContent = "Set API key";
