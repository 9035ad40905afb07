// Builds elements. Text from files and answers only ever becomes text nodes, never HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function show(status, text, isError = false) {
  status.textContent = text;
  status.classList.toggle("error", isError);
}

export const baseName = (source) => source.split(/[/\\#]/).filter(Boolean).pop() ?? source;

export function seconds(value) {
  const whole = Math.floor(value);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export function place(locator) {
  if (locator.page) return `page ${locator.page}`;
  if (locator.start_s !== undefined) return `${seconds(locator.start_s)}–${seconds(locator.end_s)}`;
  return locator.box ? "region" : "";
}

// Lets files be dropped anywhere on the page while a section is shown.
export function onDrop(section, receive) {
  const has = (event) => !section.hidden && event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!has(event)) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", () => document.body.classList.remove("dragging"));
  addEventListener("drop", (event) => {
    document.body.classList.remove("dragging");
    if (!has(event)) return;
    event.preventDefault();
    receive([...event.dataTransfer.files]);
  });
}
