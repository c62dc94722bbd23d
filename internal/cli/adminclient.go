package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/wire"
)

// An adminClient talks to the operator's plane of a running daemon.
type adminClient struct {
	base  string // URL without a trailing slash
	shown string // what people call it, if that is not base
	token pullchain.Secret
	http  *http.Client // without a Timeout: what takes long says so by context
}

const (
	// adminTimeout is how long a daemon may take to say how it is. It only has to
	// copy values.
	adminTimeout = 5 * time.Second

	// maxSnapshot is how long a snapshot may be; a hundred lanes take 1 MiB.
	maxSnapshot = 64 << 20
)

// adminClient returns a client of the operator's plane that the command line means: --addr, else
// what the configuration says, of which the socket comes first. The configuration's token goes to no other
// address. A configuration that cannot be read is no reason to give up: the
// daemon may still run on an older one.
func (a *app) adminClient() (*adminClient, error) {
	c := &adminClient{base: a.flags.Addr, http: &http.Client{
		// No proxy and no redirects: the token goes to the address that was named, and
		// nowhere else.
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if c.base == "" {
		c.base = admin.DefaultListen
		cfg, err := a.loadConfig()
		if err != nil {
			a.complain(err)
			fmt.Fprintln(a.Stderr, a.messages.Text("status.default", "address", c.base))
		} else {
			c.base, c.token = reachable(cfg.Admin.Listen), cfg.Admin.Token
			if cfg.Admin.Socket != "" && answers(cfg.Admin.Socket) {
				c.base, c.token = unixScheme+cfg.Admin.Socket, ""
			}
		}
	}
	if path, ok := strings.CutPrefix(c.base, unixScheme); ok {
		c.shown, c.base = c.base, "http://localhost"
		c.http.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	}
	if !strings.Contains(c.base, "://") {
		c.base = "http://" + c.base
	}
	c.base = strings.TrimRight(c.base, "/")
	if a.flags.TokenFile != "" {
		token, err := os.ReadFile(a.flags.TokenFile)
		if err != nil {
			return nil, err
		}
		c.token = pullchain.Secret(strings.TrimSpace(string(token)))
	}
	return c, nil
}

// unixScheme is what the address of a socket begins with.
const unixScheme = "unix:"

// answers reports whether the socket at path lets this user in. Where it does not, the
// daemon may be asked by TCP.
func answers(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// errNeedsToken and errNotOurs are answers that no daemon for us gives.
var (
	errNeedsToken = errors.New("the daemon wants its token")
	errNotOurs    = errors.New("what answers is no pullchain, or another version of it")
)

// An apiError is an error of the daemon itself (RFC 9457), which programs tell by its
// code.
type apiError struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (r *apiError) Error() string { return wire.Clip(r.Detail) }

// snapshot asks for the daemon's snapshot.
func (c *adminClient) snapshot(ctx context.Context) (s admin.Snapshot, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err = c.get(ctx, "/api/v1/snapshot", &s); err != nil {
		return s, err
	}
	// A newer daemon's fields may mean something else. Better to say so than to
	// print them.
	if s.Schema != admin.Schema {
		return s, fmt.Errorf("%w (schema %d)", errNotOurs, s.Schema)
	}
	return s, nil
}

// get decodes the JSON document at path into out.
func (c *adminClient) get(ctx context.Context, path string, out any) error {
	return c.call(ctx, http.MethodGet, path, nil, out)
}

// post sends in as JSON and decodes the answer into out.
func (c *adminClient) post(ctx context.Context, path string, in, out any) error {
	return c.call(ctx, http.MethodPost, path, in, out)
}

// call sends one request and decodes its answer. What is no JSON of ours, under a
// success, is another program at that address.
func (c *adminClient) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.open(ctx, method, path, in)
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
// success is an error, an *apiError if the daemon says more.
func (c *adminClient) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var content bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&content).Encode(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, &content)
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	resp, err := c.http.Do(req)
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
	said := apiError{Status: resp.StatusCode}
	if resp.Header.Get("Content-Type") != "application/problem+json" ||
		json.NewDecoder(io.LimitReader(resp.Body, maxSnapshot)).Decode(&said) != nil || said.Code == "" {
		return nil, fmt.Errorf("%w (HTTP %d)", errNotOurs, resp.StatusCode)
	}
	return nil, &said
}

// unreachable says what to do about a snapshot that could not be had.
func (a *app) unreachable(c *adminClient, err error) error {
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
	return &exitError{exitUnreachable, errors.New(a.messages.Text(key, "address", cmp.Or(c.shown, c.base), "error", err))}
}
