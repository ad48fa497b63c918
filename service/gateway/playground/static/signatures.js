// What a model takes, read from the signatures that the service tells.

/** The size of image that a signature takes, or null if it has not the form of an image classifier. */
function imageOf(signature) {
  const { image, ...others } = signature?.inputs ?? {};
  const outputs = signature?.outputs ?? {};
  const sizes = image?.tensor_shape.dim.map((dim) => Number(dim.size)) ?? [];
  if (Object.keys(others).length || image?.dtype !== "DT_UINT8" || sizes.length !== 4) return null;
  if (!outputs.scores || !outputs.classes) return null;
  const [, height, width, channels] = sizes;
  return { height, width, channels, classes: Number(outputs.scores.tensor_shape.dim[1]?.size ?? -1) };
}

/**
 * A signature that explains an answer: besides an image classifier's inputs and outputs it has the output `heatmap`,
 * floats (-1, rows, columns) from 0 to 1 that say how much each place spoke for the class (Grad-CAM).
 */
function explaining(signatures) {
  return Object.keys(signatures).find((name) => {
    const heatmap = signatures[name].outputs?.heatmap;
    return imageOf(signatures[name]) && heatmap?.dtype === "DT_FLOAT" && heatmap.tensor_shape.dim.length === 3;
  });
}

/** What the page needs to know of a model. */
export function describe(signatures) {
  return {
    image: imageOf(signatures.serving_default),
    explain: explaining(signatures) ?? null,
    inputs: Object.entries(signatures.serving_default?.inputs ?? {}).map(([name, spec]) => {
      const sizes = spec.tensor_shape.dim.map((dim) => (dim.size === "-1" ? "any" : dim.size)).join(" × ");
      return `${name}: ${spec.dtype.replace("DT_", "").toLowerCase()} (${sizes})`;
    }),
  };
}
