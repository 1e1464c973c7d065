import { call, problem, upload } from "./api.js";
import { field, h, say } from "./dom.js";
import { number, t } from "./words.js";

export function show(place, id) {
  if (id) look(place, id);
  else list(place);
}

function list(place) {
  const files = h("div", { id: "files" }), result = h("div", { "aria-live": "polite" });
  const chooser = h("input", { type: "file", id: "file", class: "quiet", "aria-label": t("choose"), multiple: true, onchange: () => take([...chooser.files]) });
  const take = async (chosen) => {
    result.replaceChildren();
    for (const file of chosen) {
      const bar = h("progress", { max: 1, value: 0, "aria-label": t("uploading", file.name) });
      result.append(bar);
      try {
        const made = await upload(file, (share) => { bar.value = share; });
        bar.replaceWith(h("div", { class: "notice uploaded" }, t("uploaded", made.filename, number(made.rows))));
        await refresh();
      } catch (error) {
        bar.replaceWith(h("div", { class: "soft" }, file.name), problem(error));
      }
    }
    chooser.value = "";
  };
  const zone = h("div", { class: "drop card",
    ondragover: (event) => { event.preventDefault(); zone.classList.add("over"); },
    ondragleave: () => zone.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      take([...event.dataTransfer.files]);
    } }, h("p", {}, t("drop")), h("button", { type: "button", onclick: () => chooser.click() }, t("choose")), chooser);
  const refresh = async () => {
    try {
      const { data, has_more: more } = await call("GET", "/v1/files?limit=100");
      files.replaceChildren(...data.map((file) => h("div", { class: "card row" },
        h("div", { class: "grow" }, file.filename, h("div", { class: "soft" }, `${t("rows", number(file.rows))} · ${number(file.bytes / 1024, 1)} KiB`)),
        h("a", { href: `#/data/${file.id}` }, t("preview")), h("a", { href: `#/jobs/new/${file.id}`, class: "train-on" }, t("train")),
        h("button", { class: "danger", onclick: async () => {
          if (!confirm(t("sure", file.filename))) return;
          try {
            await call("DELETE", `/v1/files/${file.id}`);
            say(file.filename);
            await refresh();
          } catch (error) {
            result.replaceChildren(problem(error));
          }
        } }, t("remove")))));
      if (more) files.append(h("p", { class: "soft" }, t("newest", data.length)));
      if (data.length === 0) files.append(h("p", { class: "soft" }, t("none")));
    } catch (error) {
      files.replaceChildren(problem(error));
    }
  };
  place.append(h("h1", {}, t("data")), zone, result, files);
  refresh();
}

async function look(place, id) {
  place.append(h("h1", {}, t("preview")));
  const rows = h("div", { id: "rows" }), facts = h("div");
  let bases = [];
  try {
    bases = (await call("GET", "/v1/models")).data.filter((m) => m.parent === null);
  } catch (error) {
    place.append(problem(error));
    return;
  }
  const base = h("select", { onchange: () => paint() }, bases.map((m) => h("option", { value: m.id }, m.id)));
  const lossOn = h("select", { onchange: () => paint() }, ["full", "completion", "last_turn"].map((value) => h("option", { value }, t(value))));
  const paint = async () => {
    const query = `model=${encodeURIComponent(base.value)}&loss_on=${lossOn.value}`;
    try {
      const preview = await call("GET", `/v1/descant/files/${id}/preview?${query}&limit=5`);
      rows.replaceChildren(...(preview.rows ?? []).map((row) => h("div", { class: "card" },
        h("div", { class: "soft" }, t("trainedOf", row.row, row.trained, row.length)),
        h("div", { class: "tokens" }, (row.tokens ?? []).map((token) => h("span", { class: token.use, title: String(token.id) }, token.text ?? ""))))));
    } catch (error) {
      rows.replaceChildren(problem(error));
    }
    try {
      const { survey } = await call("GET", `/v1/descant/files/${id}/survey?${query}`);
      facts.replaceChildren(h("h2", {}, t("statistics")), h("div", { class: "card scroll" }, table({ ...survey.report, languages: survey.languages, tokens: survey.tokens })));
    } catch (error) {
      facts.replaceChildren(problem(error));
    }
  };
  place.append(h("div", { class: "card grid" }, field(t("base"), base), field(t("lossOn"), lossOn)), h("p", { class: "soft" }, t("legend")), rows, facts);
  paint();
}

// table shows the numbers and texts of an object, and of the objects in it.
export function table(object) {
  const lines = [];
  const walk = (value, name) => {
    if (value === null || value === undefined) return;
    if (typeof value === "object") for (const [key, inner] of Object.entries(value)) walk(inner, name ? `${name}.${key}` : key);
    else lines.push(h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, typeof value === "number" ? number(value, 4) : String(value))));
  };
  walk(object, "");
  return h("table", {}, h("tbody", {}, lines));
}
