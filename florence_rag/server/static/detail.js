// One hit: its image or the moment of its video, why it was found, and what the models see in it.

import { itemURL, post, postForImage } from "./api.js";
import { relevance, strip } from "./cards.js";
import { $, baseName, el, place, show } from "./dom.js";
import { drawable, toStyle } from "./region.js";

const PLAYABLE = /\.(mp4|m4v|webm|mov|ogv)$/i;
let hit = null, query = null, searchLike = null, tools = [];

export function configure(options) {
  ({ searchLike, tools } = options);
  $("detail").addEventListener("close", () => $("detail-stage").replaceChildren()); // a video stops
  $("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());
}

export function openDetail(opened, searched = null) {
  [hit, query] = [opened, searched];
  show($("detail-status"), "");
  fillStage();
  fillTools();
  fillFacts();
  if (!$("detail").open) $("detail").showModal();
}

function fillStage() {
  const stage = $("detail-stage");
  stage.hidden = hit.kind === "text";
  if (hit.kind === "text") stage.replaceChildren();
  else if (hit.kind === "clip" && PLAYABLE.test(hit.source)) stage.replaceChildren(video());
  else showImage(itemURL(hit.id, "image"));
}

function video() {
  const { start_s = 0, end_s } = hit.locator;
  const source = itemURL(hit.id, `media#t=${start_s}${end_s ? `,${end_s}` : ""}`);
  const player = el("video", { src: source, controls: true, playsInline: true, autoplay: true, muted: true, preload: "metadata" });
  player.onerror = () => showImage(itemURL(hit.id, "image"), "This browser cannot play the video; a frame is shown.");
  return player;
}

function showImage(source, message = "") {
  const image = el("img", { src: source, alt: hit.text || baseName(hit.source) });
  image.onerror = () => show($("detail-status"), "The image cannot be shown; its file may be missing.", true);
  $("detail-stage").replaceChildren(image);
  if (message) show($("detail-status"), message);
}

function fillTools() {
  const isImage = hit.kind !== "text";
  const buttons = [
    button("More like this", () => search(null)),
    isImage && toggle("Search a region", drawRegion),
    isImage && tools.includes("detect_objects") && toggle("Objects", drawObjects),
    isImage && query && toggle("Heat map", drawHeat),
    el("a", { className: "quiet", href: itemURL(hit.id, "media"), download: baseName(hit.source) }, "Download"),
  ];
  $("detail-tools").replaceChildren(...buttons.filter(Boolean));
}

const button = (text, onclick) => el("button", { type: "button", className: "quiet", onclick }, text);

// A toggle shows something over the still image, and shows the original when it is pressed again.
function toggle(text, turnOn) {
  const pressed = button(text, async () => {
    const isOn = pressed.ariaPressed !== "true";
    for (const other of $("detail-tools").querySelectorAll("[aria-pressed]")) other.ariaPressed = "false";
    pressed.ariaPressed = String(isOn);
    show($("detail-status"), "");
    restore();
    if (isOn) await attempt(turnOn);
  });
  pressed.ariaPressed = "false";
  return pressed;
}

function restore() {
  region?.remove();
  region = null;
  $("detail-stage").querySelectorAll(".object").forEach((each) => each.remove());
  fillStage();
}

async function attempt(action) {
  const opened = hit;
  try {
    await action(() => hit === opened);
  } catch (error) {
    if (hit === opened) show($("detail-status"), error.message, true);
  }
}

let region = null;

function drawRegion() {
  showImage(itemURL(hit.id, "image"));
  show($("detail-status"), "Draw on the image, or press the arrow keys; then search.");
  const go = button("Search this region", () => search(box));
  let box = null;
  go.hidden = true;
  region = drawable($("detail-stage"), (drawn) => { box = drawn; go.hidden = !drawn; });
  $("detail-status").append(" ", go);
  $("detail-stage").focus();
}

async function drawObjects(isCurrent) {
  show($("detail-status"), "Looking for objects …");
  const { result } = await post("/api/tools/detect_objects", { image: hit.id });
  if (!isCurrent()) return;
  showImage(itemURL(hit.id, "image"));
  const found = result.objects;
  show($("detail-status"), found.length ? "" : "No objects were found.");
  $("detail-stage").append(...found.map((each) => toStyle(el("div", { className: "object" },
    el("span", {}, `${each.label} ${Math.round((each.confidence ?? 0) * 100)} %`)), each.box)));
}

async function drawHeat(isCurrent) {
  show($("detail-status"), "Comparing every part of the image with the query …");
  const source = await postForImage(itemURL(hit.id, "heat-map"), query);
  if (!isCurrent()) return;
  showImage(source, "Warmer parts add more to the similarity to what you look for.");
}

function search(box) {
  $("detail").close();
  searchLike(hit, box);
}

function fillFacts() {
  const where = [place(hit.locator), hit.source].filter(Boolean).join(" · ");
  const facts = Object.entries(hit.metadata ?? {}).filter(([, value]) => value !== null && value !== "");
  $("detail-facts").replaceChildren(...[
    el("h2", { id: "detail-name" }, baseName(hit.source)),
    el("p", { className: "path" }, where),
    relevance(hit),
    el("p", { className: "why" }, hit.explanation ?? ""),
    hit.text ? el("blockquote", {}, hit.text) : null,
    facts.length ? el("dl", {}, ...facts.flatMap(([name, value]) => [
      el("dt", {}, name), el("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value))])) : null,
    hit.grouped_hits ? el("h3", {}, `${hit.grouped_hits.length} more of the same`) : null,
    hit.grouped_hits ? strip(hit.grouped_hits, (other) => openDetail(other, query)) : null,
  ].filter(Boolean));
}
