package warm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/snooze"
	"github.com/pullchain/pullchain/internal/wire"
)

// A Mirror is the data plane of a daemon, as any client uses it, but that it throws the
// blobs away.
type Mirror struct {
	base  string // URL without a trailing slash
	agent string // User-Agent
	http  *http.Client
	wait  time.Duration // before the first time that it asks again; then twice as long each time
	mark  func(http.Header)
}

// The patience of a mirror's client.
const (
	mirrorTries  = 5                // in a row that bring nothing
	mirrorWait   = time.Second      // before the first of them
	maxWait      = 30 * time.Second // a Retry-After beyond it ends the matter: that is for people to decide
	mirrorSilent = 3 * time.Minute  // what sends nothing for so long is dead: the daemon itself is never silent for half of it
	maxCommit    = 2 * time.Minute  // for a disk to take a blob that it has in its buffers
	someProgress = 64 << 10         // bytes that make a try one that brought something
)

// Agent begins the User-Agent of our requests.
const Agent = "pullchain-warm"

// NewMirror returns a client of the data plane at base, which says that it is of that
// version. The transport is its own from then on.
func NewMirror(base string, transport *http.Transport, version string) *Mirror {
	transport.Proxy = nil // the daemon goes through proxies, we go to the daemon
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 64
	transport.ResponseHeaderTimeout = mirrorSilent
	return &Mirror{base: strings.TrimRight(base, "/"), agent: Agent + "/" + version, wait: mirrorWait, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Mark has f add to the headers of each request. It comes before the first one.
func (m *Mirror) Mark(f func(http.Header)) { m.mark = f }

// Close lets go of its connections.
func (m *Mirror) Close() { m.http.CloseIdleConnections() }

// A Cached says what the daemon's cache had to do with an answer, in the words of
// its Cache-Status header (RFC 9211).
type Cached string

const (
	Hit     Cached = "hit"    // it is there
	Stale   Cached = "stale"  // it is there, and no upstream could say whether it is still right
	Stored  Cached = "stored" // it is being fetched and will be kept
	Shared  Cached = "shared" // it is being fetched for another client too
	NotKept Cached = "not"    // it is fetched past the cache
)

// There reports whether the cache has it.
func (c Cached) There() bool { return c == Hit || c == Stale }

// cachedBy reads Cache-Status. Other caches on the way have a word in it, too.
func cachedBy(h http.Header) Cached {
	for _, value := range h.Values("Cache-Status") {
		for one := range strings.SplitSeq(value, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(one), ";")
			if name != "pullchain" {
				continue
			}
			// RFC 9211 has structured fields (RFC 8941); of ours only whole
			// parameters matter, so a search for ";hit;" is enough.
			params = ";" + strings.ReplaceAll(params, " ", "") + ";"
			has := func(param string) bool { return strings.Contains(params, ";"+param) }
			switch {
			case has("hit;") && has("ttl=-"):
				return Stale
			case has("hit;"), has("fwd=stale;"): // the latter was there, and an upstream has confirmed it
				return Hit
			case has("stored;"):
				return Stored
			case has("collapsed;"):
				return Shared
			}
		}
	}
	return NotKept
}

// A refusal is an answer that is no success.
type refusal struct {
	status int
	text   string // safe to show
	after  time.Duration
}

func (r *refusal) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("HTTP %d: %s", r.status, r.text), ": ")
}

// ask sends one request. What is not 200 or 206 is an error, a *refusal.
func (m *Mirror) ask(ctx context.Context, method string, img Image, kind, ref string, from int64) (*http.Response, error) {
	// The registry stands in the path, where a known one is taken first, and in
	// ns, so that one which is not served is told from a repository of Docker Hub.
	u := fmt.Sprintf("%s/v2/%s/%s/%s/%s?ns=%s", m.base, url.PathEscape(img.Registry), img.Repo, kind, ref, url.QueryEscape(img.Registry))
	req, err := http.NewRequestWithContext(ctx, method, u, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", m.agent)
	if m.mark != nil {
		m.mark(req.Header)
	}
	if kind == "manifests" {
		req.Header["Accept"] = wire.DefaultAccept
	}
	if from > 0 {
		req.Header.Set("Range", wire.FormatRange(pullchain.Range{From: from}))
	}
	resp, err := m.http.Do(req)
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // people know what was asked
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent && from > 0 {
		return resp, nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, wire.MaxError))
	_, text := wire.ParseError(body)
	return nil, &refusal{resp.StatusCode, cmp.Or(text, http.StatusText(resp.StatusCode)), wire.ParseRetryAfter(resp.Header.Get("Retry-After"), wire.SentAt(resp.Header, time.Now()))}
}

