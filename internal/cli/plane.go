package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/wire"
)

// A plane is the operator's plane of a running daemon, as its client sees it.
type plane struct {
	base  string // URL without a trailing slash
	token pullchain.Secret
	http  *http.Client // without a Timeout: what takes long says so by context
}

const (
	// planeTimeout is how long a daemon may take to say how it is. It only has to
	// copy values.
	planeTimeout = 5 * time.Second

	// maxSnapshot is how long a snapshot may be; a hundred lanes take 1 MiB.
	maxSnapshot = 64 << 20
)

// plane returns the operator's plane that the command line means: --addr, else
// what the configuration says. The configuration's token goes to no other
// address. A configuration that cannot be read is no reason to give up: the
// daemon may still run on an older one.
func (a *app) plane() (*plane, error) {
	p := &plane{base: a.flags.Addr, http: &http.Client{
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if p.base == "" {
		p.base = admin.DefaultListen
		cfg, err := a.loadConfig()
		if err != nil {
			a.complain(err)
			fmt.Fprintln(a.Stderr, a.book.Say("status.default", "address", p.base))
		} else {
			p.base, p.token = reachable(cfg.Admin.Listen), cfg.Admin.Token
		}
	}
	if !strings.Contains(p.base, "://") {
		p.base = "http://" + p.base
	}
	p.base = strings.TrimRight(p.base, "/")
	if a.flags.TokenFile != "" {
		token, err := os.ReadFile(a.flags.TokenFile)
		if err != nil {
			return nil, err
		}
		p.token = pullchain.Secret(strings.TrimSpace(string(token)))
	}
	return p, nil
}

// errNeedsToken and errNotOurs are answers that no daemon for us gives.
var (
	errNeedsToken = errors.New("the daemon wants its token")
	errNotOurs    = errors.New("what answers is no pullchain, or another version of it")
)

// A rebuff is an error of the daemon itself (RFC 9457), which programs tell by its
// code.
type rebuff struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (r *rebuff) Error() string { return wire.Clip(r.Detail) }

// snapshot asks for the daemon's snapshot.
func (p *plane) snapshot(ctx context.Context) (s admin.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, planeTimeout)
	defer cancel()
	if err = p.get(ctx, "/api/v1/snapshot", &s); err != nil {
		return s, err
	}
	if s.Schema != admin.Schema {
		return s, fmt.Errorf("%w (schema %d)", errNotOurs, s.Schema)
	}
	return s, nil
}

// get decodes the JSON document at path into out.
func (p *plane) get(ctx context.Context, path string, out any) error {
	return p.call(ctx, http.MethodGet, path, nil, out)
}

// post sends in as JSON and decodes the answer into out.
func (p *plane) post(ctx context.Context, path string, in, out any) error {
	return p.call(ctx, http.MethodPost, path, in, out)
}

func (p *plane) call(ctx context.Context, method, path string, in, out any) error {
	body, err := p.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxSnapshot)).Decode(out); err != nil {
		return cmp.Or(ctx.Err(), fmt.Errorf("%w (%v)", errNotOurs, err))
	}
	return nil
}

// open sends a request and returns the body of its answer. An answer that is no
// success is an error, a *rebuff if the daemon says more.
func (p *plane) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var content bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&content).Encode(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, &content)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token.Reveal())
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, errNeedsToken
	}
	said := rebuff{Status: resp.StatusCode}
	if resp.Header.Get("Content-Type") != "application/problem+json" ||
		json.NewDecoder(io.LimitReader(resp.Body, maxSnapshot)).Decode(&said) != nil || said.Code == "" {
		return nil, fmt.Errorf("%w (HTTP %d)", errNotOurs, resp.StatusCode)
	}
	return nil, &said
}

// unreachable says what to do about a snapshot that could not be had.
func (a *app) unreachable(p *plane, err error) error {
	key := "status.unreachable"
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, errNeedsToken):
		key = "status.token"
	case errors.Is(err, errNotOurs):
		key = "status.not_ours"
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // the message has the address
	}
	return &exitError{exitUnreachable, errors.New(a.book.Say(key, "address", p.base, "error", err))}
}
