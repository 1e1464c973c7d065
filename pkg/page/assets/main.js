import { h } from "./dom.js";
import { language, switchLanguage, t } from "./words.js";
import * as jobs from "./jobs.js";
import * as data from "./data.js";
import * as play from "./play.js";
import * as adapters from "./adapters.js";
import * as workers from "./workers.js";

const rooms = { jobs, data, play, adapters, workers };
const themeName = "descant.theme";

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  document.getElementById("theme").textContent = wanted === "dark" ? t("light") : t("dark");
}

function show() {
  const [, room = "jobs", ...rest] = location.hash.split("/");
  const name = room in rooms ? room : "jobs";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.room === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const place = h("div");
  document.getElementById("main").replaceChildren(place);
  document.title = `${t(name)} · descant`;
  rooms[name].show(place, decodeURIComponent(rest.join("/")));
}

document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
const skip = document.getElementById("skip");
skip.textContent = t("skip");
skip.addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
document.getElementById("rooms").append(...Object.keys(rooms).map((name) => h("a", { href: `#/${name}`, "data-room": name }, t(name))));
const languageButton = document.getElementById("language");
languageButton.textContent = t("other");
languageButton.addEventListener("click", switchLanguage);
const dark = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem(themeName) ?? (dark.matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem(themeName, next);
  theme(next);
});
addEventListener("hashchange", () => {
  show();
  // What had the focus is gone: the keyboard goes on where the new room begins.
  document.getElementById("main").focus({ preventScroll: true });
});
// A file that misses its place would take the browser away from the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
show();
