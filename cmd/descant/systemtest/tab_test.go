package systemtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/inspector"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"descant/cmd/descant/systemtest"
	"descant/pkg/embedded/servertest"
	"descant/pkg/page/pagetest"
)

// startPage starts a system and returns the address of its page.
func startPage(t *testing.T, flags ...string) string {
	t.Helper()
	address, health := servertest.FreeAddress(t), servertest.FreeAddress(t)
	systemtest.Start(t, systemtest.Command{Name: "descant up", Args: append([]string{"up", "--dir", t.TempDir(), "--nats-addr", "127.0.0.1:0", "--s3-addr", "127.0.0.1:0",
		"--http-addr", health, "--gateway-addr", address}, flags...),
		Env: []string{"DESCANT_DEVICE=go", "DESCANT_HUB_OFFLINE=true"}, Ready: "http://" + health + "/readyz"})
	return "http://" + address
}

// tab is a page in headless Chromium.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string
	log string // the file of what the browser writes

	mu                sync.Mutex
	asked, complaints []string
}

// openTab opens the page of an address.
func openTab(t *testing.T, url string) *tab {
	t.Helper()
	path := pagetest.Chromium()
	if path == "" {
		t.Fatal("the page is tested in Chromium, which is not on the PATH: run `make setup-tests`")
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "chromium.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1200, 900),
		chromedp.Flag("lang", "en"), chromedp.UserDataDir(t.TempDir()), chromedp.CombinedOutput(log))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	x := &tab{t: t, ctx: ctx, url: url, log: log.Name()}
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
		case *inspector.EventTargetCrashed:
			x.complaints = append(x.complaints, "the tab crashed")
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
	for {
		err := chromedp.Run(ctx, chromedp.Poll("!!("+expression+")", nil))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			x.fail(what, err)
		}
		// The page that was asked gave way to another one, as it does when it is loaded anew.
	}
}

// fail ends the test with what the page shows, and what the browser has written, which may have ended.
func (x *tab) fail(what string, err error) {
	x.t.Helper()
	var shown string
	ctx, cancel := context.WithTimeout(x.ctx, 10*time.Second) // a tab that has crashed never answers
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`location.href + "\n" + document.body.innerText`, &shown)) // the browser may be gone
	x.mu.Lock()
	defer x.mu.Unlock()
	complaints, _ := json.Marshal(x.complaints)
	written, _ := os.ReadFile(x.log)
	x.t.Fatalf("%s: %v\nthe browser: %s\nthe page: %s\nChromium wrote:\n%s", what, err, complaints, shown, written)
}

// checkQuiet tells of what the page asked elsewhere, and of what the browser complained.
func (x *tab) checkQuiet() {
	x.t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, address := range x.asked {
		if !strings.HasPrefix(address, x.url+"/") && !strings.HasPrefix(address, "data:") && !strings.HasPrefix(address, "blob:"+x.url+"/") {
			x.t.Errorf("the page asked %s", address)
		}
	}
	for _, line := range x.complaints {
		x.t.Errorf("the browser: %s", line)
	}
}

// drop drops files of the machine on what a selector finds, as a person who drags them does.
func (x *tab) drop(selector string, paths ...string) {
	x.t.Helper()
	var at struct{ X, Y float64 }
	x.do("the place of "+selector, chromedp.ScrollIntoView(selector), chromedp.Evaluate(
		`(({ x, y, width, height }) => ({ X: x + width / 2, Y: y + height / 2 }))(document.querySelector("`+selector+`").getBoundingClientRect())`, &at))
	data := &input.DragData{Items: []*input.DragDataItem{}, Files: paths, DragOperationsMask: 1}
	for _, kind := range []input.DispatchDragEventType{input.DragEnter, input.DragOver, input.Drop} {
		x.do(string(kind), input.DispatchDragEvent(kind, at.X, at.Y, data))
	}
}

// tabTo presses the tabulator until what a selector finds has the focus.
func (x *tab) tabTo(selector string) {
	x.t.Helper()
	for range 60 {
		if x.is(`document.activeElement.matches("` + selector + `")`) {
			return
		}
		x.do("tabulator", chromedp.KeyEvent("\t"))
	}
	x.fail("the tabulator reaches "+selector, errors.New("not within 60 presses"))
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
