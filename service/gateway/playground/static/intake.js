// The ways in: dropped, pasted or chosen files.

import { $, announce } from "./dom.js";

/** Call `take` with the files that are brought in any of these ways. */
export function watch(take) {
  const accept = (files) => {
    if (files.length) take(files);
    else announce("There was no image in that.");
  };

  $("pick").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    const chosen = [...$("files").files];
    $("files").value = ""; // so that the same file can be chosen again
    if (chosen.length) accept(chosen);
  });

  document.addEventListener("paste", (event) => {
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
    accept(await dropped(event.dataTransfer));
  });
}

/** The files of a drop, those in folders too. */
async function dropped(transfer) {
  // Entries must be taken before the first pause: the browser empties the transfer then.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break; // a reader gives a hundred at a time
    found.push(...some);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}
