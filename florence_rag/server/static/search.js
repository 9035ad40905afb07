// The search: a text, an image, a region of it, or an item, with filters.

import { itemURL, post } from "./api.js";
import { card } from "./cards.js";
import { openDetail } from "./detail.js";
import { $, baseName, el, onDrop, show } from "./dom.js";
import { readImage } from "./images.js";
import { drawable } from "./region.js";

let image = null, item = null, box = null, region = null, running = null;

export function startSearch() {
  $("search-form").addEventListener("submit", (event) => { event.preventDefault(); search(); });
  $("search-form").addEventListener("change", (event) => {
    if (event.target.id !== "image" && event.target.id !== "text" && hasQuery()) search();
  });
  $("relevance").addEventListener("input", () => {
    $("relevance-value").textContent = Number($("relevance").value) ? $("relevance").value : "any";
  });
  $("image").addEventListener("change", () => useFile($("image").files[0]));
  $("query-remove").addEventListener("click", () => { clearImage(); search(); });
  $("query-whole").addEventListener("click", () => { region.clear(); setBox(null); search(); });
  onDrop($("search"), ([file]) => useFile(file));
  addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
    if (file && !$("search").hidden) useFile(file);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, textarea") && !$("search").hidden) {
      event.preventDefault();
      $("text").select();
    }
  });
}

const hasQuery = () => Boolean($("text").value.trim() || image || item);

async function useFile(file) {
  if (!file) return;
  $("image").value = "";
  image = await readImage(file);
  item = null;
  showImage(image, baseName(file.name));
  search();
}

function showImage(source, name) {
  const shown = el("img", { src: source, alt: `Searched image: ${name}` });
  shown.onerror = () => shown.replaceWith(name);
  $("query-stage").replaceChildren(shown);
  region = drawable($("query-stage"), (drawn) => { setBox(drawn); search(); });
  setBox(null);
  $("query-image").hidden = false;
}

function setBox(drawn) {
  box = drawn;
  $("query-whole").hidden = !box;
  show($("query-hint"), box ? "This part of the image is searched for."
    : "The whole image is searched for. Draw on it to search for a part.");
}

function clearImage() {
  image = item = box = null;
  $("query-image").hidden = true;
}

// Searches for what is like a hit, or like a part of it.
export function searchLike(hit, drawn) {
  clearImage();
  item = hit.id;
  $("text").value = "";
  if (hit.kind !== "text") {
    showImage(itemURL(hit.id, "thumbnail?side=640"), baseName(hit.source));
    setBox(drawn);
    if (drawn) region.set(drawn);
  }
  scrollTo({ top: 0 });
  search();
}

function request() {
  const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));
  const kinds = [...$("kinds").querySelectorAll(":checked")].map((each) => each.value);
  return {
    text: $("text").value.trim() || undefined,
    image: image ?? undefined,
    id: item ?? undefined,
    box: box ?? undefined,
    kinds: kinds.length ? kinds : undefined,
    source: $("source").value.trim(),
    tags: $("tags").value.split(",").map((tag) => tag.trim()).filter(Boolean),
    from_s: number("from-s"),
    to_s: number("to-s"),
    limit: number("limit"),
    min_relevance: number("relevance") || undefined,
  };
}

async function search() {
  running?.abort();
  $("welcome").hidden = hasQuery();
  if (!hasQuery()) {
    $("results").replaceChildren();
    show($("status"), "");
    return;
  }
  const controller = running = new AbortController();
  const query = request();
  const started = performance.now();
  show($("status"), "Searching …");
  try {
    const { hits } = await post("/api/search", query, { signal: controller.signal });
    const { filter, min_relevance, ...what } = query;
    $("results").replaceChildren(...hits.map((hit) => el("li", {}, card(hit, () => openDetail(hit, what)))));
    show($("status"), summary(hits, performance.now() - started));
  } catch (error) {
    if (error.name === "AbortError") return;
    $("results").replaceChildren();
    show($("status"), error.message, true);
  }
}

function summary(hits, took) {
  if (!hits.length) return "Nothing found. Try other words, or fewer filters.";
  return `${hits.length} ${hits.length === 1 ? "result" : "results"} in ${(took / 1000).toFixed(2)} s`;
}
