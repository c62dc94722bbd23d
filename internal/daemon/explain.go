package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/front"
	"github.com/pullchain/pullchain/internal/wire"
)

// dockerHub is the registry of a name that begins with none.
const dockerHub = "docker.io"

// An imageName is an image's name as a person types it, read.
type imageName struct {
	registry string // as typed, or docker.io
	alias    string // registry, where that is another name for one that is configured
	repo     string
	tag      string
	digest   digest.Digest
}

// parseImage reads an image's name. Unlike a container runtime it knows the aliases
// of the registries that are configured, which are as good as their names in a path.
func (c *chain) parseImage(image string) (imageName, error) {
	var n imageName
	name, sum, byDigest := strings.Cut(strings.TrimSpace(image), "@")
	if byDigest {
		d, err := wire.CheckDigest(sum)
		if err != nil {
			return n, fmt.Errorf("%w: %v", admin.ErrNoImage, err)
		}
		n.digest = d
	}
	n.registry, n.repo = dockerHub, name
	if first, rest, ok := strings.Cut(name, "/"); ok {
		if reg := c.registryCalled(first); reg != nil {
			n.registry, n.repo = reg.name, rest
			if !strings.EqualFold(first, reg.name) {
				n.alias = first
			}
		} else if strings.ContainsAny(first, ".:") || first == "localhost" {
			n.registry, n.repo = first, rest
		}
	}
	var tagged bool
	n.repo, n.tag, tagged = strings.Cut(n.repo, ":")
	if n.registry == dockerHub {
		n.repo = wire.OfficialRepo(n.repo)
	}
	err := wire.CheckRepo(n.repo)
	if err == nil && tagged {
		err = wire.CheckTag(n.tag)
	}
	switch {
	case err != nil:
		return n, fmt.Errorf("%w: %v", admin.ErrNoImage, err)
	case n.digest != "":
		n.tag = "" // the digest says it all, and runtimes ask by it
	case !tagged:
		n.tag = "latest"
	}
	return n, nil
}

// registryCalled returns the registry of that name or alias, or nil.
func (c *chain) registryCalled(name string) *registry {
	for i, r := range c.registries {
		is := func(other string) bool { return strings.EqualFold(other, name) }
		if is(r.name) || slices.ContainsFunc(r.aliases, is) {
			return &c.registries[i]
		}
	}
	return nil
}

// request is what a runtime asks first for an image.
func (n imageName) request() pullchain.Request {
	return pullchain.Request{
		Op: pullchain.Manifest, Head: true, Registry: n.registry, Repo: n.repo, Tag: n.tag, Digest: n.digest,
		Accept: wire.DefaultAccept,
	}
}

// An explainer says what would become of a pull.
type explainer struct {
	daemon      *Daemon
	comparisons turnstile // of what tags mean to upstreams
}

// Explain implements [admin.Explainer].
func (x *explainer) Explain(ctx context.Context, image string) (admin.Explanation, error) {
	d := x.daemon
	c := d.chain.Load()
	n, err := c.parseImage(image)
	if err != nil {
		return admin.Explanation{}, err
	}
	req := n.request()
	e := admin.Explanation{
		Image: image, Name: req.Image(), Registry: n.registry, Repo: n.repo, Tag: n.tag, Digest: n.digest, Alias: n.alias,
		Candidates: []admin.Candidate{}, Forms: []admin.ClientForm{},
	}
	reg := c.registryCalled(n.registry)
	if reg == nil && ask(d, n.registry) == nil {
		reg = d.chain.Load().registryCalled(n.registry)
	}
	if reg == nil {
		return e, nil
	}
	e.Served, e.Forms = true, d.clientForms(n)
	s := reg.balancer.Snapshot()
	e.Strategy = s.Strategy
	for _, p := range reg.balancer.Plan(req) {
		one := admin.Candidate{Candidate: p}
		for _, l := range s.Lanes {
			if l.Upstream == p.Upstream {
				one.State, one.Via, one.Trust = l.State, l.Via, l.Trust
			}
		}
		e.Candidates = append(e.Candidates, one)
	}
	if d.storage != nil && d.storage.cache != nil {
		h, err := d.storage.cache.Holding(ctx, n.registry, n.repo, n.tag, n.digest)
		if err != nil {
			return e, err
		}
		e.Cache = &h
	}
	return e, nil
}

