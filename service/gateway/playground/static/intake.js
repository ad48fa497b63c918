// The ways in: dropped, pasted or chosen files and folders.

import { $, announce, listed, plural } from "./dom.js";

const NAMED = 3; // files that are left out, by name; of more only the number is shown

/** Call `take` with the files that are brought in any of these ways, and `tell` with what was left out of folders. */
export function watch(take, tell) {
  const accept = (files) => {
    if (files.length) take(files);
    else announce("There was no image in that.");
  };
  const acceptFolder = (files) => {
    const path = (file) => file.path ?? file.webkitRelativePath;
    files.sort((a, b) => path(a).localeCompare(path(b), "en", { numeric: true }));
    const images = files.filter(mayBeImage);
    const others = files.filter((file) => !mayBeImage(file) && !isHidden(file));
    tell(leftOut(others, images.length));
    accept(images);
  };

  for (const [button, input, way] of [
    ["pick", "files", accept],
    ["pick-folder", "folder", acceptFolder],
  ]) {
    $(button).addEventListener("click", () => $(input).click());
    $(input).addEventListener("change", () => {
      const chosen = [...$(input).files];
      $(input).value = ""; // so that the same can be chosen again
      if (chosen.length) way(chosen);
    });
  }

  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea")) return; // a key, say
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) event.preventDefault();
    accept(files);
  });

  // Anywhere on the page: a drop beside the field must not make the browser leave the page.
  let inside = 0;
  const mark = (change) => {
    inside = Math.max(0, inside + change);
    $("drop").classList.toggle("over", inside > 0);
  };
  document.addEventListener("dragenter", () => mark(1));
  document.addEventListener("dragleave", () => mark(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    mark(-inside);
    // Entries must be taken before the first pause: the browser empties the transfer then.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    if (!entries.some((entry) => entry.isDirectory)) return accept(files);
    acceptFolder((await Promise.all(entries.map(filesOf))).flat());
  });
}

/** Whether a file of a folder is worth asking about; one chosen by itself is always asked about. */
const mayBeImage = (file) =>
  !isHidden(file) && (!file.type || file.type.startsWith("image/")) && !/\.svg$/i.test(file.name);

const isHidden = (file) => file.name.startsWith(".") || ["Thumbs.db", "desktop.ini"].includes(file.name);

function leftOut(others, images) {
  const names = others.length <= NAMED ? ` (${listed(others.map(({ name }) => name))})` : "";
  if (!images) return `There is no image in that folder${names}.`;
  return others.length
    ? `${plural(others.length, "file")} of the folder left out, not being ${others.length > 1 ? "images" : "an image"}${names}.`
    : "";
}

/** The files in a dropped folder, each with its path. */
async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    file.path = entry.fullPath.slice(1);
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break; // a reader gives a hundred at a time
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}
