import { t } from "./words.js";
import { field, h } from "./dom.js";

const keyName = "descant.key";

// ApiError is an answer that is none, in the API's own words.
export class ApiError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
    this.problems = error.problems ?? [];
  }
}

// hasKey says that requests carry a key.
export const hasKey = () => sessionStorage.getItem(keyName) !== null;

function headers(extra = {}) {
  const key = sessionStorage.getItem(keyName);
  return key ? { ...extra, Authorization: `Bearer ${key}` } : extra;
}

async function failure(response) {
  let error = { message: `${response.status} ${response.statusText}` };
  try {
    error = (await response.json()).error ?? error;
  } catch {
    // not JSON: the status says what there is to say
  }
  return new ApiError(response.status, error);
}

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: t("unreachable") });
  }
  if (!response.ok) throw await failure(response);
  return response;
}

// call sends a request and gives the JSON of its answer.
export async function call(method, path, body) {
  const options = { method, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) options.body = JSON.stringify(body);
  return (await send(path, options)).json();
}

// blob gives a file of the API.
export async function blob(path) {
  return (await send(path, { headers: headers() })).blob();
}

// upload sends a file, and tells how much of it is sent.
export function upload(file, progress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("purpose", "fine-tune");
    form.append("file", file);
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new ApiError(0, { message: t("unreachable") }));
    request.onload = () => {
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        // told by the status below
      }
      if (request.status === 200) resolve(answer);
      else reject(new ApiError(request.status, answer.error ?? { message: `${request.status} ${request.statusText}` }));
    };
    request.send(form);
  });
}

// events gives the objects of a stream of server-sent events.
export async function* events(method, path, signal, body) {
  const options = { method, signal, headers: headers(body === undefined ? {} : { "Content-Type": "application/json" }) };
  if (body !== undefined) options.body = JSON.stringify(body);
  const reader = (await send(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim()).join("\n");
      if (data === "[DONE]") return;
      if (data === "") continue;
      const object = JSON.parse(data);
      if (object.error && Object.keys(object).length === 1) throw new ApiError(200, object.error);
      yield object;
    }
  }
}

// problem shows an error in place, and asks for a key where one is missing.
export function problem(error) {
  const said = error.status === 401 ? t(hasKey() ? "keyWrong" : "keyNeeded") : error.message;
  const box = h("div", { class: "problem", role: "alert" }, said);
  if (error.problems?.length > 0) {
    box.append(h("ul", {}, error.problems.map((p) =>
      h("li", {}, [p.line ? t("line", p.line) : "", p.param ?? "", p.message, p.next_step ?? ""].filter(Boolean).join(" · ")))));
  }
  if (error.status === 401 || error.status === 403) {
    const key = h("input", { type: "password", autocomplete: "off", class: "key", required: true });
    box.append(h("form", { class: "row", onsubmit: (event) => {
      event.preventDefault();
      sessionStorage.setItem(keyName, key.value.trim());
      location.reload();
    } }, h("div", { class: "grow" }, field(t("key"), key)), h("button", { class: "main use-key" }, t("useKey"))));
  }
  return box;
}
