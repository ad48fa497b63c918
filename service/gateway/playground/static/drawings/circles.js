// Filled circles that do not touch, as the recipe `circles` draws them: for models whose classes are numbers of them.

const GAP = 3;

/** Draw so many circles, elsewhere each time. */
export const circles = (count) => (pen, side) => {
  // As many cells as the recipes' images have pixels, and circles of their sizes.
  const [cells, least, most] = count > 9 ? [64, 1, 2] : count > 5 ? [32, 2, 3] : [32, 3, 5];
  pen.scale(side / cells, side / cells);
  pen.fillStyle = "#383838";
  pen.fillRect(0, 0, cells, cells);
  for (const [x, y, radius] of placed(count, cells, least, most)) {
    const shade = 210 + Math.floor(45 * Math.random());
    pen.fillStyle = `rgb(${shade} ${shade} ${shade})`;
    pen.beginPath();
    pen.arc(x + 0.5, y + 0.5, radius + 0.5, 0, 2 * Math.PI);
    pen.fill();
  }
};

function placed(count, cells, least, most) {
  const found = [];
  for (let tries = 0; found.length < count && tries < 20000; tries += 1) {
    const radius = least + Math.floor((most - least + 1) * Math.random());
    const [x, y] = [0, 0].map(() => radius + 1 + Math.floor((cells - 2 * radius - 2) * Math.random()));
    if (found.every(([a, b, r]) => Math.hypot(x - a, y - b) > radius + r + GAP)) found.push([x, y, radius]);
  }
  return found;
}