// again runs try until it succeeds, fails for good or has brought nothing too
// often. try returns how many bytes it brought.
func (m *Mirror) again(ctx context.Context, try func() (int64, error)) error {
	for tries := 1; ; tries++ {
		n, err := try()
		if err == nil {
			return nil
		}
		// A try that brought bytes is no failure in a row: over a bad line a large
		// layer may take dozens of tries, each of which gets further.
		if n >= someProgress {
			tries = 1
		}
		// Twice as long each time, and never sooner than the daemon asks for. It
		// has tried every upstream itself before it answers with an error.
		wait := m.wait << (tries - 1)
		r, refused := errors.AsType[*refusal](err)
		if refused {
			wait = max(wait, r.after)
		}
		// A 4xx is the registry's word, which asking again does not change. A 429
		// is not final, and says when to come back.
		final := errors.Is(err, ErrNotKept) || refused && r.status < 500 && r.status != http.StatusTooManyRequests
		if ctx.Err() != nil || final || tries == mirrorTries || wait > maxWait {
			return cmp.Or(ctx.Err(), err)
		}
		snooze.For(ctx, wait)
	}
}

// A manifest is one that was fetched, and is what its digest says.
type manifest struct {
	digest    digest.Digest
	mediaType string
	body      []byte
	links     []pullchain.Descriptor
	cached    Cached
}

// manifest fetches a manifest by tag or digest.
func (m *Mirror) manifest(ctx context.Context, img Image, ref string) (out manifest, err error) {
	err = m.again(ctx, func() (int64, error) {
		out, err = m.tryManifest(ctx, img, ref)
		return 0, err
	})
	return out, err
}

// tryManifest asks once for a manifest and checks it against its digest. By tag the
// digest is the answer's own word: it is checked for bytes that were cut or mixed
// up on the way, and not for the truth of the tag, which is the daemon's matter.
func (m *Mirror) tryManifest(ctx context.Context, img Image, ref string) (manifest, error) {
	resp, err := m.ask(ctx, http.MethodGet, img, "manifests", ref, 0)
	if err != nil {
		return manifest{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxManifest+1))
	if err != nil {
		return manifest{}, err
	}
	want := ref
	// A digest has a colon and a tag never has one (distribution-spec, "Pulling
	// manifests").
	if !strings.Contains(ref, ":") {
		want = resp.Header.Get("Docker-Content-Digest")
	}
	d, err := wire.CheckDigest(want)
	if err != nil {
		return manifest{}, err
	}
	if got := d.Algorithm().FromBytes(body); got != d {
		return manifest{}, fmt.Errorf("wrong bytes: %s and not %s", got, d)
	}
	out := manifest{digest: d, body: body, cached: cachedBy(resp.Header)}
	out.mediaType, out.links, err = wire.ParseManifest(resp.Header.Get("Content-Type"), body)
	if errors.Is(err, wire.ErrMediaType) {
		err = nil // the bytes are right, and they say themselves what they are
	}
	return out, err
}

// look says how it stands with a blob, which it does not fetch. Trouble is
// NotKept: to fetch it will tell more.
func (m *Mirror) look(ctx context.Context, img Image, d digest.Digest) Cached {
	resp, err := m.ask(ctx, http.MethodHead, img, "blobs", d.String(), 0)
	if err != nil {
		return NotKept
	}
	resp.Body.Close()
	return cachedBy(resp.Header)
}

// kept waits until a blob that has come through is in the cache: its readers do
// not wait until it is written to the disk, and that may fail.
func (m *Mirror) kept(ctx context.Context, img Image, d digest.Digest) error {
	deadline := time.Now().Add(maxCommit)
	for wait, misses := 5*time.Millisecond, 0; ; wait = min(2*wait, time.Second) {
		switch word := m.look(ctx, img, d); {
		case word.There():
			return nil
		case word == NotKept:
			misses++
		}
		// One miss may be the moment between the fill's end and the store's entry;
		// two in a row mean that nothing is kept.
		if ctx.Err() != nil || misses == 2 || time.Now().After(deadline) {
			return cmp.Or(ctx.Err(), ErrNotKept)
		}
		snooze.For(ctx, wait)
	}
}
