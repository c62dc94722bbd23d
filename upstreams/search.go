package upstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/egress"
)

// Docker Hub answers searches at one of its hosts only (docs/protocol.md 4.8).
const hubIndex = "https://index.docker.io"

// Bounds of a search: its answer in bytes (a hundred results are 30 KB), and all of its time.
const (
	maxSearch  = 1 << 20
	searchTime = 15 * time.Second
)

// Search asks the registry's index of repositories, through the same egress and under the
// same guard as everything else. query is the raw query. What is returned is a JSON
// object of at most 1 MiB. The errors are *pullchain.Error, of no evidence against the
// upstream: an index is another service than a registry.
func (u *Upstream) Search(ctx context.Context, query string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	to := *u.origin
	if host := u.origin.Hostname(); slices.Contains(hubHosts, host) || host == "registry.hub.docker.com" {
		index, err := url.Parse(hubIndex)
		if err != nil {
			return nil, u.searchFailed(err)
		}
		to = *index
	}
	foreign := to.Host != u.origin.Host
	to.Path, to.RawQuery = "/v1/search", query
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, u.searchFailed(err)
	}
	r.Header.Set("User-Agent", egress.UserAgent)
	r.Header.Set("Accept", "application/json")
	for name, value := range u.cfg.Headers {
		if !foreign { // they are for the upstream's own host; a login is for nothing but pulls
			r.Header.Set(name, value.Reveal())
		}
	}
	resp, err := roundTrip(u.http1, r, 0)
	if err != nil {
		return nil, u.searchFailed(classifyTransport(err, foreign))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSearch+1))
	switch {
	case err != nil:
		return nil, u.searchFailed(err)
	case resp.StatusCode != http.StatusOK:
		e := classifyStatus(answer{status: resp.StatusCode, header: resp.Header, body: body[:min(len(body), maxSearch)], op: pullchain.Tags, offOrigin: foreign})
		return nil, u.searchFailed(e)
	case len(body) > maxSearch:
		return nil, u.searchFailed(&pullchain.Error{Reason: pullchain.Refused, Code: pullchain.CodeTooLarge, Err: errors.New("a search's answer is longer than 1 MiB")})
	case !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) || !json.Valid(body):
		return nil, u.searchFailed(&pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongType, Err: errors.New("a search's answer is no JSON object")})
	}
	return body, nil
}

// searchFailed completes err.
func (u *Upstream) searchFailed(err error) error {
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		e = &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeConnReset, Err: err}
	}
	failed := *e
	failed.Upstream, failed.Reach = u.cfg.Name, pullchain.ReachRequest
	return &failed
}
