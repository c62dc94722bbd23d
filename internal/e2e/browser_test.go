//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A browser is a running Chromium.
type browser struct {
	ctx context.Context
}

// startBrowser starts Debian's Chromium without a screen. It ends with the test.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(systemProgram(t, "chromium")),
		chromedp.NoSandbox, // the tests run as root
		chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-dev-shm-usage", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // which waits until it has ended
		stop()
	})
	if err := chromedp.Run(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return &browser{ctx}
}

// A tab is one page of the browser, and what it complained of.
type tab struct {
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// tabSetup is how a tab looks at pages.
type tabSetup struct {
	width, height int64
	noScript      bool
	dark          bool
}

// open opens a tab that may ask home and nothing else.
func (b *browser) open(t *testing.T, home string, setup tabSetup) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx)
	ctx, cancel := context.WithTimeout(ctx, patience)
	t.Cleanup(func() {
		cancel()
		closeTab()
	})
	p := &tab{ctx: ctx}
	chromedp.ListenTarget(ctx, func(event any) { p.hear(home, event) })
	if setup.width == 0 {
		setup.width, setup.height = 1280, 900
	}
	scheme := "light"
	if setup.dark {
		scheme = "dark"
	}
	p.run(t, page.BringToFront(), // or it is hidden, and a page that is closes its stream
		network.Enable(), log.Enable(), runtime.Enable(),
		emulation.SetDeviceMetricsOverride(setup.width, setup.height, 1, setup.width < 600),
		emulation.SetScriptExecutionDisabled(setup.noScript),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
	return p
}

// hear notes what a page must not do: fail, break its own policy, or ask another
// place.
func (p *tab) hear(home string, event any) {
	complaint := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError && !strings.Contains(e.Entry.Text, "net::ERR_") { // of a connection that the test cuts
			complaint = e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		complaint = e.ExceptionDetails.Error()
	case *network.EventRequestWillBeSent:
		at := e.Request.URL
		if !strings.HasPrefix(at, home) && !strings.HasPrefix(at, "data:") && !strings.HasPrefix(at, "chrome") {
			complaint = "a request to " + at
		}
	}
	if complaint == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.complaints = append(p.complaints, complaint)
}

// quiet fails the test if there were complaints.
func (p *tab) quiet(t *testing.T, what string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.complaints) > 0 {
		t.Errorf("%s: the browser complains: %s", what, strings.Join(p.complaints, "\n"))
	}
	p.complaints = nil
}

func (p *tab) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// evaluate returns the value of an expression of the page's scripts.
func evaluate[T any](t *testing.T, p *tab, expression string) (value T) {
	t.Helper()
	p.run(t, chromedp.Evaluate(expression, &value, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	return value
}

// waitFor waits until an expression is true in the page, or in the one that the page has
// gone to meanwhile, as to the answer to a form.
func (p *tab) waitFor(t *testing.T, what, expression string) {
	t.Helper()
	var err error
	for ok := false; !ok; {
		if p.ctx.Err() != nil {
			t.Fatalf("%s: %v, %v", what, p.ctx.Err(), err)
		}
		if err = chromedp.Run(p.ctx, chromedp.Evaluate(expression, &ok)); err != nil || !ok {
			_ = chromedp.Run(p.ctx, chromedp.Sleep(20*time.Millisecond))
		}
	}
}

// shot keeps a picture of the page for people, if $PULLCHAIN_SHOTS names a directory.
func (p *tab) shot(t *testing.T, name string) {
	t.Helper()
	dir := os.Getenv("PULLCHAIN_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	p.run(t, chromedp.FullScreenshot(&png, 100))
	writeFile(t, filepath.Join(dir, name+".png"), string(png))
}

// axeSource is the accessibility checker (axe-core), which .ci/install takes from npm.
var axeSource = filepath.Join("testdata", "browser", "node_modules", "axe-core", "axe.min.js")

// accessible fails the test for every violation that axe finds of WCAG 2.2 A and AA, and of
// good practice.
func (p *tab) accessible(t *testing.T, what string) {
	t.Helper()
	source, err := os.ReadFile(axeSource)
	if err != nil {
		t.Fatalf("%v: run `bash .ci/install`", err)
	}
	const check = `axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v =>
		({id: v.id, help: v.help, nodes: v.nodes.map(n => n.html.slice(0, 160) + " :: " + n.failureSummary)}))))`
	var found string
	p.run(t, chromedp.Evaluate(string(source)+";0", nil), chromedp.Evaluate(check, &found,
		func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
	var violations []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Errorf("%s: %s: %s\n%s", what, v.ID, v.Help, strings.Join(v.Nodes, "\n"))
	}
}

// A cutter is a way to a server that can be cut.
type cutter struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// startCutter listens on loopback before the server of a URL. It ends with the test.
func startCutter(t *testing.T, server string) *cutter {
	t.Helper()
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, target: at.Host, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { c.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		c.set(true)
		serving.Wait()
	})
	return c
}

func (c *cutter) url() string { return "http://" + c.listener.Addr().String() }

// set cuts every connection and lets none through, or lets them through again.
func (c *cutter) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for conn := range c.conns {
		if cut {
			conn.Close()
		}
	}
}

// track takes conn among those that are cut, unless they all are at the moment.
func (c *cutter) track(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		c.conns[conn] = true
	}
	return !c.cut
}

func (c *cutter) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	if !c.track(client) || !c.track(server) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
}

// pipe copies until one of the two ends, and then ends the other.
func pipe(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// query is a path with its query.
func query(path string, pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return fmt.Sprintf("%s?%s", path, values.Encode())
}
