package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/snooze"
)

// A puller pulls images from a registry as a container engine does: the
// manifest, then everything it names, each checked against its digest, and again
// when it came broken.
type puller struct {
	base string
	http *http.Client
	wait time.Duration // before it asks again
}

func newPuller(base string, wait time.Duration) *puller {
	return &puller{base: base, wait: wait, http: &http.Client{Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 4}}}
}

func (p *puller) close() { p.http.CloseIdleConnections() }

// pullTries is how often a thing is asked for: dockerd makes five more tries,
// containerd's and podman's number lies between (docs/protocol.md 4.3).
const pullTries = 4

// A pulled is a pull that came through.
type pulled struct {
	image    string
	manifest answer
	blobs    []answer
	bytes    int64
	took     time.Duration
}

// An answer is one thing that was pulled: the upstream that served it, by the
// Proxy-Status header, and what had gone wrong before.
type answer struct {
	via      string
	troubles []trouble
	broken   []error // the answers before it that could not be used
}

// A trouble is what an answer says of an upstream that was tried before.
type trouble struct {
	upstream string
	code     pullchain.Code
}

// pull pulls an image, as in "library/alpine", "3.20".
func (p *puller) pull(ctx context.Context, repo, tag string) (pulled, error) {
	began := time.Now()
	out := pulled{image: repo + ":" + tag}
	body, how, err := p.get(ctx, "/v2/"+repo+"/manifests/"+tag, "")
	if err != nil {
		return out, err
	}
	out.manifest, out.bytes = how, int64(len(body))
	var manifest struct {
		Config pullchain.Descriptor   `json:"config"`
		Layers []pullchain.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(body, &manifest); err != nil {
		return out, fmt.Errorf("manifest: %w", err)
	}
	for _, d := range append([]pullchain.Descriptor{manifest.Config}, manifest.Layers...) {
		body, how, err := p.get(ctx, "/v2/"+repo+"/blobs/"+d.Digest.String(), d.Digest)
		if err != nil {
			return out, err
		}
		out.blobs = append(out.blobs, how)
		out.bytes += int64(len(body))
	}
	out.took = time.Since(began)
	return out, nil
}

// get gets a thing. want is its digest, if that is known beforehand.
func (p *puller) get(ctx context.Context, path string, want digest.Digest) ([]byte, answer, error) {
	var broken []error
	for {
		body, how, err := p.try(ctx, path, want)
		if err == nil {
			how.broken = broken
			return body, how, nil
		}
		broken = append(broken, err)
		if len(broken) == pullTries || ctx.Err() != nil {
			return nil, answer{}, errors.Join(broken...)
		}
		snooze.For(ctx, p.wait)
	}
}

// try asks once, and believes only bytes that match their digest, as every engine
// does.
func (p *puller) try(ctx context.Context, path string, want digest.Digest) ([]byte, answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path, nil)
	if err != nil {
		return nil, answer{}, err
	}
	req.Header["Accept"] = []string{"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, answer{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, answer{}, fmt.Errorf("HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(body)))
	}
	// By tag the digest is what the answer says of itself, as for every engine.
	if want == "" {
		want = digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	}
	if got := digest.FromBytes(body); got != want {
		return nil, answer{}, fmt.Errorf("wrong bytes: %s and not %s", got, want)
	}
	return body, readAnswer(resp.Header), nil
}

var (
	nextHop = regexp.MustCompile(`next-hop="([^"]*)"`)
	details = regexp.MustCompile(`details="([^"]*)"`)
)

// readAnswer reads our own Proxy-Status (RFC 9209), as in
// pullchain; next-hop="cf-worker"; details="docker-hub http_429_quota".
func readAnswer(h http.Header) answer {
	var out answer
	status := h.Get("Proxy-Status")
	if m := nextHop.FindStringSubmatch(status); m != nil {
		out.via = m[1]
	}
	if m := details.FindStringSubmatch(status); m != nil {
		for one := range strings.SplitSeq(m[1], ", ") {
			upstream, code, _ := strings.Cut(one, " ")
			out.troubles = append(out.troubles, trouble{upstream, pullchain.Code(code)})
		}
	}
	return out
}
