// The heads of a cat and of a dog.

function ellipse(pen, colour, x, y, width, height, turned = 0) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.ellipse(x, y, width, height, turned, 0, 2 * Math.PI);
  pen.fill();
}

function shape(pen, colour, path) {
  pen.fillStyle = colour;
  pen.fill(new Path2D(path));
}

/** Hairs from a centre outwards, so that the head is not as smooth as a ball. */
function fur(pen, colours, x, y, inner, outer) {
  pen.lineWidth = 2;
  for (let hair = 0; hair < 900; hair += 1) {
    const angle = hair * 2.4;
    const from = inner + (outer - inner) * ((hair * 0.618) % 1);
    pen.strokeStyle = colours[hair % colours.length];
    pen.beginPath();
    pen.moveTo(x + from * Math.cos(angle), y + 0.9 * from * Math.sin(angle));
    pen.lineTo(x + (from + 12) * Math.cos(angle + 0.06), y + 0.9 * (from + 12) * Math.sin(angle + 0.06));
    pen.stroke();
  }
}

function floor(pen, wall, ground) {
  pen.fillStyle = wall;
  pen.fillRect(0, 0, 280, 280);
  pen.fillStyle = ground;
  pen.fillRect(0, 215, 280, 65);
}

/** Draw a tabby cat. */
export function cat(pen, side) {
  pen.scale(side / 280, side / 280);
  floor(pen, "#a9b4b0", "#7b6f62");
  ellipse(pen, "#7d7468", 140, 290, 92, 100);
  shape(pen, "#857b6e", "M66 130L58 34L122 82ZM214 130L222 34L158 82Z");
  shape(pen, "#d6a79c", "M76 112L70 58L108 86ZM204 112L210 58L172 86Z");
  ellipse(pen, "#8d8375", 140, 142, 86, 76);
  fur(pen, ["#6e665b", "#a39888", "#575047", "#988d7e"], 140, 142, 20, 76);
  pen.strokeStyle = "#3d3832";
  pen.lineWidth = 6;
  for (const stripe of [
    "M140 70V104",
    "M120 74L124 102",
    "M160 74L156 102",
    "M58 136L84 142",
    "M222 136L196 142",
    "M60 158L84 158",
    "M220 158L196 158",
  ]) {
    pen.stroke(new Path2D(stripe));
  }
  for (const x of [104, 176]) {
    ellipse(pen, "#2f2b26", x, 132, 22, 17);
    ellipse(pen, "#b9c24e", x, 132, 18, 14);
    ellipse(pen, "#0b0b0b", x, 132, 5, 13);
    ellipse(pen, "#ffffff", x + 5, 126, 3, 3);
  }
  ellipse(pen, "#d8d0c4", 124, 178, 24, 19);
  ellipse(pen, "#d8d0c4", 156, 178, 24, 19);
  shape(pen, "#c27b74", "M128 158H152L140 171Z");
  pen.strokeStyle = "#4a423a";
  pen.lineWidth = 3;
  pen.stroke(new Path2D("M140 171V182M140 182C134 192 122 192 118 186M140 182C146 192 158 192 162 186"));
  pen.strokeStyle = "#f3efe8";
  pen.lineWidth = 1.6;
  for (const y of [170, 180, 190]) pen.stroke(new Path2D(`M112 178L40 ${y}M168 178L240 ${y}`));
}

/** Draw a brown dog with hanging ears, its tongue out. */
export function dog(pen, side) {
  pen.scale(side / 280, side / 280);
  floor(pen, "#9cc0d8", "#6f9a4e");
  ellipse(pen, "#a8713a", 140, 290, 84, 96);
  ellipse(pen, "#b97f45", 140, 122, 74, 76);
  fur(pen, ["#a8703a", "#c98f55", "#945f2d", "#d39c63"], 140, 122, 10, 66);
  ellipse(pen, "#6d421c", 66, 132, 26, 66, 0.2);
  ellipse(pen, "#6d421c", 214, 132, 26, 66, -0.2);
  ellipse(pen, "#e3c39b", 140, 176, 46, 44);
  shape(pen, "#e3c39b", "M128 70H152L160 160H120Z");
  for (const x of [108, 172]) {
    ellipse(pen, "#f6efe4", x, 116, 13, 12);
    ellipse(pen, "#3a2412", x, 117, 11, 11);
    ellipse(pen, "#ffffff", x + 4, 112, 3, 3);
  }
  shape(pen, "#d9707a", "M124 202H156V236C156 258 124 258 124 236Z");
  ellipse(pen, "#1d1714", 140, 158, 24, 17);
  ellipse(pen, "#6b625c", 134, 152, 7, 4);
  pen.strokeStyle = "#2c211a";
  pen.lineWidth = 4;
  pen.stroke(new Path2D("M140 174V194M140 194C130 210 108 208 102 196M140 194C150 210 172 208 178 196"));
}
