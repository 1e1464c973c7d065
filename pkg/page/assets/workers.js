import { call, problem } from "./api.js";
import { every, h, renew } from "./dom.js";
import { number, t } from "./words.js";

export function show(place) {
  const body = h("div", { id: "workers" });
  place.append(h("h1", {}, t("workers")), body);
  every(3000, place, async () => {
    try {
      const workers = (await call("GET", "/v1/descant/workers")).workers ?? [];
      renew(body, workers.map((w) => h("div", { class: "card" },
        h("div", { class: "row" }, h("strong", { class: "grow" }, w.id), h("span", { class: w.ready ? "state ready" : "state" }, t(w.draining ? "draining" : w.ready ? "ready" : "starting"))),
        (w.bases ?? []).map((b) => h("p", {}, b.base, h("span", { class: "soft" },
          ` · ${t("freeRows", b.free_rows, b.rows)} · ${t("waiting", b.waiting)} · ${t("answered", number(b.output_tokens))}`))),
        h("div", { class: "row" }, (w.adapters ?? []).map((a) => h("span", { class: `state ${a.state}`, title: a.reason ?? "" }, `${a.name ?? a.digest}@${a.version ?? ""} ${t(a.state)}`))))), workers.length === 0 && h("p", { class: "soft" }, t("none")));
    } catch (error) {
      renew(body, problem(error));
    }
  });
}
