import { call, events, problem } from "./api.js";
import { lossChart } from "./chart.js";
import { every, field, h, renew, say } from "./dom.js";
import { duration, language, number, t } from "./words.js";

// lines is how long the log on the page may become.
const lines = 2000;
const ended = ["succeeded", "failed", "cancelled"];

export function show(place, id) {
  if (id.startsWith("new")) form(place, id.slice(4));
  else if (id) one(place, id);
  else list(place);
}

function state(job) {
  return h("span", { class: `state ${job.descant.state}` }, t(job.descant.state));
}

function progressLine(job) {
  const p = job.descant.progress;
  if (!p) return "";
  const parts = [t("step", p.step, p.total_steps), t("loss", number(p.train_loss, 3))];
  if (job.descant.state === "training") parts.push(t("speed", number(p.tokens_per_second)), t("left", duration(p.eta_seconds)));
  return parts.join(" · ");
}

function list(place) {
  const jobs = h("div", { id: "jobs" });
  place.append(h("div", { class: "row" }, h("h1", { class: "grow" }, t("jobs")), h("a", { href: "#/jobs/new", id: "new-job" }, t("newJob"))), jobs);
  every(2000, place, async () => {
    try {
      const { data, has_more: more } = await call("GET", "/v1/fine_tuning/jobs?limit=50");
      renew(jobs, data.map((job) => h("div", { class: "card" },
        h("div", { class: "row" }, h("a", { class: "grow", href: `#/jobs/${job.id}` }, job.descant.name || job.id), h("span", { class: "soft" }, job.model), state(job)),
        job.descant.progress && h("progress", { max: job.descant.progress.total_steps, value: job.descant.progress.step, "aria-label": t("jobs") }),
        h("div", { class: "soft" }, progressLine(job)))), more && h("p", { class: "soft" }, t("newest", data.length)), data.length === 0 && h("p", { class: "soft" }, t("none")));
    } catch (error) {
      renew(jobs, problem(error));
    }
  });
}

async function form(place, file) {
  place.append(h("h1", {}, t("newJob")));
  let models, files;
  try {
    [models, files] = await Promise.all([call("GET", "/v1/models"), call("GET", "/v1/files?limit=100")]);
  } catch (error) {
    place.append(problem(error));
    return;
  }
  const base = h("input", { id: "base", list: "bases", required: true, value: models.data.find((m) => m.parent === null)?.id ?? "" });
  const bases = h("datalist", { id: "bases" }, models.data.filter((m) => m.parent === null).map((m) => h("option", { value: m.id })));
  const dataset = h("select", { id: "dataset" }, h("option", { value: "builtin:sample" }, t("sample")),
    files.data.map((f) => h("option", { value: f.id, selected: f.id === file }, `${f.filename} (${t("rows", f.rows)})`)));
  const name = h("input", { id: "name", pattern: "[a-z0-9][a-z0-9._\\-]*", maxlength: 63 });
  const steps = h("input", { id: "steps", type: "number", min: 1, value: 50, required: true });
  const rank = h("input", { type: "number", min: 1, value: 8 }), rate = h("input", { value: "0.0002", inputmode: "decimal" });
  const batch = h("input", { type: "number", min: 1, value: 4 }), share = h("input", { id: "share", value: "0", inputmode: "decimal" });
  const lossOn = h("select", {}, ["full", "completion", "last_turn"].map((value) => h("option", { value }, t(value))));
  const wrong = h("div");
  const start = h("button", { class: "main", id: "start" }, t("start"));
  place.append(h("form", { class: "card", onsubmit: async (event) => {
    event.preventDefault();
    start.disabled = true;
    const request = {
      model: base.value, training_file: dataset.value, max_steps: Number(steps.value), r: Number(rank.value), lora_alpha: 2 * Number(rank.value),
      learning_rate: Number(rate.value), per_device_train_batch_size: 1, gradient_accumulation_steps: Number(batch.value), loss_on: lossOn.value,
    };
    if (name.value) request.suffix = name.value;
    if (Number(share.value) > 0) Object.assign(request, { val_size: Number(share.value), eval_steps: Math.max(1, Math.round(request.max_steps / 5)) });
    try {
      const job = await call("POST", "/v1/fine_tuning/jobs", request);
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      wrong.replaceChildren(problem(error));
    }
    start.disabled = false;
  } },
  h("div", { class: "grid" }, field(t("base"), base), bases, field(t("dataset"), dataset), field(t("name"), name), field(t("steps"), steps)),
  h("details", {}, h("summary", {}, t("more")), h("div", { class: "grid" }, field(t("rank"), rank), field(t("rate"), rate), field(t("batch"), batch),
    field(t("lossOn"), lossOn), field(t("evaluate"), share))),
  wrong, h("p", {}, start)));
}

