import { blob, call, hasKey, problem } from "./api.js";
import { every, field, fill, h, renew } from "./dom.js";
import { table } from "./data.js";
import { number, t, when } from "./words.js";

const path = (reference) => `/v1/descant/adapters/${encodeURIComponent(reference)}`;

export function show(place, reference) {
  if (reference) one(place, reference);
  else list(place);
}

// aliases are those of an adapter that somebody has set, with the versions for which they stand.
export const aliases = (adapter) => Object.entries(adapter?.aliases ?? {}).filter(([alias]) => alias !== "latest");

async function list(place) {
  const body = h("div");
  place.append(h("h1", {}, t("adapters")), body);
  const refresh = async () => {
    try {
      const adapters = (await call("GET", "/v1/descant/adapters")).adapters ?? [];
      fill(body, adapters.map((a) => entry(a, refresh)));
      if (adapters.length === 0) body.append(h("p", { class: "soft" }, t("none")));
    } catch (error) {
      body.replaceChildren(problem(error));
    }
  };
  await refresh();
}

// entry is an adapter with its versions, and the moves of its aliases.
function entry(adapter, refresh) {
  const versions = (adapter.versions ?? []).filter((v) => !v.deleted_at), result = h("div", { "aria-live": "polite" });
  const alias = h("input", { value: aliases(adapter)[0]?.[0] ?? "prod" }), weight = h("input", { type: "number", min: 0.01, max: 100, step: "any", value: 100 });
  const version = h("select", {}, versions.map((v) => h("option", { value: v.version }, t("version", v.version))).reverse());
  const act = (request) => async (event) => {
    event.preventDefault();
    try {
      await request();
      await refresh();
    } catch (error) {
      result.replaceChildren(problem(error));
    }
  };
  const pins = adapter.pins ?? [];
  // pin is the button that pins a version or an alias, or takes the pin away.
  const pin = (which, label) => {
    const pinned = pins.includes(String(which)), reference = `${adapter.name}@${which}`;
    return h("button", { type: "button", class: "pin", "data-action": `pin ${reference}`, "aria-pressed": String(pinned), title: t("pinMeans"), "aria-label": t("pinOf", label),
      onclick: act(() => call("POST", `${path(reference)}/${pinned ? "unpin" : "pin"}`)) }, t(pinned ? "pinned" : "pin"));
  };
  const names = Object.entries(adapter.aliases ?? {}).map(([name, v]) => {
    const canary = adapter.canaries?.[name];
    return h("span", { class: "row" }, h("a", { class: "state", href: `#/adapters/${encodeURIComponent(`${adapter.name}@${name}`)}` }, `${name} → ${v}${canary ? ` (${canary.version}: ${canary.share / 100} %)` : ""}`), pin(name, name));
  });
  return h("div", { class: "card", "data-adapter": adapter.name }, h("div", { class: "row" }, h("strong", { class: "grow" }, adapter.name), names),
    h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, versions.toReversed().map((v) => h("tr", {},
      h("td", {}, h("a", { href: `#/adapters/${encodeURIComponent(`${adapter.name}@${v.version}`)}` }, t("version", v.version))),
      h("td", {}, pin(v.version, t("version", v.version))),
      h("td", {}, v.base ?? ""), h("td", { class: "soft" }, t("published", when(v.published_at))), h("td", { class: "soft" }, `${number(v.size / 1024)} KiB`)))))),
    h("form", { class: "grid", onsubmit: act(() => {
      const body = { alias: alias.value };
      if (Number(weight.value) < 100) body.weight = Number(weight.value);
      return call("POST", `${path(`${adapter.name}@${version.value}`)}/promote`, body);
    }) }, field(t("alias"), alias), field(t("which"), version), field(t("weight"), weight),
    h("div", { class: "row" }, h("button", { class: "main promote" }, t("promote")),
      h("button", { type: "button", class: "rollback", onclick: act(() => call("POST", `${path(adapter.name)}/rollback`, { alias: alias.value })) }, t("rollback")))),
    result);
}

async function one(place, reference) {
  place.append(h("h1", {}, reference));
  try {
    const adapter = await call("GET", path(reference)), version = `${adapter.name}@${adapter.version.version}`;
    const { manifest } = adapter, result = h("div"), workers = h("div", { class: "card" });
    const file = `${path(reference)}/files/report.html`;
    // A link cannot carry a key, and a page opened from here would be held to this one's policy: with a key it is saved.
    const save = async () => {
      try {
        h("a", { href: URL.createObjectURL(await blob(file)), download: `${reference}.html` }).click();
      } catch (error) {
        result.replaceChildren(problem(error));
      }
    };
    place.append(
      h("p", { class: "row" }, h("strong", { id: "version" }, version), h("a", { href: `#/play/${encodeURIComponent(reference)}` }, t("talk")),
        manifest.files.some((f) => f.name === "report.html") && (hasKey() ? h("button", { type: "button", onclick: save }, t("report")) : h("a", { id: "report", href: file, target: "_blank", rel: "noopener" }, t("report")))), result,
      h("h2", {}, t("lineage")), h("div", { class: "card scroll" }, h("table", {}, h("tbody", {},
        [[t("base"), manifest.base], [t("job"), manifest.job], [t("parent"), manifest.parent], ["sha256", adapter.version.digest]].filter(([, v]) => v)
          .map(([name, v]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, name === t("job") ? h("a", { href: `#/jobs/${v}` }, v) : v)))))),
      h("h2", {}, t("metrics")), h("div", { class: "card scroll" }, table(manifest.metrics ?? {})),
      h("h2", {}, t("onWorkers")), workers);
    // How far it is there changes while one looks.
    every(2000, place, async () => {
      try {
        const { workers: told = [] } = await call("GET", path(reference));
        renew(workers, told.map((w) => h("div", { class: "row" }, h("span", { class: "grow" }, w.worker),
          h("span", { class: `state ${w.state.state}` }, t(w.state.state)), w.state.pinned && h("span", { class: "state pinned" }, t("pinned")), w.state.reason ?? "")));
      } catch (error) {
        renew(workers, problem(error));
      }
    });
  } catch (error) {
    place.append(problem(error));
  }
}
