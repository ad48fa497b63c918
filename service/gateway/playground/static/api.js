// The service as this page sees it: the same routes as for every other client, by paths relative to the page.

/** An answer that is an error, or none at all; the message is the service's own sentence. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** What the document is told, with the service's own sentence, when a request was refused for its key. */
export const KEY_REFUSED = "key-refused";
/** What the document is told when a request got no answer. */
export const UNREACHABLE = "unreachable";
const KEPT = "signpost-key";

export const hasKey = () => sessionStorage.getItem(KEPT) !== null;

/** Every request of the page passes here, so what they all carry is added here. */
async function send(path, options, read, key = sessionStorage.getItem(KEPT)) {
  try {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...options, headers });
    return [response, await read(response)];
  } catch {
    document.dispatchEvent(new CustomEvent(UNREACHABLE));
    throw new Failure("The service does not answer; is it still running?", 0);
  }
}

/** Send any request with this tab's key; answers the response, its body and the milliseconds that it took. */
export async function raw(path, options) {
  const startedMs = performance.now();
  const [response, body] = await send(path, options, (each) => each.blob());
  return { response, body, ms: performance.now() - startedMs };
}

/** Make sure that a key is good, and use it from now on. */
export async function tryKey(key) {
  if (!/^[!-~]+$/.test(key)) throw new Failure("A key has no spaces and only letters, digits and signs of ASCII.", 0);
  await ask("v1/models", {}, key);
  sessionStorage.setItem(KEPT, key);
}

/** Ask for JSON. */
async function ask(path, options = {}, tried = undefined) {
  const startedMs = performance.now();
  const [response, text] = await send(path, options, (each) => each.text(), tried);
  const elapsedMs = performance.now() - startedMs;
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // told below
  }
  if (!response.ok || body === null) {
    const says = body?.error ?? `The service answered ${response.status} ${response.statusText}.`;
    if (response.status === 401 && !tried) document.dispatchEvent(new CustomEvent(KEY_REFUSED, { detail: says }));
    throw new Failure(says, response.status);
  }
  return { body, stages: stagesOf(response.headers.get("Server-Timing"), elapsedMs) };
}

/** Milliseconds by stage, in order: those the service tells, the rest of its time, and the way there and back. */
export function stagesOf(header, elapsedMs) {
  const found = (header ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g);
  const told = Array.from(found, ([, name, ms]) => [name, Number(ms)]);
  const total = Object.fromEntries(told).total;
  const stages = told.filter(([name]) => name !== "total");
  if (total === undefined) return [["network", elapsedMs]];
  const rest = total - stages.reduce((sum, [, ms]) => sum + ms, 0);
  return [...stages, ["rest", Math.max(0, rest)], ["network", Math.max(0, elapsedMs - total)]];
}

/** Path of a model, of a version or of a label; `at` is "", "/versions/3" or "/labels/stable". */
export const pathOf = ({ model, at }) => `v1/models/${encodeURIComponent(model)}${at}`;

export const models = async () => (await ask("v1/models")).body.models;

export const labels = async (model) => (await ask(`${pathOf({ model, at: "" })}/labels`)).body.labels;

export const metadata = async (target) =>
  (await ask(`${pathOf(target)}/metadata`)).body.metadata.signature_def.signature_def;

export const modelCard = async (target) => (await ask(`${pathOf(target)}/extra/model_card.json`)).body;

/** One of a version's figures as a file; null where it has none. */
export async function figure(target, file) {
  const [response, image] = await send(`${pathOf(target)}/extra/${file}`, {}, (each) => each.blob());
  return response.ok ? image : null;
}

/** Post one image. Answers the prediction, which version made it, and where the time went. */
export async function predict(target, image, topK = 0) {
  const { body, stages } = await ask(`${pathOf(target)}:predict${topK ? `?top_k=${topK}` : ""}`, {
    method: "POST",
    // What counts are the bytes; a type that is not an image's would only be refused for its name.
    headers: { "Content-Type": image.type.startsWith("image/") ? image.type : "image/*" },
    body: image,
  });
  return { model: body.model, prediction: body.predictions[0], stages };
}

/** Run another signature on one image, as TensorFlow Serving's JSON; answers its outputs by name. */
export async function runSignature(target, signature, image) {
  const bytes = new Uint8Array(await image.arrayBuffer());
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
  const { body } = await ask(`${pathOf(target)}:predict`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ signature_name: signature, instances: [{ b64: btoa(binary) }] }),
  });
  return body.predictions[0];
}