async function one(place, id) {
  const head = h("div"), curve = h("div", { class: "card" }), log = h("ol", { class: "log", tabindex: 0, "aria-label": t("log") }), wrong = h("div");
  place.append(head, wrong, curve, h("h2", {}, t("log")), h("div", { class: "card" }, log));
  const train = new Map(), evals = new Map();
  let total = 0, told = "";

  let waits = false;
  // At most once for each picture of the screen: the events of a long job come all at once.
  const draw = () => {
    if (waits) return;
    waits = true;
    setTimeout(() => {
      waits = false;
      paintCurve();
    }, 50);
  };
  const losses = lossChart({ chart: t("curve"), steps: t("steps"), train: t("trainLoss"), evals: t("evalLoss") });
  curve.append(h("div", { class: "soft" }, t("curve")), losses.element);
  const paintCurve = () => losses.draw(train, evals, total);

  const control = (action, kind) => h("button", { class: kind, "data-action": action, onclick: async () => {
    try {
      paint(await call("POST", `/v1/fine_tuning/jobs/${id}/${action}`));
      wrong.replaceChildren();
    } catch (error) {
      wrong.replaceChildren(problem(error));
    }
  } }, t(action));

  const paint = (job) => {
    const s = job.descant.state;
    if (s !== told) say(t("stateIs", job.descant.name || job.id, t(s)));
    told = s;
    total = job.descant.progress?.total_steps ?? total;
    renew(head,
      h("div", { class: "row" }, h("h1", { class: "grow" }, job.descant.name || job.id), state(job),
        !ended.includes(s) && s !== "paused" && s !== "cancelling" && control("pause"), s === "paused" && control("resume", "main"),
        !ended.includes(s) && s !== "cancelling" && control("cancel", "danger")),
      h("p", { class: "soft" }, `${job.model} · ${job.training_file} · ${job.id}`),
      job.descant.progress && h("progress", { max: total, value: job.descant.progress.step, "aria-label": t("steps") }),
      h("p", { id: "progress" }, progressLine(job)),
      job.error && problem(job.error),
      (job.descant.warnings ?? []).map((w) => h("div", { class: "notice" }, w)),
      s === "succeeded" && h("p", { class: "row" }, h("a", { id: "talk", href: `#/play/${encodeURIComponent(job.fine_tuned_model)}` }, t("talk")),
        h("a", { href: `#/adapters/${encodeURIComponent(job.fine_tuned_model)}` }, t("adapters"))));
  };

  const refresh = async () => {
    const job = await call("GET", `/v1/fine_tuning/jobs/${id}`);
    paint(job);
    return job;
  };

  const stop = new AbortController();
  addEventListener("hashchange", () => stop.abort(), { once: true });
  every(1500, place, async () => {
    if (ended.includes(told)) return;
    try {
      await refresh();
    } catch (error) {
      renew(wrong, problem(error));
    }
  });
  let last = "";
  while (place.isConnected || last === "") {
    try {
      for await (const event of events("GET", `/v1/fine_tuning/jobs/${id}/events?stream=true${last && `&after=${last}`}`, stop.signal)) {
        last = event.id;
        wrong.replaceChildren();
        const d = event.data ?? {};
        if (event.type === "metrics" && Number.isFinite(d.valid_loss)) evals.set(d.step, d.valid_loss);
        if (event.type === "metrics" && Number.isFinite(d.train_loss)) {
          train.set(d.step, d.train_loss);
          total = d.total_steps ?? total;
        }
        if (event.type === "metrics") draw();
        log.append(h("li", {}, `${new Date(1000 * event.created_at).toLocaleTimeString(language)}  ${event.message}`));
        if (log.childElementCount > lines) log.replaceChildren(h("li", {}, t("older")), ...[...log.children].slice(-lines / 2));
        log.scrollTop = log.scrollHeight;
      }
      if (ended.includes((await refresh()).descant.state)) return;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    } catch (error) {
      if (stop.signal.aborted) return;
      renew(wrong, problem(error));
      if (error.status >= 400 && error.status < 500) return;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}
