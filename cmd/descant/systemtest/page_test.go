package systemtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"descant/cmd/descant/systemtest"
)

// TestPage goes through the web page as a person would, in headless Chromium: a file goes up, a job is started by mouse and
// watched to its end, its adapter answers beside the base, its alias is moved. Nothing may leave the page's
// own address, and the browser may complain of nothing. With DESCANT_SCREENSHOTS pictures are written there.
func TestPage(t *testing.T) {
	t.Parallel()
	url := startPage(t)
	tab := openTab(t, url)
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(rows, []byte(strings.Repeat(`{"instruction":"你是谁？","output":"我是小助手。"}`+"\n", 12)), 0o600); err != nil {
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
	tab.do("a good one is taken", chromedp.SetUploadFiles("#file", []string{rows}, chromedp.NodeReady), chromedp.WaitVisible("#uploaded"))
	tab.do("its rows are seen", chromedp.Click("#files a"), chromedp.WaitVisible(".tokens .trained"))
	tab.shoot("data-en-light")
	tab.do("a job is started", chromedp.Navigate(url+"/#/data"), chromedp.Click(".train-on"), chromedp.WaitVisible("#start"),
		chromedp.SendKeys("#name", "paged"), chromedp.SetValue("#steps", "12"), chromedp.Click("summary"), chromedp.Click("#start"))
	tab.do("the curve moves", chromedp.WaitVisible(".chart .train"))
	tab.until("the curve has the points of all steps", `document.querySelector(".chart .train")?.getAttribute("points").trim().split(" ").length >= 12`)
	tab.do("the job ends", chromedp.WaitVisible("#talk"))
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
	tab.mu.Lock()
	defer tab.mu.Unlock()
	for _, address := range tab.asked {
		if !strings.HasPrefix(address, url+"/") && !strings.HasPrefix(address, "data:") && !strings.HasPrefix(address, "blob:"+url+"/") {
			t.Errorf("the page asked %s", address)
		}
	}
	for _, line := range tab.complaints {
		t.Errorf("the browser: %s", line)
	}
}

// startPage starts a system and gives the address of its page.
func startPage(t *testing.T) string {
	t.Helper()
	address, health := systemtest.FreeAddress(t), systemtest.FreeAddress(t)
	systemtest.Start(t, systemtest.Command{Name: "descant up", Args: []string{"up", "--dir", t.TempDir(), "--nats-addr", "127.0.0.1:0", "--s3-addr", "127.0.0.1:0",
		"--http-addr", health, "--gateway-addr", address, "--inference-model", "builtin:tiny", "--inference-max-tokens", "24"},
		Env: []string{"DESCANT_DEVICE=go", "DESCANT_HUB_OFFLINE=true"}, Ready: "http://" + health + "/readyz"})
	return "http://" + address
}

// tab is a page in headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu                sync.Mutex
	asked, complaints []string
}

func openTab(t *testing.T, url string) *tab {
	t.Helper()
	var path string
	for _, name := range []string{"google-chrome", "chromium-browser", "chromium"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
		}
	}
	if path == "" {
		t.Fatal("the page is tested in Chromium, which is not on the PATH: run `make setup-tests`")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1200, 900),
		chromedp.Flag("lang", "en"), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	x := &tab{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		x.mu.Lock()
		defer x.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			x.asked = append(x.asked, e.Request.URL)
		case *runtime.EventExceptionThrown:
			x.complaints = append(x.complaints, e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				x.complaints = append(x.complaints, fmt.Sprint(e.Args))
			}
		case *cdplog.EventEntryAdded:
			// That the server refused a request is what the page tells of itself.
			if e.Entry.Level == cdplog.LevelError && e.Entry.Source != cdplog.SourceNetwork {
				x.complaints = append(x.complaints, e.Entry.Text)
			}
		}
	})
	// The browser lives as long as the context of the first run.
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	x.do("the browser", network.Enable(), cdplog.Enable(), chromedp.Navigate(url+"/"), chromedp.WaitVisible("h1"))
	return x
}

// do runs actions and ends the test where they do not come to an end.
func (x *tab) do(what string, actions ...chromedp.Action) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.ctx, systemtest.Patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		x.fail(what, err)
	}
}

// until waits for an expression to become true.
func (x *tab) until(what, expression string) {
	x.t.Helper()
	ctx, cancel := context.WithTimeout(x.ctx, systemtest.Patience)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Poll("!!("+expression+")", nil)); err != nil {
		x.fail(what, err)
	}
}

// fail ends the test with what the page shows.
func (x *tab) fail(what string, err error) {
	x.t.Helper()
	var shown string
	_ = chromedp.Run(x.ctx, chromedp.Evaluate(`location.href + "\n" + document.body.innerText`, &shown)) // the browser may be gone
	x.mu.Lock()
	defer x.mu.Unlock()
	complaints, _ := json.Marshal(x.complaints)
	x.t.Fatalf("%s: %v\nthe browser: %s\nthe page: %s", what, err, complaints, shown)
}

func (x *tab) is(expression string) (yes bool) {
	x.t.Helper()
	x.do(expression, chromedp.Evaluate("!!("+expression+")", &yes))
	return yes
}

func (x *tab) text(selector string) (text string) {
	x.t.Helper()
	x.do(selector, chromedp.Text(selector, &text))
	return text
}

// shoot writes a picture, if they are wanted.
func (x *tab) shoot(name string) {
	x.t.Helper()
	dir := os.Getenv("DESCANT_SCREENSHOTS")
	if dir == "" {
		return
	}
	var picture []byte
	x.do("picture", chromedp.FullScreenshot(&picture, 100))
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil {
		x.t.Error(err)
	}
}
