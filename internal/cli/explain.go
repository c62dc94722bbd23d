package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/wire"
)

// explainCmd is `explain`.
type explainCmd struct {
	Image   string `arg:"" help:"${help_explain_image}"`
	Try     bool   `help:"${help_explain_try}"`
	Digests bool   `help:"${help_explain_digests}"`
	Mirror  string `placeholder:"URL" help:"${help_explain_mirror}"`
}

// tryTime is how long --try waits for an answer, and digestsTime what --digests takes.
const (
	tryTime     = time.Minute
	digestsTime = 15 * time.Second
)

// A tryOut is what a real request for the image came to.
type tryOut struct {
	URL    string `json:"url"`
	Status int    `json:"status"` // 0 if there was no answer
	Digest string `json:"digest"`
	TookMS int64  `json:"took_ms"`
	Cache  string `json:"cache_status"`
	Proxy  string `json:"proxy_status"`
	Error  string `json:"error"`
}

// An explained is the answer of `explain -o json`.
type explained struct {
	admin.Explanation
	Trial *tryOut `json:"trial"` // null without --try
}

// Run tells what would become of the pull of an image.
func (c *explainCmd) Run(ctx context.Context, a *app) error {
	p, err := a.adminClient()
	if err != nil {
		return err
	}
	e, err := c.ask(ctx, p)
	said, ok := errors.AsType[*apiError](err)
	switch {
	case ok && said.Code == "bad_request":
		return &exitError{exitUsage, said}
	case ok:
		return said
	case err != nil:
		return a.unreachable(p, err)
	}
	if c.Try && e.Served {
		if e.Trial, err = c.try(ctx, p, e); err != nil {
			return a.unreachable(p, err)
		}
	}
	if a.flags.Output == "json" {
		err = a.json(e)
	} else {
		writeExplained(a, e)
	}
	switch {
	case err != nil:
		return err
	case e.Agree != nil && !*e.Agree:
		return &exitError{code: exitWrong}
	case !e.Served, e.Trial != nil && e.Trial.Status != http.StatusOK:
		return &exitError{code: exitFailed}
	}
	return nil
}

func (c *explainCmd) ask(ctx context.Context, p *adminClient) (e explained, err error) {
	patience := adminTimeout
	if c.Digests {
		patience = digestsTime
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	q := url.Values{"image": {c.Image}, "digests": {strconv.FormatBool(c.Digests)}}
	err = p.get(ctx, "/api/v1/explain?"+q.Encode(), &e)
	return e, err
}

// try asks the mirror for the image's manifest, as a container runtime would first.
func (c *explainCmd) try(ctx context.Context, p *adminClient, e explained) (*tryOut, error) {
	base := strings.TrimRight(c.Mirror, "/")
	if base == "" {
		s, err := p.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		base = "http://" + reachable(s.Listen)
		if s.ListenTLS {
			base = "https://" + reachable(s.Listen)
		}
	}
	t := &tryOut{URL: base}
	for _, f := range e.Forms {
		if f.Form == "path" {
			t.URL = base + f.Path
		}
	}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, t.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header["Accept"] = wire.DefaultAccept
	req.Header.Set("User-Agent", "pullchain-explain/"+thisBuild().Version)
	began := time.Now()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	t.TookMS = time.Since(began).Milliseconds()
	if err != nil {
		t.Error = err.Error()
		return t, nil
	}
	defer resp.Body.Close()
	t.Status, t.Digest = resp.StatusCode, resp.Header.Get("Docker-Content-Digest")
	t.Cache, t.Proxy = resp.Header.Get("Cache-Status"), resp.Header.Get("Proxy-Status")
	return t, nil
}

// writeExplained writes an explanation for people.
func writeExplained(a *app, e explained) {
	line := func(text string) { fmt.Fprintln(a.Stdout, terminal.Printable(text)) }
	line(e.Name)
	if !e.Served {
		line("  " + a.messages.Text("explain.not_served", "registry", e.Registry))
		return
	}
	if e.Alias != "" {
		line("  " + a.messages.Text("explain.alias", "alias", e.Alias, "registry", e.Registry))
	}
	for _, c := range e.Candidates {
		line("  " + candidateText(a, c))
	}
	if h := e.Cache; h != nil {
		line("  " + heldText(a, e))
	}
	for _, d := range e.Digests {
		what := string(d.Digest)
		if what == "" {
			what = strings.TrimSpace(string(d.Code) + " " + d.Error)
		}
		line(fmt.Sprintf("  %s  %s  %d ms", d.Upstream, what, d.MS))
	}
	if e.Agree != nil && !*e.Agree {
		line("  " + a.messages.Text("explain.differ"))
	}
	for _, f := range e.Forms {
		line("  " + a.messages.Text("explain.form", "pull", f.Pull, "path", f.Path))
	}
	if t := e.Trial; t != nil {
		line("  " + a.messages.Text("explain.trial", "status", t.Status, "ms", t.TookMS, "digest", t.Digest))
		for _, more := range withoutEmpty([]string{t.Cache, t.Proxy, t.Error}) {
			line("    " + more)
		}
	}
}

// candidateText is an upstream as this image would meet it.
func candidateText(a *app, c admin.Candidate) string {
	state := a.messages.Text("state." + c.State)
	if c.Turn > 0 {
		parts := []string{fmt.Sprintf("%d  %s", c.Turn, c.Upstream), state, c.Via}
		if c.Code == pullchain.CodeQuotaLow {
			parts = append(parts, a.messages.Text("explain.quota_low"))
		}
		return strings.Join(withoutEmpty(parts), "  ")
	}
	gate := c.Gate
	if key := "explain.gate." + c.Gate; a.messages.Has(key) {
		gate = a.messages.Text(key)
	}
	parts := []string{"-  " + c.Upstream, state, c.Via, gate, codeText(a, c.Code)}
	if c.Until != nil {
		parts = append(parts, a.messages.Text("events.until", "at", c.Until.Local().Format(time.TimeOnly)))
	}
	return strings.Join(withoutEmpty(parts), "  ")
}

// heldText says what the cache has of the image.
func heldText(a *app, e explained) string {
	h := e.Cache
	switch {
	case h.Digest == "" || !h.Manifest && h.Objects == 0 && h.Confirmed == nil:
		return a.messages.Text("explain.nothing_here")
	case h.Fresh:
		return a.messages.Text("explain.fresh", "digest", h.Digest, "objects", h.Objects, "amount", admin.Amount(h.Bytes))
	}
	return a.messages.Text("explain.old", "digest", h.Digest, "objects", h.Objects, "amount", admin.Amount(h.Bytes))
}
