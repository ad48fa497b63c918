// What spoke for the answer, laid over the image, for models with a signature that tells (see signatures.js).

import { runSignature } from "./api.js";
import { announce, h } from "./dom.js";

/** Show or hide the heat map of an item; `button` tells which. */
export async function overlay(button, item, target, about) {
  if (hide(item)) {
    button.setAttribute("aria-pressed", "false");
    return;
  }
  button.disabled = true;
  const { asked } = item;
  try {
    const outputs = await runSignature(target, about.explain, item.file);
    if (asked !== item.asked) return; // another model is asked about it meanwhile, or it has been removed
    const heat = draw(outputs.heatmap, item.picture.querySelector("img"));
    item.picture.append(heat, h("p", { class: "legend small" }, "Red places spoke most for the answer."));
    button.setAttribute("aria-pressed", "true");
    announce("The heat map is shown over the image.");
  } catch (failure) {
    button.after(h("p", { class: "error" }, failure.message));
  } finally {
    button.disabled = false;
  }
}

/** Take the heat map of an item away; answers whether there was one. */
export function hide(item) {
  const shown = item.picture.querySelectorAll("canvas, .legend");
  shown.forEach((element) => element.remove());
  return shown.length > 0;
}

/** A canvas of the image's own proportions, so that it is laid out as the image is. */
function draw(rows, image) {
  const small = h("canvas", { width: rows[0].length, height: rows.length });
  const context = small.getContext("2d");
  const pixels = context.createImageData(small.width, small.height);
  rows.flat().forEach((value, at) => pixels.data.set(colour(Math.max(0, Math.min(1, value))), at * 4));
  context.putImageData(pixels, 0, 0);
  const width = image?.naturalWidth || small.width * 16;
  const height = image?.naturalHeight || small.height * 16;
  const canvas = h("canvas", { width, height, "aria-hidden": "true" });
  canvas.getContext("2d").drawImage(small, 0, 0, width, height);
  return canvas;
}

/** From nothing over yellow to red, as red, green, blue and opacity. */
const colour = (value) => [255, Math.round(220 * (1 - value)), 40, Math.round(255 * value)];
