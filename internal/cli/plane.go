package cli

import (
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
)

// A plane is the operator's plane of a running daemon, as its client sees it.
type plane struct {
	base  string // URL without a trailing slash
	token pullchain.Secret
	http  *http.Client
}

const (
	// planeTimeout is how long a daemon may take to answer. It only has to copy
	// values.
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
		Timeout:       planeTimeout,
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

// snapshot asks for the daemon's snapshot.
func (p *plane) snapshot(ctx context.Context) (admin.Snapshot, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"/api/v1/snapshot", nil)
	if err != nil {
		return admin.Snapshot{}, err
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token.Reveal())
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return admin.Snapshot{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return admin.Snapshot{}, errNeedsToken
	default:
		return admin.Snapshot{}, fmt.Errorf("%w (HTTP %d)", errNotOurs, resp.StatusCode)
	}
	var s admin.Snapshot
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSnapshot)).Decode(&s); err != nil {
		return admin.Snapshot{}, fmt.Errorf("%w (%v)", errNotOurs, err)
	}
	if s.Schema != admin.Schema {
		return admin.Snapshot{}, fmt.Errorf("%w (schema %d)", errNotOurs, s.Schema)
	}
	return s, nil
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
