// What spoke for the answer, laid over a copy of the image, for models with a signature that tells (see signatures.js).

import { h } from "./dom.js";

/** A canvas of heat in an image's own proportions, so that it is laid out as the image is; `rows` are 0 to 1. */
export function drawHeat(rows, image) {
  const small = h("canvas", { width: rows[0].length, height: rows.length });
  const context = small.getContext("2d");
  const pixels = context.createImageData(small.width, small.height);
  rows.flat().forEach((value, at) => pixels.data.set(colour(Math.max(0, Math.min(1, value))), at * 4));
  context.putImageData(pixels, 0, 0);
  const canvas = h("canvas", { "aria-hidden": "true" });
  const fit = () => {
    canvas.width = image.naturalWidth || small.width * 16;
    canvas.height = image.naturalHeight || small.height * 16;
    canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
  };
  fit();
  if (!image.complete) image.addEventListener("load", fit, { once: true });
  return canvas;
}

/** From nothing over yellow to red, as red, green, blue and opacity. */
const colour = (value) => [255, Math.round(220 * (1 - value)), 40, Math.round(255 * value)];
