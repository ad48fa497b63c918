// The playground, put together.

import { Camera } from "./camera.js";
import { Card } from "./card.js";
import { Chooser } from "./chooser.js";
import { $ } from "./dom.js";
import { Examples } from "./examples.js";
import { watchLarge } from "./figures.js";
import { Gallery } from "./gallery.js";
import { watch } from "./intake.js";
import { KeyDialog } from "./key.js";
import { Snippets } from "./snippets.js";

const snippets = new Snippets();
const gallery = new Gallery((names) => snippets.withImages(names));
const camera = new Camera((files) => gallery.add(files));
const examples = new Examples((files) => gallery.add(files));
const card = new Card((about, classes) => examples.retarget(Boolean(about?.image), classes));

const chooser = new Chooser((targets) => {
  const [first] = targets;
  snippets.retarget(first);
  gallery.retarget(targets);
  camera.retarget(first.target, first.about);
  card.retarget(first);
});

watch(
  (files) => gallery.add(files),
  (says) => {
    $("left-out").textContent = says;
    $("left-out").hidden = !says;
  },
);
watchLarge();
$("camera-start").hidden = !("mediaDevices" in navigator) && isSecureContext;
const keys = new KeyDialog(() => {
  chooser.refresh();
  gallery.withKey();
});
if (keys.lacking) keys.ask();
chooser.refresh(keys.lacking);
