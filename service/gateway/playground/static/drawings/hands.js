// Hands that show letters of American Sign Language, or rock, paper and scissors: round strokes for fingers.

const KNUCKLES = { little: [106, 160], ring: [128, 150], middle: [152, 147], index: [174, 156] };
const LENGTHS = { little: 84, ring: 108, middle: 122, index: 116 };
const GREY = { paper: "#c9c9c9", palm: "#868686", arm: "#6c6c6c", finger: "#8e8e8e", fold: "#626262", mid: "#747474" };
const SKIN = { paper: "#fdfdfd", palm: "#d9a184", arm: "#c98f72", finger: "#e0aa8e", fold: "#b87a5e", mid: "#c98d70" };

// Angles of stretched fingers, from upright to the right; a finger that is not named is folded.
const LETTERS = {
  L: { index: -4, thumb: [186, 212, 258, 176] },
  V: { middle: -14, index: 16, thumb: [190, 220, 124, 204] },
  W: { ring: -16, middle: 0, index: 16, thumb: [186, 220, 112, 190] },
  Y: { little: -42, thumb: [186, 214, 254, 146] },
};
const GAME = {
  rock: { thumb: [190, 214, 132, 200] },
  paper: { little: -24, ring: -9, middle: 1, index: 13, thumb: [184, 222, 252, 170] },
  scissors: { middle: -13, index: 15, thumb: [190, 220, 124, 204] },
};

function stroke(pen, [x1, y1, x2, y2], width, colour) {
  Object.assign(pen, { lineWidth: width, lineCap: "round", strokeStyle: colour });
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}

function hand(pen, pose, colours) {
  pen.fillStyle = colours.paper;
  pen.fillRect(-20, -20, 320, 340);
  stroke(pen, [142, 240, 144, 320], 108, colours.arm);
  for (const [finger, [x, y]] of Object.entries(KNUCKLES)) {
    if (!(finger in pose)) continue;
    const turned = (pose[finger] * Math.PI) / 180;
    const length = LENGTHS[finger];
    stroke(pen, [x, y + 30, x + length * Math.sin(turned), y - length * Math.cos(turned)], 27, colours.finger);
  }
  pen.fillStyle = colours.palm;
  pen.beginPath();
  pen.roundRect(88, 142, 112, 112, 46);
  pen.fill();
  for (const [finger, [x, y]] of Object.entries(KNUCKLES)) {
    if (!(finger in pose)) stroke(pen, [x, y + 4, x, y + 40], 25, finger === "ring" ? colours.mid : colours.fold);
  }
  if (pose.thumb) stroke(pen, pose.thumb, 28, colours.finger);
}

/** The letters that can be drawn. */
export const LETTERS_SHOWN = Object.keys(LETTERS);

/** Draw the hand that shows a letter, one of `LETTERS_SHOWN`; grey, as the pixels of Sign Language MNIST are. */
export const letter = (name) => (pen, side) => {
  pen.scale(side / 280, side / 280);
  hand(pen, LETTERS[name], GREY);
};

/** Draw the hand that plays "rock", "paper" or "scissors", held in from the right. */
export const game = (name) => (pen, side) => {
  pen.fillStyle = SKIN.paper;
  pen.fillRect(0, 0, side, side);
  pen.scale(side / 280, side / 280);
  pen.translate(140, 140);
  pen.rotate(-Math.PI / 2);
  pen.translate(-140, -150);
  hand(pen, GAME[name], SKIN);
};
