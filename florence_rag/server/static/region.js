// Draws a box on an image: by mouse, touch or pen, or with the arrow keys (Shift resizes, Escape clears).

import { el } from "./dom.js";

const STEP = 0.02;
const clamp = (value) => Math.min(1, Math.max(0, value));

export function toStyle(element, [left, top, right, bottom]) {
  Object.assign(element.style, {
    left: `${left * 100}%`, top: `${top * 100}%`,
    width: `${(right - left) * 100}%`, height: `${(bottom - top) * 100}%`,
  });
  return element;
}

// Returns an object whose `clear` and `set` change the box without a call of `changed`. `changed` receives [left, top, right, bottom] in [0, 1], or null.
export function drawable(stage, changed) {
  const marker = el("div", { className: "region", hidden: true });
  let box = null, start = null;
  stage.append(marker);
  stage.classList.add("drawable");
  stage.tabIndex = 0;
  stage.setAttribute("role", "application");
  stage.setAttribute("aria-label", "Draw a region: arrow keys move it, with Shift they resize it, Escape clears it");

  function set(next, isFinal) {
    box = next;
    marker.hidden = !box;
    if (box) toStyle(marker, box);
    if (isFinal) changed(box && box.map((edge) => Math.round(edge * 1000) / 1000));
  }
  function at(event) {
    const area = stage.getBoundingClientRect();
    return [clamp((event.clientX - area.left) / area.width), clamp((event.clientY - area.top) / area.height)];
  }
  function moved(event) {
    const [x, y] = at(event);
    set([Math.min(x, start[0]), Math.min(y, start[1]), Math.max(x, start[0]), Math.max(y, start[1])], false);
  }
  stage.onpointerdown = (event) => {
    if (event.button) return;
    event.preventDefault();
    stage.focus();
    stage.setPointerCapture(event.pointerId);
    start = at(event);
  };
  stage.onpointermove = (event) => start && moved(event);
  stage.onpointerup = (event) => {
    if (!start) return;
    moved(event);
    start = null;
    set(box[2] - box[0] > 0.02 && box[3] - box[1] > 0.02 ? box : null, true);
  };
  stage.onpointercancel = () => { start = null; set(null, true); };
  stage.onkeydown = (event) => {
    const direction = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (event.key === "Escape" && box) {
      event.preventDefault();
      event.stopPropagation();
      set(null, true);
    } else if (direction) {
      event.preventDefault();
      set(shifted(box ?? [0.3, 0.3, 0.7, 0.7], direction, event.shiftKey), true);
    }
  };
  return {
    clear: () => set(null, false),
    set: (next) => set(next, false),
    remove() {
      marker.remove();
      stage.classList.remove("drawable");
      stage.onpointerdown = stage.onpointermove = stage.onpointerup = stage.onkeydown = null;
      for (const name of ["role", "aria-label", "tabindex"]) stage.removeAttribute(name);
    },
  };
}

function shifted([left, top, right, bottom], [x, y], resizes) {
  if (resizes) return [left, top, clamp(Math.max(left + STEP, right + x)), clamp(Math.max(top + STEP, bottom + y))];
  const [dx, dy] = [Math.max(-left, Math.min(1 - right, x)), Math.max(-top, Math.min(1 - bottom, y))];
  return [left + dx, top + dy, right + dx, bottom + dy];
}
