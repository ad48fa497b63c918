// Handwritten digits, white on black as MNIST's are.

// As paths of SVG in a square of 100.
const STROKES = [
  "M50 20C30 20 27 80 50 80C73 80 70 20 50 20Z",
  "M44 30L54 20L50 80",
  "M32 36C34 14 68 14 66 38C64 54 44 62 32 78L70 78",
  "M34 26C56 12 74 32 50 47C78 50 68 88 32 75",
  "M56 20L32 56L72 56M62 36L56 82",
  "M66 22L42 22L38 47C60 41 72 56 61 72C54 81 40 81 32 74",
  "M60 20C40 30 32 56 37 70C43 84 66 80 64 64C62 50 44 52 38 64",
  "M32 24L68 24L47 82",
  "M61 28C50 13 33 25 45 43C59 55 72 69 54 78C36 83 29 66 46 51C61 39 68 36 61 28Z",
  "M63 37C56 20 36 24 36 38C38 53 57 51 63 37C63 56 60 68 54 82",
];

/** Draw a digit, leaning a little differently each time. */
export const digit = (number) => (pen, side) => {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, side, side);
  pen.scale(side / 100, side / 100);
  pen.translate(50, 50);
  pen.transform(1, 0, -0.1 - 0.15 * Math.random(), 1, 0, 0);
  pen.translate(-50, -50);
  Object.assign(pen, { strokeStyle: "#fff", lineWidth: 8, lineCap: "round", lineJoin: "round" });
  pen.stroke(new Path2D(STROKES[number]));
};
