// The entry point: the tabs, the token, and the contents of the index in the header.

import { get, sendToken } from "./api.js";
import { startChat } from "./chat.js";
import { configure } from "./detail.js";
import { $, show } from "./dom.js";
import { startJobs } from "./jobs.js";
import { searchLike, startSearch } from "./search.js";

const NAMES = { image: "image", clip: "video clip", page: "page", text: "passage" };
const tabs = [...document.querySelectorAll("[role=tab]")];

function select(tab) {
  for (const each of tabs) {
    each.ariaSelected = String(each === tab);
    each.tabIndex = each === tab ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = each !== tab;
  }
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
}

for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
}

async function showContents() {
  const info = await get("/api/info");
  const counts = Object.entries(info.chunks).filter(([, count]) => count)
    .map(([kind, count]) => `${count.toLocaleString()} ${NAMES[kind]}${count === 1 ? "" : "s"}`);
  $("contents").textContent = counts.join(" · ") || "The index is empty";
  return info;
}

async function start() {
  startSearch(); // before the first response: the browser itself would send a form that nobody listens to
  const fragment = new URLSearchParams(location.hash.slice(1));
  if (fragment.has("token")) {
    history.replaceState(null, "", location.pathname);
    await sendToken(fragment.get("token")).catch(() => {}); // a wrong one is asked for again
  }
  select(tabs.find((tab) => tab.getAttribute("aria-controls") === location.hash.slice(1)) ?? tabs[0]);
  const info = await showContents();
  $("relevance-label").hidden = !info.is_calibrated;
  configure({ searchLike, tools: info.tools });
  startChat();
  startJobs(info, showContents);
}

start().catch((error) => show($("status"), error.message, true));
