// The conversation: answers arrive in parts, and numbers in brackets open the results that they cite.

import { get, post, postForStream, remove } from "./api.js";
import { strip } from "./cards.js";
import { openDetail } from "./detail.js";
import { $, el, onDrop, show } from "./dom.js";
import { readImage } from "./images.js";

const KEY = "florence-rag-chat";
let image = null, busy = null;

export function startChat() {
  $("chat-form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("chat-new").addEventListener("click", startAgain);
  $("chat-image").addEventListener("change", () => attach($("chat-image").files[0]));
  $("chat-image-remove").addEventListener("click", () => attach(null));
  onDrop($("chat"), ([file]) => attach(file));
  addEventListener("paste", (event) => {
    if (!$("chat").hidden && event.clipboardData.files.length) attach(event.clipboardData.files[0]);
  });
  restore();
}

async function attach(file) {
  image = file ? await readImage(file) : null;
  $("chat-image").value = "";
  $("chat-attached").hidden = !image;
  if (image) $("chat-attached").querySelector("img").src = image;
  $("message").focus();
}

async function restore() {
  const id = sessionStorage.getItem(KEY);
  if (!id) return;
  try {
    const { turns } = await get(`/api/chats/${id}`);
    for (const turn of turns) finish(begin(turn.question, turn.image), turn);
  } catch {
    sessionStorage.removeItem(KEY); // the server has forgotten it
  }
}

async function startAgain() {
  busy?.abort();
  const id = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  $("turns").replaceChildren();
  $("chat-welcome").hidden = false;
  $("message").focus();
  if (id) await remove(`/api/chats/${id}`).catch(() => {});
}

async function send() {
  const text = $("message").value.trim();
  if (busy || !(text || image)) return;
  const body = { text, image: image ?? undefined };
  const turn = begin(text, image);
  $("message").value = "";
  attach(null);
  busy = new AbortController();
  try {
    await answer(turn, body, busy.signal);
  } catch (error) {
    if (error.name !== "AbortError") show(turn.text, error.message, true);
    if (!$("message").value) $("message").value = text; // nothing that was typed is lost
  }
  busy = null;
  turn.article.ariaBusy = "false";
}

async function chatId() {
  const id = sessionStorage.getItem(KEY) ?? (await post("/api/chats", {})).id;
  sessionStorage.setItem(KEY, id);
  return id;
}

async function answer(turn, body, signal) {
  let stream;
  try {
    stream = await postForStream(`/api/chats/${await chatId()}/messages`, body, { signal });
  } catch (error) {
    if (!/not known any more/.test(error.message)) throw error;
    sessionStorage.removeItem(KEY);
    stream = await postForStream(`/api/chats/${await chatId()}/messages`, body, { signal });
  }
  let text = "";
  for await (const [name, data] of events(stream)) {
    if (name === "error") throw new Error(data.error);
    if (name === "turn") finish(turn, data);
    else show(turn.text, text += data.text);
    turn.article.scrollIntoView({ block: "end", behavior: "smooth" });
  }
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (buffer + value).split("\n\n");
    buffer = parts.pop();
    for (const part of parts) {
      const [, name, data] = part.match(/^event: (.*)\ndata: (.*)$/);
      yield [name, JSON.parse(data)];
    }
  }
}

function begin(question, picture) {
  $("chat-welcome").hidden = true;
  const text = el("p", { className: "answer" }, "…");
  const article = el("article", { className: "turn", ariaBusy: "true" },
    el("div", { className: "question" }, picture ? el("img", { src: picture, alt: "Your image" }) : null,
      question ? el("p", {}, question) : null), text);
  $("turns").append(el("li", {}, article));
  article.scrollIntoView({ block: "end" });
  return { article, text };
}

function finish({ article, text }, turn) {
  article.ariaBusy = "false";
  text.classList.toggle("error", Boolean(turn.error));
  text.replaceChildren(...linked(turn.error || turn.answer.answer, turn.hits));
  const { confidence } = turn.answer;
  const facts = [
    confidence === null ? "" : `confidence ${Math.round(confidence * 100)} %`,
    turn.query && turn.query !== turn.question ? `looked up: ${turn.query}` : "",
  ].filter(Boolean).join(" · ");
  if (facts) article.append(el("p", { className: "why" }, facts));
  const cited = turn.answer.citations.map((each) => each.id);
  const shown = turn.hits.map((hit, position) => ({ ...hit, number: position + 1 }))
    .filter((hit) => !cited.length || cited.includes(hit.id));
  if (shown.length) article.append(strip(shown, openDetail));
}

// "[2]" becomes a button that opens the second result; everything else stays text.
function linked(answer, hits) {
  return answer.split(/(\[[\d, ]+\])/).flatMap((part) => {
    if (!/^\[[\d, ]+\]$/.test(part)) return [part];
    return part.slice(1, -1).split(",").map(Number).map((number) => hits[number - 1]
      ? el("button", { type: "button", className: "cite", onclick: () => openDetail(hits[number - 1]),
        ariaLabel: `Open result ${number}` }, String(number))
      : `[${number}]`);
  });
}