// clientForms are the ways in which clients can ask us for an image.
func (d *Daemon) clientForms(n imageName) []admin.ClientForm {
	ref, spelt := n.tag, ":"+n.tag
	if n.digest != "" {
		ref, spelt = n.digest.String(), "@"+n.digest.String()
	}
	manifests := n.repo + "/manifests/" + ref
	full := n.registry + "/" + n.repo + spelt
	forms := []admin.ClientForm{
		{Form: "ns", Path: "/v2/" + manifests + "?ns=" + n.registry, Pull: full},
		{Form: "path", Path: "/v2/" + n.registry + "/" + manifests, Pull: d.Mirror() + "/" + full},
	}
	if n.registry == dockerHub {
		forms = append([]admin.ClientForm{{Form: "default", Path: "/v2/" + manifests, Pull: full}}, forms...)
	}
	return forms
}

// Mirror is host:port of the data plane, as this machine reaches it.
func (d *Daemon) Mirror() string {
	if d.data == nil {
		return front.DefaultListen
	}
	return dialable(d.data.Addr())
}

const (
	// digestTime is how long an upstream may take to say what a tag means.
	digestTime = 10 * time.Second

	// digestsEvery is how soon upstreams may be compared again, and digestsAtOnce how
	// many are asked beside each other.
	digestsEvery  = 2 * time.Second
	digestsAtOnce = 8
)

// Digests implements [admin.Explainer].
func (x *explainer) Digests(ctx context.Context, image string) ([]admin.UpstreamDigest, error) {
	c := x.daemon.chain.Load()
	n, err := c.parseImage(image)
	if err != nil {
		return nil, err
	}
	reg := c.registryCalled(n.registry)
	if reg == nil {
		return []admin.UpstreamDigest{}, nil
	}
	if wait := x.comparisons.next(digestsEvery); wait > 0 {
		return nil, &admin.TooSoonError{Wait: wait}
	}
	ctx, cancel := context.WithTimeout(ctx, digestTime)
	defer cancel()
	req := n.request()
	req.Options.HeadersOnly = true // a GET would count as a pull
	answers := make([]admin.UpstreamDigest, len(reg.upstreams))
	places := make(chan struct{}, digestsAtOnce)
	var all sync.WaitGroup
	for i, name := range reg.upstreams {
		all.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			answers[i] = digestOf(ctx, c.known(pathID{reg.name, name}), req)
		})
	}
	all.Wait()
	return answers, nil
}

// digestOf asks one upstream. It goes past the lane: what comes of a question that no
// client has asked is not held against it.
func digestOf(ctx context.Context, p *path, req pullchain.Request) admin.UpstreamDigest {
	got := admin.UpstreamDigest{Upstream: p.upstream.Name()}
	began := time.Now()
	resp, err := p.upstream.Fetch(ctx, req)
	got.MS = time.Since(began).Milliseconds()
	if err != nil {
		got.Code, got.Error = pullchain.CodeOf(err), wire.Clip(err.Error())
		return got
	}
	defer resp.Body.Close()
	got.Digest, got.MediaType = resp.Digest, wire.Clip(resp.MediaType)
	return got
}

// A turnstile lets one pass, and the next only after a while.
type turnstile struct {
	mu   sync.Mutex
	last time.Time
}

// next returns 0 if the caller may pass, else how long it has to wait.
func (t *turnstile) next(every time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if wait := every - now.Sub(t.last); !t.last.IsZero() && wait > 0 {
		return wait
	}
	t.last = now
	return 0
}
