// Pictures of things of everyday: for models of such classes, and for those of whose classes nothing can be drawn.

function fill(pen, colour, path) {
  pen.fillStyle = colour;
  pen.fill(new Path2D(path));
}

function disc(pen, colour, x, y, radius) {
  pen.fillStyle = colour;
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.fill();
}

const scene = (sky, ground, horizon, draw) => (pen, side) => {
  pen.scale(side / 280, side / 280);
  const air = pen.createLinearGradient(0, 0, 0, horizon);
  air.addColorStop(0, sky);
  air.addColorStop(1, "#eef4f7");
  pen.fillStyle = air;
  pen.fillRect(0, 0, 280, 280);
  fill(pen, ground, `M0 ${horizon}H280V280H0Z`);
  draw(pen);
};

const wheels = (pen, ...places) => {
  for (const x of places) {
    disc(pen, "#202225", x, 206, 24);
    disc(pen, "#b9bec4", x, 206, 11);
  }
};

/** Draw by name. */
export const SCENES = {
  airplane: scene("#6fa8dc", "#d7e8f3", 270, (pen) => {
    fill(pen, "#8d99a6", "M120 150L60 236H92L172 150Z");
    fill(
      pen,
      "#e4e9ee",
      "M20 140L8 92H32L66 128H214C244 128 266 142 268 152C262 166 240 170 214 170H70C40 166 26 156 20 140Z",
    );
    fill(pen, "#aab6c2", "M120 136L92 66H116L176 134Z");
    for (let x = 90; x < 220; x += 18) disc(pen, "#3c5a78", x, 143, 4);
  }),
  automobile: scene("#a9c7dd", "#6d7176", 196, (pen) => {
    fill(
      pen,
      "#c0392b",
      "M22 172Q26 148 62 144L96 108Q102 102 114 102H180Q192 102 200 110L232 144Q258 148 260 172V202H22Z",
    );
    fill(pen, "#cfe3ee", "M84 142L108 114H138V142ZM148 114H178Q186 114 192 120L212 142H148Z");
    wheels(pen, 78, 206);
  }),
  ship: scene("#8fbbe0", "#2f6690", 190, (pen) => {
    fill(pen, "#f2f2ee", "M96 100H176V132H210V166H76V132H96Z");
    fill(pen, "#c0392b", "M118 62H142V100H118Z");
    fill(pen, "#22313f", "M20 166H262L230 218H58Z");
    for (let x = 96; x < 200; x += 24) disc(pen, "#3c5a78", x, 149, 6);
  }),
  truck: scene("#b7cfe0", "#6d7176", 200, (pen) => {
    fill(pen, "#e8e4da", "M14 74H170V200H14Z");
    fill(pen, "#2471a3", "M174 106H220L258 150V200H174Z");
    fill(pen, "#d5e8f2", "M190 118H216L240 150H190Z");
    wheels(pen, 58, 124, 216);
  }),
  landscape: scene("#5b9bd5", "#7da453", 190, (pen) => {
    disc(pen, "#ffd45e", 222, 58, 26);
    fill(pen, "#7b8794", "M0 192L70 92L116 152L164 76L250 192Z");
    fill(pen, "#f4f7f9", "M164 76L146 104L160 112L172 102L186 106Z");
    fill(pen, "#4f7a3a", "M60 236L84 168L108 236ZM190 262L220 178L250 262Z");
  }),
  apple: scene("#d9d2c5", "#a77f56", 216, (pen) => {
    disc(pen, "#b8282b", 112, 156, 62);
    disc(pen, "#c83336", 166, 156, 62);
    disc(pen, "#e26a62", 104, 128, 16);
    fill(pen, "#5a3d24", "M134 106Q132 74 148 58L156 64Q144 80 144 106Z");
    fill(pen, "#5f9440", "M150 84Q180 46 212 66Q190 98 150 84Z");
  }),
  face: scene("#cfd8dc", "#90a4ae", 268, (pen) => {
    fill(pen, "#4a6fa5", "M50 280Q60 222 140 218Q220 222 230 280Z");
    fill(pen, "#dba585", "M116 180H164V236H116Z");
    fill(pen, "#4b3325", "M66 130C60 20 220 20 214 130L206 160H74Z");
    fill(pen, "#e6b598", "M78 122C84 66 196 66 202 122C206 176 180 214 140 214C100 214 74 176 78 122Z");
    for (const x of [114, 166]) disc(pen, "#2d2a28", x, 132, 7);
    pen.strokeStyle = "#a8544b";
    pen.lineWidth = 6;
    pen.stroke(new Path2D("M114 178Q140 198 166 178"));
  }),
};
