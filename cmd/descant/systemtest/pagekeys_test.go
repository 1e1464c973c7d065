package systemtest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestPageKeys uses the page of a gateway that wants keys: without one, with a wrong one, with one that is not for all, and
// with one that is.
func TestPageKeys(t *testing.T) {
	t.Parallel()
	const whole, part = "key-of-the-operator", "key-of-a-trainer"
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte(whole+"\n"+part+" train\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(rows, []byte(strings.Repeat(`{"instruction":"你是谁？","output":"我是小助手。"}`+"\n", 12)), 0o600); err != nil {
		t.Fatal(err)
	}
	url := startPage(t, "--inference-model", "builtin:tiny", "--inference-max-tokens", "24", "--gateway-api-keys-file", keys)
	tab := openTab(t, url)
	enter := func(key string) {
		t.Helper()
		tab.do("a key is entered", chromedp.WaitVisible("input.key"), chromedp.SendKeys("input.key", key), chromedp.Click(".use-key"))
	}
	says := func(what, want string) {
		t.Helper()
		tab.until(what, `document.querySelector(".problem")?.textContent.includes(`+"`"+want+"`"+`)`)
	}
	says("without a key", "wants an API key")
	tab.do("half of a key", chromedp.SendKeys("input.key", "key-of"))
	lists := `performance.getEntriesByType("resource").filter((r) => r.name.includes("/jobs?")).length`
	tab.do("how often jobs were listed", chromedp.Evaluate("window.listed = "+lists, nil))
	tab.until("the list of jobs is asked for again", lists+" > window.listed + 1")
	if !tab.is(`document.querySelector("input.key").value === "key-of" && document.activeElement.className === "key"`) {
		t.Error("a key that is being typed is lost when the page asks again")
	}
	enter("-nobody-whatever")
	says("a wrong key", "not known here")
	enter(part)
	tab.do("a key for training sees jobs", chromedp.WaitVisible("#jobs .soft"))
	tab.do("its data", chromedp.Navigate(url+"/#/data"), chromedp.WaitVisible(".drop"))
	tab.drop(".drop", rows)
	tab.do("a job is started with it", chromedp.Click(".train-on"), chromedp.WaitVisible("#start"), chromedp.SendKeys("#name", "keyed"),
		chromedp.SetValue("#steps", "3"), chromedp.Click("#start"), chromedp.WaitVisible("#talk"))
	tab.do("and asked", chromedp.Click("#talk"), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", "x"), chromedp.Click("#send"))
	says("it may not ask", "it needs the scope infer")
	tab.do("nor move an alias", chromedp.Navigate(url+"/#/adapters"), chromedp.Click(".promote"))
	says("it may not move an alias", "it needs the scope admin")
	enter(whole)
	tab.do("the operator's key moves it", chromedp.WaitVisible(".promote"), chromedp.Click(".promote"))
	tab.until("it has moved", `document.querySelector('[data-adapter="keyed"]')?.textContent.includes("prod → 1")`)
	tab.do("and asks", chromedp.Navigate(url+"/#/play/keyed@prod"), chromedp.WaitVisible("#prompt"), chromedp.SendKeys("#prompt", "x"), chromedp.Click("#send"))
	tab.until("base and adapter answer", `[...document.querySelectorAll("#answers .answer")].filter((a) => a.textContent.length > 0).length === 2`)
	if !tab.is(`sessionStorage.length === 1 && !JSON.stringify(localStorage).includes("key-of")`) {
		t.Error("the key is kept longer than the tab")
	}
	tab.checkQuiet()
}
