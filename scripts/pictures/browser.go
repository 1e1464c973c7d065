package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"descant/pkg/page/pagetest"
)

const (
	patience = 5 * time.Minute
	limit    = 150 << 10 // bytes of a picture
	scale    = 1.5       // pixels of a picture to one of the page
)

// browser is a tab of headless Chromium. After the first error, which stays in err, it does nothing more.
type browser struct {
	ctx   context.Context
	url   string
	out   string
	err   error
	close func()
}

// open starts Chromium at the page of an address.
func open(ctx context.Context, data, url, out string) (*browser, error) {
	path := pagetest.Chromium()
	if path == "" {
		return nil, errors.New("there is no Chromium on the PATH: run `make setup-tests`")
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	ctx, stop := chromedp.NewExecAllocator(ctx, append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("lang", "en"), chromedp.UserDataDir(filepath.Join(data, "chromium")))...)
	ctx, end := chromedp.NewContext(ctx)
	b := &browser{ctx: ctx, url: url, out: out, close: func() { end(); stop() }}
	if b.err = chromedp.Run(ctx); b.err == nil { // the browser lives as long as the context of the first run
		b.size(1000, 680)
	}
	if b.err != nil {
		b.close()
		return nil, fmt.Errorf("start Chromium: %w", b.err)
	}
	return b, nil
}

// do runs actions; what says in an error what they were for.
func (b *browser) do(what string, actions ...chromedp.Action) {
	if b.err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.err = fmt.Errorf("%s: %w", what, err)
	}
}

// until waits for an expression to become true.
func (b *browser) until(what, expression string) {
	b.do(what, chromedp.Poll("!!("+expression+")", nil, chromedp.WithPollingTimeout(patience)))
}

// size is that of the window.
func (b *browser) size(width, height int64) {
	b.do("a size", emulation.SetDeviceMetricsOverride(width, height, scale, false))
}

// show goes to a room of the page.
func (b *browser) show(room string) {
	b.do(room, chromedp.Navigate(b.url+"/#/"+room), chromedp.WaitVisible("h1"))
}

// shoot writes what the window shows as a picture.
func (b *browser) shoot(name string) {
	var shot []byte
	b.do("the picture "+name, chromedp.CaptureScreenshot(&shot))
	if b.err != nil {
		return
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		b.err = err
		return
	}
	var text bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if b.err = encoder.Encode(&text, fewColours(picture)); b.err != nil {
		return
	}
	if text.Len() > limit {
		b.err = fmt.Errorf("the picture %s has %d bytes, more than %d", name, text.Len(), limit)
		return
	}
	path := filepath.Join(b.out, name+".png")
	fmt.Printf("%s  %d bytes\n", path, text.Len())
	b.err = os.WriteFile(path, text.Bytes(), 0o644)
}
