import { aliases } from "./adapters.js";
import { call, events, problem } from "./api.js";
import { field, h, say } from "./dom.js";
import { number, t } from "./words.js";

export async function show(place, wanted) {
  place.append(h("h1", {}, t("play")));
  let models, published;
  try {
    [models, published] = await Promise.all([call("GET", "/v1/models"), call("GET", "/v1/descant/adapters")]);
  } catch (error) {
    place.append(problem(error));
    return;
  }
  const newest = models.data.filter((m) => m.parent !== null), bases = models.data.filter((m) => m.parent === null);
  const named = newest.find((m) => wanted === m.id || wanted.startsWith(`${m.id}@`));
  const references = newest.flatMap((m) => [m.id, ...aliases(published.adapters?.find((a) => a.name === m.id)).map(([alias]) => `${m.id}@${alias}`)]);
  if (named && !references.includes(wanted)) references.unshift(wanted);
  const chosen = new Set(named ? [wanted] : []), parent = named?.parent;
  const base = h("select", { id: "play-base" }, bases.map((m) => h("option", { value: m.id, selected: m.id === parent }, m.id)));
  const boxes = references.map((reference) => h("label", {}, h("input", { type: "checkbox", value: reference, checked: chosen.has(reference), onchange: (event) => {
    if (event.target.checked) chosen.add(reference);
    else chosen.delete(reference);
    for (const box of place.querySelectorAll("input[type=checkbox]")) box.disabled = !box.checked && chosen.size >= 3;
  } }), reference));
  const system = h("input", { id: "system" }), prompt = h("textarea", { id: "prompt", required: true });
  const temperature = h("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0 }), most = h("input", { id: "most", type: "number", min: 1, value: 128 });
  const answers = h("div", { class: "columns", id: "answers" });
  const send = h("button", { class: "main", id: "send" }, t("send")), stop = h("button", { type: "button", id: "stop", disabled: true }, t("stop"));
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
    say(t(abort.signal.aborted ? "stopped" : "succeeded"));
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
  let pieces = 0, first = 0, version = "";
  const told = (speed) => { note.textContent = [version !== request.model && version, speed].filter(Boolean).join(" · "); };
  try {
    for await (const chunk of events("POST", "/v1/chat/completions", signal, request)) {
      version = chunk.model ?? version;
      const said = chunk.choices?.[0]?.delta?.content;
      if (!said) continue;
      if (pieces++ === 0) first = performance.now();
      text.append(said);
    }
    const seconds = (performance.now() - first) / 1000;
    told(pieces > 1 && seconds > 0 && t("speed", number((pieces - 1) / seconds, 1)));
  } catch (error) {
    told(error.name === "AbortError" && t("stopped"));
    if (error.name !== "AbortError" && text.isConnected) text.after(problem(error));
  }
}
