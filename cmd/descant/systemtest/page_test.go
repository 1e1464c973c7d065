package systemtest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// TestPage goes through the web page as a person would, in headless Chromium: a file is dropped on it, a job is started by mouse
// and watched to its end, its adapter answers beside the base, an alias is moved to a second version and back. Nothing may leave
// the page's own address, and the browser may complain of nothing. With DESCANT_SCREENSHOTS pictures are written there.
func TestPage(t *testing.T) {
	t.Parallel()
	url := startPage(t, "--inference-model", "builtin:tiny", "--inference-max-tokens", "24")
	tab := openTab(t, url)
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	var lines strings.Builder
	for i := range 12 {
		fmt.Fprintf(&lines, `{"instruction":"你是谁？%d","output":"我是小助手。"}`+"\n", i)
	}
	if err := os.WriteFile(rows, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.jsonl")
	if err := os.WriteFile(bad, []byte(`{"instruction":"x","output":"y"}`+"\n"+`{"instruction":"x"`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tab.do("a bad file is told of", chromedp.Navigate(url+"/#/data"), chromedp.SetUploadFiles("#file", []string{bad}, chromedp.NodeReady),
		chromedp.WaitVisible(".problem li"))
	if said := tab.text(".problem"); !strings.Contains(said, "line 2") {
		t.Errorf("the page says %q of a file with a broken line 2", said)
	}
	tab.drop(".drop", bad, rows)
	tab.do("a good one is taken, although it is dropped beside a bad one", chromedp.WaitVisible(".uploaded"), chromedp.WaitVisible(".problem li"))
	if said := tab.text(".uploaded"); !strings.Contains(said, "rows.jsonl: 12 rows") {
		t.Errorf("the page says %q of 12 rows that were dropped", said)
	}
	tab.do("its rows are seen", chromedp.Click("#files a"), chromedp.WaitVisible(".tokens .trained"))
	tab.shoot("data-en-light")
	tab.do("a job is started", chromedp.Navigate(url+"/#/data"), chromedp.Click(".train-on"), chromedp.WaitVisible("#start"),
		chromedp.SendKeys("#name", "paged"), chromedp.SetValue("#steps", "12"), chromedp.Click("summary"), chromedp.SetValue("#share", "0.25"), chromedp.Click("#start"))
	tab.do("the curve moves", chromedp.WaitVisible(".chart canvas"))
	tab.until("the curve has the points of all steps", `document.querySelector(".chart")?.dataset.train >= 12`)
	tab.do("the job ends", chromedp.WaitVisible("#talk"))
	tab.until("the evaluations are a curve of their own: of the base, and after 2, 4, … steps", `document.querySelector(".chart").dataset.evals >= 6`)
	tab.until("both curves are drawn in their colours", `(() => {
		const canvas = document.querySelector(".chart canvas"), style = getComputedStyle(document.documentElement);
		const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
		return ["--train-line", "--eval-line"].every((name) => {
			const [r, g, b] = style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/g).map((part) => parseInt(part, 16));
			let points = 0;
			for (let i = 0; i < data.length; i += 4) points += data[i] === r && data[i + 1] === g && data[i + 2] === b;
			return points > 50;
		});
	})()`)
	if said := tab.text("main"); strings.Contains(said, "null") || strings.Contains(said, "[object") || strings.Contains(said, "undefined") {
		t.Errorf("the job's page says %q", said)
	}
	tab.shoot("job-en-light")
	tab.do("the adapter is asked", chromedp.Click("#talk"), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", "你是谁？"), chromedp.Click("#send"))
	tab.until("base and adapter answer", `[...document.querySelectorAll("#answers .answer")].filter((a) => a.textContent.length > 0).length === 2 &&
		!document.querySelector("#send").disabled`)
	tab.shoot("playground-en-light")
	tab.do("an alias is moved", chromedp.Navigate(url+"/#/adapters"), chromedp.WaitVisible(".promote"), chromedp.Click(".promote"))
	tab.until("it has moved", `document.querySelector('[data-adapter="paged"]')?.textContent.includes("prod → 1")`)
	tab.do("it is moved back", chromedp.Click(".rollback"))
	tab.do("which says why not: it has stood for nothing else", chromedp.WaitVisible(`[data-adapter="paged"] .problem`))
	if said := tab.text(`[data-adapter="paged"] .problem`); !strings.Contains(said, "has stood for nothing else before") {
		t.Errorf("a rollback with nothing before it says %q", said)
	}
	tab.do("another version", chromedp.Navigate(url+"/#/jobs/new"), chromedp.WaitVisible("#start"), chromedp.SendKeys("#name", "paged"),
		chromedp.SetValue("#steps", "3"), chromedp.Click("#start"), chromedp.WaitVisible("#talk"))
	tab.do("takes the alias", chromedp.Navigate(url+"/#/adapters"), chromedp.WaitVisible(".promote"), chromedp.Click(".promote"))
	tab.until("it has moved", `document.querySelector('[data-adapter="paged"]')?.textContent.includes("prod → 2")`)
	tab.do("and gives it back", chromedp.Click(".rollback"))
	tab.until("it has moved back", `document.querySelector('[data-adapter="paged"]')?.textContent.includes("prod → 1")`)
	tab.do("it is pinned", chromedp.Click(`[data-action="pin paged@prod"]`), chromedp.WaitVisible(`[data-action="pin paged@prod"][aria-pressed="true"]`))
	tab.do("the alias is looked at", chromedp.Click(`//a[contains(., "prod → 1")]`), chromedp.WaitVisible("#version"))
	if said := tab.text("#version"); said != "paged@1" {
		t.Errorf("behind the alias stands %q after the rollback", said)
	}
	tab.do("on the worker it is pinned", chromedp.WaitVisible(".state.pinned"))
	tab.do("and asked", chromedp.Click(`//a[text()="Talk to it"]`), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", "你是谁？"), chromedp.Click("#send"))
	tab.until("version 1 answers", `document.querySelector('[data-model="paged@prod"]')?.parentElement.textContent.includes("paged@1")`)
	tab.do("the pin is taken away", chromedp.Navigate(url+"/#/adapters"), chromedp.Click(`[data-action="pin paged@prod"]`),
		chromedp.WaitVisible(`[data-action="pin paged@prod"][aria-pressed="false"]`))
	tab.do("its lineage", chromedp.Click(`[data-adapter="paged"] td a`), chromedp.WaitVisible("#report"))
	tab.do("workers", chromedp.Navigate(url+"/#/workers"), chromedp.WaitVisible("#workers .card"))

	// The same page in Chinese, dark, on a phone.
	tab.do("another language", chromedp.Click("#language"), chromedp.WaitVisible("#workers .card"))
	if said := tab.text("nav"); !strings.Contains(said, "工作节点") {
		t.Errorf("in Chinese the rooms are %q", said)
	}
	if !tab.is(`document.documentElement.dataset.theme === "dark"`) {
		tab.do("dark", chromedp.Click("#theme"))
	}
	tab.do("a phone", chromedp.EmulateViewport(390, 844))
	for _, room := range []string{"jobs", "jobs/new", "data", "play", "adapters", "workers"} {
		tab.do(room, chromedp.Navigate(url+"/#/"+room), chromedp.WaitVisible("h1"))
		tab.until(room+" fits a phone", `document.documentElement.scrollWidth <= 390`)
		tab.shoot("phone-" + strings.ReplaceAll(room, "/", "-") + "-zh-dark")
	}
	// By keyboard alone: the second stop is behind the link that skips the head.
	tab.do("the head", chromedp.Navigate(url+"/#/jobs"), chromedp.Reload(), chromedp.WaitVisible("h1"), chromedp.KeyEvent("\t\t\t"))
	if !tab.is(`document.activeElement.dataset.room !== undefined && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
		t.Error("the third press of the tabulator does not reach a room, with a frame that is seen")
	}
	var missing []string
	tab.do("words", chromedp.Evaluate(`import("/assets/words.js").then(({ words }) => { const [a, b] = [Object.keys(words.en), Object.keys(words.zh)];
		return [...a.filter((k) => !b.includes(k)), ...b.filter((k) => !a.includes(k))]; })`, &missing,
		func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	if len(missing) > 0 {
		t.Errorf("words in one language only: %v", missing)
	}
	tab.checkQuiet()
}
