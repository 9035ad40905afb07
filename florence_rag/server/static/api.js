// Calls the REST API. An error is an Error with the one line that the server says.

import { $, show } from "./dom.js";

let login = null;

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
  if (response.status === 401 && !options.isRepeated) {
    await (login ??= askForToken());
    return call(path, { ...options, isRepeated: true });
  }
  if (!response.ok) throw new Error(await reason(response));
  return response;
}

async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The server answers ${response.status}.`;
  }
}

const asJSON = (body) => ({
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

export const get = async (path, options) => (await call(path, options)).json();
export const post = async (path, body, options) => (await call(path, { ...asJSON(body), ...options })).json();
export const postForImage = async (path, body) => URL.createObjectURL(await (await call(path, asJSON(body))).blob());
export const postForStream = async (path, body, options) => (await call(path, { ...asJSON(body), ...options })).body;
export const put = async (path, body) => (await call(path, { method: "PUT", body })).json();
export const remove = async (path) => (await call(path, { method: "DELETE" })).json();
export const itemURL = (id, what) => `/api/items/${encodeURIComponent(id)}/${what}`;

export async function sendToken(token) {
  const response = await fetch("/api/login", asJSON({ token }));
  if (!response.ok) throw new Error(await reason(response));
}

// Asks for the token once, however many calls wait for it.
function askForToken() {
  const dialog = $("login");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  return new Promise((resolve) => {
    $("login-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      try {
        await sendToken($("token").value.trim());
        dialog.close();
        login = null;
        resolve();
      } catch (error) {
        show($("login-status"), error.message, true);
      }
    });
  });
}
