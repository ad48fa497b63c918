// Filled circles that do not touch, as the recipe `circles` draws them: for models whose classes are numbers of them.

const CELLS = 32; // as many as the recipe's images have pixels
const GAP = 3;

/** Draw so many circles, elsewhere each time. */
export const circles = (count) => (pen, side) => {
  pen.scale(side / CELLS, side / CELLS);
  pen.fillStyle = "#383838";
  pen.fillRect(0, 0, CELLS, CELLS);
  const [least, most] = count > 5 ? [2, 3] : [3, 5];
  for (const [x, y, radius] of placed(count, least, most)) {
    const shade = 210 + Math.floor(45 * Math.random());
    pen.fillStyle = `rgb(${shade} ${shade} ${shade})`;
    pen.beginPath();
    pen.arc(x + 0.5, y + 0.5, radius + 0.5, 0, 2 * Math.PI);
    pen.fill();
  }
};

function placed(count, least, most) {
  const found = [];
  for (let tries = 0; found.length < count && tries < 5000; tries += 1) {
    const radius = least + Math.floor((most - least + 1) * Math.random());
    const [x, y] = [0, 0].map(() => radius + 1 + Math.floor((CELLS - 2 * radius - 2) * Math.random()));
    if (found.every(([a, b, r]) => Math.hypot(x - a, y - b) > radius + r + GAP)) found.push([x, y, radius]);
  }
  return found;
}
