// The stick: touch, mouse, and the keys (arrows or W A S D).

import { h } from "../dom.js";
import { shape } from "../drive.js";

const KEYS = new Map([
  ["ArrowUp", [0, 1]],
  ["ArrowDown", [0, -1]],
  ["ArrowLeft", [-1, 0]],
  ["ArrowRight", [1, 0]],
  ["KeyW", [0, 1]],
  ["KeyS", [0, -1]],
  ["KeyA", [-1, 0]],
  ["KeyD", [1, 0]],
]);
const KEY_TURN = 0.6; // a key is all or nothing: turn more gently than the rim of the stick

const typing = (target) => target instanceof Element && target.closest("input, select, textarea, .events") !== null;
const covered = () => document.querySelector("dialog[open]") !== null;

/** The stick's element, and a function that takes its listeners off the page again. */
export function joystick(driver) {
  const knob = h("div", { class: "knob" });
  const stick = h(
    "div",
    {
      id: "joystick",
      class: "pad stick",
      tabindex: "0",
      role: "application",
      "aria-label": "Joystick. Drag it, or hold the arrow keys or W, A, S, D.",
    },
    h("span", { class: "pad-mark", "aria-hidden": "true" }),
    knob,
  );
  const held = new Set();
  let pointer = null;

  const show = (x, y) => {
    const at = shape(x, y, 0);
    knob.style.setProperty("--x", at.x.toFixed(3));
    knob.style.setProperty("--y", (-at.y).toFixed(3));
    stick.classList.toggle("held", driver.held);
  };
  const hold = (x, y) => {
    driver.hold(x, y);
    show(driver.held ? x : 0, driver.held ? y : 0);
  };
  const letGo = () => {
    pointer = null;
    held.clear();
    driver.release();
    show(0, 0);
  };

  const follow = (event) => {
    const box = stick.getBoundingClientRect();
    const reach = box.width * 0.36;
    hold((event.clientX - box.left - box.width / 2) / reach, -(event.clientY - box.top - box.height / 2) / reach);
  };
  stick.addEventListener("pointerdown", (event) => {
    if (pointer !== null) {
      letGo(); // a second finger on the stick: which of them is meant cannot be known
      return;
    }
    if (event.button !== 0) return;
    event.preventDefault();
    stick.focus({ preventScroll: true });
    pointer = event.pointerId;
    stick.setPointerCapture(pointer);
    follow(event);
  });
  stick.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    if (event.buttons === 0) letGo(); // it was let go where nobody told us
    else follow(event);
  });
  for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
    stick.addEventListener(type, (event) => event.pointerId === pointer && letGo());
  }
  stick.addEventListener("contextmenu", (event) => event.preventDefault());

  const byKeys = () => {
    let [x, y] = [0, 0];
    for (const code of held) {
      x += KEYS.get(code)[0] * KEY_TURN;
      y += KEYS.get(code)[1];
    }
    hold(Math.max(-KEY_TURN, Math.min(KEY_TURN, x)), Math.max(-1, Math.min(1, y)));
  };
  const down = (event) => {
    if (event.metaKey && held.size > 0) letGo(); // macOS sends no keyup while that key is down
    if (!KEYS.has(event.code) || typing(event.target) || covered() || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.repeat || pointer !== null) return;
    held.add(event.code);
    byKeys();
  };
  const up = (event) => {
    if (!held.delete(event.code)) return;
    if (held.size === 0) letGo();
    else byKeys();
  };
  const hidden = () => document.visibilityState === "hidden" && letGo();
  /** A key that is let go in a field, a menu or a dialog may never be told here. */
  const elsewhere = ({ target }) => held.size > 0 && (typing(target) || covered()) && letGo();
  const listeners = [
    [globalThis, "keydown", down],
    [globalThis, "keyup", up],
    [globalThis, "blur", letGo],
    [globalThis, "pagehide", letGo],
    [document, "visibilitychange", hidden],
    [document, "focusin", elsewhere],
    [document, "contextmenu", letGo],
  ];
  for (const [target, type, listener] of listeners) target.addEventListener(type, listener);

  const remove = () => {
    letGo();
    for (const [target, type, listener] of listeners) target.removeEventListener(type, listener);
  };
  return { element: stick, letGo, remove };
}
