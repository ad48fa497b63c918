// The camera with live answers. One frame is on its way at a time: the next is taken when its answer is there, so
// nothing ever queues, however slow the model is.

import * as api from "./api.js";
import { bars, best } from "./answers.js";
import { $, announce, milliseconds } from "./dom.js";

const SIDE = 320; // pixels of the longer side of a frame that is sent; models take less
const PATIENCE_MS = 1200; // for a class to last before a screen reader tells it
const AFTER_ERROR_MS = 1000;

export class Camera {
  /** `take` is called with a frame that is to be kept. */
  constructor(take) {
    this.take = take;
    this.stream = null;
    this.target = null;
    this.image = null;
    this.facing = "user";
    $("camera-start").addEventListener("click", () => this.start());
    $("camera-stop").addEventListener("click", () => this.stop());
    $("camera-photo").addEventListener("click", () => this.keep());
    $("camera-switch").addEventListener("click", () => this.turn());
    new ResizeObserver(() => this.placeFrame()).observe($("video"));
  }

  retarget(target, about) {
    this.target = target;
    this.image = about?.image ?? null;
    this.placeFrame();
  }

  async start() {
    if (!navigator.mediaDevices) {
      this.refuse("Browsers open the camera only for https:// pages and for this machine's own address.");
      return;
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: this.facing }, audio: false });
    } catch (error) {
      this.refuse(
        error.name === "NotAllowedError"
          ? "The camera was not allowed; the browser's settings for this page allow it."
          : `No camera could be opened: ${error.message}.`,
      );
      return;
    }
    const [track] = this.stream.getVideoTracks();
    track.addEventListener("ended", () => this.stop());
    $("video").srcObject = this.stream;
    await $("video").play();
    $("camera").hidden = false;
    $("drop").hidden = true;
    $("video").parentElement.classList.toggle("mirrored", track.getSettings().facingMode !== "environment");
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
    $("camera-switch").hidden = cameras.length < 2;
    this.placeFrame();
    $("camera-photo").focus();
    announce("The camera is on.");
    this.run(this.stream);
  }

  stop() {
    const wasOn = this.stream !== null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
    $("video").srcObject = null;
    $("camera").hidden = true;
    $("drop").hidden = false;
    if (wasOn) {
      announce("The camera is off.");
      $("camera-start").focus();
    }
  }

  async turn() {
    this.facing = this.facing === "user" ? "environment" : "user";
    this.stream?.getTracks().forEach((track) => track.stop());
    await this.start();
  }

  refuse(message) {
    this.stop();
    $("notice").textContent = message;
    $("notice").hidden = false;
  }

  async run(stream) {
    this.spoken = { name: "", sinceMs: 0, said: "" };
    this.averageMs = 0;
    while (this.stream === stream) {
      await new Promise(requestAnimationFrame); // rests while the page is in the background
      if (this.stream !== stream || !this.image) continue;
      const startedMs = performance.now();
      try {
        const { prediction } = await api.predict(this.target, await this.frame(), 4);
        if (this.stream === stream) this.show(prediction, performance.now() - startedMs);
      } catch (failure) {
        if (this.stream === stream) $("live").replaceChildren(failureText(failure));
        await new Promise((resolve) => setTimeout(resolve, AFTER_ERROR_MS));
      }
    }
  }

  show(prediction, ms) {
    $("live").replaceChildren(best(prediction), ...bars(prediction, 4).slice(0, 1));
    this.averageMs = this.averageMs ? 0.9 * this.averageMs + 0.1 * ms : ms;
    $("rate").textContent = `${milliseconds(this.averageMs)} a frame, ${Math.round(1000 / this.averageMs)} a second`;
    const now = performance.now();
    const name = prediction.in_domain === false ? "not known" : prediction.class;
    if (name !== this.spoken.name) Object.assign(this.spoken, { name, sinceMs: now });
    if (now - this.spoken.sinceMs > PATIENCE_MS && this.spoken.said !== name) {
      this.spoken.said = name;
      announce(name);
    }
  }

  /** The part of the picture that is sent, in the proportions that the model takes: it would stretch any other. */
  crop() {
    const { videoWidth: width, videoHeight: height } = $("video");
    const proportion = this.image ? this.image.width / this.image.height : 1;
    const w = Math.min(width, height * proportion);
    const h = w / proportion;
    return { x: (width - w) / 2, y: (height - h) / 2, w, h };
  }

  placeFrame() {
    const { videoWidth, videoHeight, clientWidth, clientHeight } = $("video");
    if (!videoWidth) return;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
    const { w, h } = this.crop();
    $("frame").style.width = `${w * scale}px`;
    $("frame").style.height = `${h * scale}px`;
  }

  frame(kind = "image/jpeg", side = SIDE) {
    const { x, y, w, h } = this.crop();
    const scale = Math.min(1, side / Math.max(w, h));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(w * scale));
    canvas.height = Math.max(1, Math.round(h * scale));
    canvas.getContext("2d").drawImage($("video"), x, y, w, h, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, kind, 0.92));
  }

  async keep() {
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "");
    this.take([new File([await this.frame("image/jpeg", 1280)], `camera_${time}.jpg`, { type: "image/jpeg" })]);
  }
}

function failureText(failure) {
  const text = document.createElement("p");
  text.className = "error";
  text.textContent = failure.message;
  return text;
}
