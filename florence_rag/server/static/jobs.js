// The index: runs over folders and uploads, with live progress, and what failed or was skipped.

import { get, post, put, remove } from "./api.js";
import { meter } from "./cards.js";
import { $, baseName, el, onDrop, show } from "./dom.js";

const POLL_MS = 700;
let timer = null, changed = () => {};

export function startJobs(info, onChange) {
  changed = onChange;
  $("index-closed").hidden = info.folders.length > 0 || info.uploads;
  $("paths-form").hidden = !info.folders.length;
  $("uploads").hidden = !info.uploads;
  $("folders").replaceChildren(...info.folders.map((folder) => el("option", { value: folder })));
  $("path").value = info.folders[0] ?? "";
  $("files").accept = info.suffixes.join(",");
  $("paths-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start({ paths: [$("path").value.trim()], retry: $("retry").checked });
  });
  $("files").addEventListener("change", () => upload([...$("files").files]));
  if (info.uploads) onDrop($("index"), upload);
  refresh();
}

async function start(job) {
  try {
    await post("/api/jobs", job);
    show($("index-status"), "");
  } catch (error) {
    show($("index-status"), error.message, true);
  }
  refresh();
}

async function upload(files) {
  const uploads = [], refused = [];
  for (const [number, file] of files.entries()) {
    show($("index-status"), `Uploading ${number + 1} of ${files.length}: ${file.name}`);
    try {
      uploads.push((await put(`/api/uploads/${encodeURIComponent(file.name)}`, file)).upload);
    } catch (error) {
      refused.push(`${file.name}: ${error.message}`);
    }
  }
  $("files").value = "";
  if (uploads.length) await start({ uploads });
  if (refused.length) show($("index-status"), refused.join("\n"), true);
}

async function refresh() {
  clearTimeout(timer);
  try {
    const jobs = await get("/api/jobs");
    const open = new Set([...document.querySelectorAll(".job details[open]")].map((each) => each.dataset.key));
    $("jobs-title").hidden = !jobs.length;
    $("jobs").replaceChildren(...jobs.map((job) => jobItem(job, open)));
    if (jobs.some((job) => ["waiting", "running"].includes(job.state))) timer = setTimeout(refresh, POLL_MS);
    else if (jobs.length) changed();
  } catch (error) {
    show($("index-status"), error.message, true);
    timer = setTimeout(refresh, 5 * POLL_MS);
  }
}

function jobItem(job, open) {
  const isActive = ["waiting", "running"].includes(job.state);
  const cancel = async () => { await remove(`/api/jobs/${job.id}`).catch(() => {}); refresh(); };
  const more = job.paths.length > 1 ? ` and ${job.paths.length - 1} more` : "";
  return el("li", { className: "job" },
    el("header", {},
      el("span", { className: "name", title: job.paths.join("\n") }, baseName(job.paths[0]) + more),
      isActive ? el("button", { type: "button", className: "quiet", onclick: cancel }, "Cancel") : state(job)),
    isActive ? meter(job.progress?.files_total ? job.progress.files_done / job.progress.files_total : 0) : null,
    el("p", { className: job.error ? "failed" : "" }, job.error || (job.report ? counts(job.report) : progress(job))),
    ...(job.report ? [
      list(job, open, "failed", "failed", job.report.failed, "source", "reason"),
      list(job, open, "skipped", "not read", job.report.skipped, "source", "reason"),
      list(job, open, "near_duplicates", "near-duplicates", job.report.near_duplicates, "source", "duplicate_of"),
    ].filter(Boolean) : []));
}

const state = (job) => el("span", { className: job.state === "failed" ? "why failed" : "why" }, job.state);

function progress(job) {
  if (!job.progress) return job.state === "waiting" ? "Waiting for the run before it" : job.state === "running" ? "Looking for files …" : "";
  const { files_done, files_total, chunks, failures, source, task } = job.progress;
  const failed = failures ? `, ${failures} failed` : "";
  return `${task === "words" ? "Words of " : ""}${files_done} of ${files_total} files, ${chunks} chunks${failed} · ${baseName(source)}`;
}

function counts(report) {
  return ["added", "updated", "unchanged", "removed"].filter((name) => report[name] || name === "added")
    .map((name) => `${report[name]} ${name}`).concat(report.failed_count ? [`${report.failed_count} failed`] : []).join(", ");
}

function list(job, open, name, title, records, what, why) {
  if (!records.length) return null;
  const key = `${job.id} ${name}`;
  const details = el("details", { open: open.has(key) || name === "failed" },
    el("summary", { className: name }, `${job.report[`${name}_count`] ?? records.length} ${title}`),
    el("ol", {}, ...records.map((each) => el("li", {}, baseName(each[what]), el("small", {}, each[why])))));
  details.dataset.key = key;
  return details;
}
