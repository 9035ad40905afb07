// What a hit or a citation looks like in a list.

import { itemURL } from "./api.js";
import { baseName, el, place, seconds } from "./dom.js";

export function thumbnail(hit, side = 480) {
  const image = el("img", { src: itemURL(hit.id, `thumbnail?side=${side}&box=true`), alt: "", loading: "lazy" });
  image.onerror = () => image.replaceWith(el("span", { className: "missing" }, "The file is missing"));
  return image;
}

export function badge(hit) {
  const { page, start_s } = hit.locator;
  const text = start_s !== undefined ? `▶ ${seconds(start_s)}` : page ? `p. ${page}` : "";
  return text ? el("span", { className: "badge" }, text) : null;
}

export function meter(share) {
  const bar = el("i");
  bar.style.width = `${Math.round(share * 100)}%`;
  return el("span", { className: "meter" }, bar);
}

export function relevance(hit) {
  if (hit.relevance === undefined || hit.relevance === null) return null;
  const percent = `${Math.round(hit.relevance * 100)} %`;
  return el("div", { className: "relevance", title: "The probability that this is what you look for" },
    meter(hit.relevance), percent, el("span", { className: "hidden" }, " relevance"));
}

export function card(hit, open) {
  const picture = el("div", { className: "picture" },
    hit.kind === "text" ? el("div", { className: "passage" }, hit.text.slice(0, 400)) : thumbnail(hit), badge(hit));
  const caption = el("div", { className: "caption" },
    el("div", { className: "name", title: hit.source }, baseName(hit.source)),
    relevance(hit), el("div", { className: "why" }, hit.explanation ?? ""));
  const label = [baseName(hit.source), place(hit.locator)].filter(Boolean).join(", ");
  return el("button", { type: "button", className: "card", onclick: () => open(hit), ariaLabel: `Open ${label}` },
    picture, caption);
}

export const strip = (hits, open) => el("div", { className: "strip" }, ...hits.map((hit) => el(
  "button", { type: "button", onclick: () => open(hit), ariaLabel: `Open ${baseName(hit.source)} ${place(hit.locator)}` },
  hit.kind === "text" ? el("span", { className: "excerpt" }, hit.text.slice(0, 160)) : thumbnail(hit, 240), badge(hit),
  hit.number ? el("span", { className: "number" }, String(hit.number)) : null)));
