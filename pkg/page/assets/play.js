import { call, events, problem } from "./api.js";
import { field, h, say } from "./dom.js";
import { number, t } from "./words.js";

export async function show(place, wanted) {
  place.append(h("h1", {}, t("play")));
  let models;
  try {
    models = (await call("GET", "/v1/models")).data;
  } catch (error) {
    place.append(problem(error));
    return;
  }
  const adapters = models.filter((m) => m.parent !== null), bases = models.filter((m) => m.parent === null);
  const chosen = new Set(adapters.filter((m) => wanted && (m.id === wanted || wanted.startsWith(`${m.id}@`))).slice(0, 3).map((m) => m.id));
  const parent = adapters.find((m) => chosen.has(m.id))?.parent;
  const base = h("select", { id: "play-base" }, bases.map((m) => h("option", { value: m.id, selected: m.id === parent }, m.id)));
  const boxes = adapters.map((m) => h("label", {}, h("input", { type: "checkbox", value: m.id, checked: chosen.has(m.id), onchange: (event) => {
    if (event.target.checked) chosen.add(m.id);
    else chosen.delete(m.id);
    for (const box of place.querySelectorAll("input[type=checkbox]")) box.disabled = !box.checked && chosen.size >= 3;
  } }), m.id));
  const system = h("input", { id: "system" }), prompt = h("textarea", { id: "prompt", required: true });
  const temperature = h("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0 }), most = h("input", { type: "number", min: 1, value: 128 });
  const answers = h("div", { class: "columns", id: "answers" });
  const send = h("button", { class: "main", id: "send" }, t("send")), stop = h("button", { type: "button", disabled: true }, t("stop"));
  let abort;
  stop.addEventListener("click", () => abort.abort());
  addEventListener("hashchange", () => abort?.abort(), { once: true });
  place.append(h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    abort = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    const messages = [{ role: "user", content: prompt.value }];
    if (system.value) messages.unshift({ role: "system", content: system.value });
    answers.replaceChildren();
    await Promise.all([base.value, ...chosen].map((model, i) => answer(answers, i === 0 ? `${t("theBase")} · ${model}` : model,
      { model, messages, temperature: Number(temperature.value), max_tokens: Number(most.value), stream: true }, abort.signal)));
    send.disabled = false;
    stop.disabled = true;
    say(t("succeeded"));
  } },
  h("div", { class: "grid" }, field(t("base"), base), field(t("system"), system)),
  boxes.length > 0 && h("fieldset", { class: "card row" }, h("legend", { class: "soft" }, t("with")), boxes),
  field(t("prompt"), prompt),
  h("details", {}, h("summary", {}, t("more")), h("div", { class: "grid" }, field(t("temperature"), temperature), field(t("maxTokens"), most))),
  h("p", { class: "row" }, send, stop)), answers);
}

// answer streams what one model says into a column of its own.
async function answer(place, title, request, signal) {
  const text = h("div", { class: "answer", "data-model": request.model }), note = h("div", { class: "soft" }, t("answering"));
  place.append(h("section", { class: "card", "aria-label": title }, h("strong", {}, title), text, note));
  let pieces = 0, first = 0;
  try {
    for await (const chunk of events("POST", "/v1/chat/completions", signal, request)) {
      const said = chunk.choices?.[0]?.delta?.content;
      if (!said) continue;
      if (pieces++ === 0) first = performance.now();
      text.append(said);
    }
    const seconds = (performance.now() - first) / 1000;
    note.textContent = pieces > 1 && seconds > 0 ? t("speed", number((pieces - 1) / seconds, 1)) : "";
  } catch (error) {
    note.textContent = "";
    if (error.name !== "AbortError") place.lastElementChild.isConnected && text.after(problem(error));
  }
}
