// The playground, put together.

import { Camera } from "./camera.js";
import { showCard } from "./card.js";
import { Chooser } from "./chooser.js";
import { $ } from "./dom.js";
import { Gallery } from "./gallery.js";
import { watch } from "./intake.js";
import { KeyDialog } from "./key.js";
import { Snippets } from "./snippets.js";

const snippets = new Snippets();
const gallery = new Gallery(() => snippets.withImages(gallery.names));
const camera = new Camera((files) => gallery.add(files));

const chooser = new Chooser((target, about) => {
  snippets.retarget(target, about);
  gallery.retarget(target, about);
  camera.retarget(target, about);
  showCard(target, about);
});

watch((files) => gallery.add(files));
$("camera-start").hidden = !("mediaDevices" in navigator) && isSecureContext;
const keys = new KeyDialog(() => chooser.refresh());
if (keys.lacking) keys.ask();
chooser.refresh(keys.lacking);
