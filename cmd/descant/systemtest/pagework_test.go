package systemtest_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"descant/cmd/descant/systemtest"
)

// startLong starts a system whose base never comes to an end of what it says, and returns the address of its page.
func startLong(t *testing.T) (url, base string) {
	t.Helper()
	base = filepath.Join(t.TempDir(), "base")
	systemtest.TinyBase(t, base)
	return startPage(t, "--hub-local-dirs", base, "--inference-model", base, "--inference-max-tokens", "900"), base
}

// TestPageControlsWork has a job wait, go on and end, and stops an answer, with the mouse.
func TestPageControlsWork(t *testing.T) {
	t.Parallel()
	url, base := startLong(t)
	tab := openTab(t, url)
	tab.do("a long job", chromedp.Navigate(url+"/#/jobs/new"), chromedp.WaitVisible("#start"), chromedp.SetValue("#base", base),
		chromedp.SetValue("#steps", "100000"), chromedp.Click("#start"))
	tab.do("it trains", chromedp.WaitVisible(".state.training"), chromedp.WaitVisible(".chart canvas"))
	tab.do("it is paused", chromedp.Click(`[data-action="pause"]`), chromedp.WaitVisible(".state.paused"), chromedp.WaitVisible(`[data-action="resume"]`))
	tab.until("and says so to readers of the screen", `document.querySelector("#said").textContent.endsWith("paused")`)
	tab.do("it goes on", chromedp.Click(`[data-action="resume"]`), chromedp.WaitVisible(".state.training"))
	tab.until("from where it was", `document.querySelectorAll(".log li").length > 0 && [...document.querySelectorAll(".log li")].some((l) => l.textContent.includes("resumed"))`)
	tab.do("it is cancelled", chromedp.Click(`[data-action="cancel"]`), chromedp.WaitVisible(".state.cancelled"))
	if tab.is(`document.querySelector("[data-action]")`) {
		t.Error("a job that was cancelled can still be controlled")
	}

	tab.do("a long answer", chromedp.Navigate(url+"/#/play"), chromedp.WaitVisible("#prompt"), chromedp.Click("summary"), chromedp.SetValue("#most", "900"),
		chromedp.SendKeys("#prompt", "x"), chromedp.Click("#send"))
	tab.until("it begins", `document.querySelector("#answers .answer")?.textContent.length > 0`)
	tab.do("it is stopped", chromedp.Click("#stop"), chromedp.WaitEnabled("#send"))
	tab.until("which the page says", `document.querySelector("#answers").textContent.includes("stopped") && document.querySelector("#stop").disabled`)
	if tab.is(`document.querySelector("#answers .problem")`) {
		t.Errorf("an answer that was stopped is a problem: %q", tab.text("#answers .problem"))
	}
	tab.do("the workers", chromedp.Navigate(url+"/#/workers"), chromedp.WaitVisible("#workers .card"))
	tab.until("have all of their rows again", `/(\d+) of \1 rows free/.test(document.querySelector("#workers").textContent)`)
	tab.checkQuiet()
}

// TestPageByKeyboard starts a job and talks to its adapter without a mouse.
func TestPageByKeyboard(t *testing.T) {
	t.Parallel()
	url := startPage(t, "--inference-model", "builtin:tiny", "--inference-max-tokens", "24")
	tab := openTab(t, url)
	press := func(selector, keys string) {
		t.Helper()
		tab.tabTo(selector)
		if !tab.is(`getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
			t.Errorf("%s has no frame that is seen when it has the focus", selector)
		}
		tab.do(selector, chromedp.KeyEvent(keys))
	}
	press("#new-job", kb.Enter)
	tab.do("the form", chromedp.WaitVisible("#start"))
	press("#name", "typed")
	press("#steps", "3") // what is there is selected
	press("summary", " ")
	press("#share", "0.05")
	press("#start", kb.Enter)
	tab.do("the job ends", chromedp.WaitVisible("#talk"))
	press("#talk", kb.Enter)
	tab.do("the playground", chromedp.WaitVisible("#prompt"))
	press("#prompt", "hello")
	press("#send", " ")
	tab.until("base and adapter answer", `[...document.querySelectorAll("#answers .answer")].filter((a) => a.textContent.length > 0).length === 2 &&
		!document.querySelector("#send").disabled`)
	press("#language", " ")
	tab.until("the page is in Chinese", `document.documentElement.lang === "zh-CN"`)
	tab.checkQuiet()
}
