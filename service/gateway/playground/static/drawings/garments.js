// Garments in grey on black, as Fashion-MNIST's are.

// As paths of SVG in a square of 28, by the names that the recipe `fashion_mnist` gives them.
const OUTLINES = {
  t_shirt: "M10 4Q14 7 18 4L25 8L22 13L20 12V25H8V12L6 13L3 8Z",
  trouser: "M9 2H19L21 26H16L14 9L12 26H7Z",
  pullover: "M10 4Q14 7 18 4L22 6L26 23L22 24L20 12V25H8V12L6 24L2 23L6 6Z",
  dress: "M11 2L12 5H16L17 2L19 3L17 11L21 26H7L11 11L9 3Z",
  sneaker: "M2 13Q4 15 8 12Q12 16 18 17L25 19Q27 21 26 23H2Z",
  bag: "M3 11H8C8 3 20 3 20 11H25V24H3ZM10 11H18C18 6 10 6 10 11Z",
  ankle_boot: "M9 3H18V13Q22 16 26 18V23H8Z",
};

/** The garments that can be drawn. */
export const GARMENTS = Object.keys(OUTLINES);

/** Draw one of `GARMENTS`. */
export const garment = (name) => (pen, side) => {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, side, side);
  pen.scale(side / 28, side / 28);
  pen.fillStyle = "#c4c4c4";
  pen.fill(new Path2D(OUTLINES[name]), "evenodd");
  pen.strokeStyle = "#909090";
  pen.lineWidth = 0.5;
  pen.stroke(new Path2D(OUTLINES[name]));
};
