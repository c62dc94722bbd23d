// Package policy is a link of the chain that refuses what the operator does not want to be
// pulled, and fixes what a tag means. It stands before the cache, so that what is there
// already is refused as well, and sees a request as the front has understood it: by whatever form
// a client names an image, there is one name here.
package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
)

// A Policy judges requests. It is safe for concurrent use.
type Policy struct {
	deny, allow []rule
	pins        []pin
	registryOf  func(string) string
	vouched     *vouched
}

// A pin is what one tag means.
type pin struct {
	rule
	digest digest.Digest
}

// New returns the policy of c, which has to be valid. registryOf says which registry a name or
// an alias means; another word it returns as it is.
func New(c Config, registryOf func(string) string) *Policy {
	p := &Policy{registryOf: registryOf, vouched: &vouched{}}
	read := func(list, text string) rule {
		r, _ := parseRule(list, text) // Validate has read it before
		r.names[0] = registryOf(r.names[0])
		return r
	}
	for _, text := range c.Deny {
		p.deny = append(p.deny, read("deny", text))
	}
	for _, text := range c.Allow {
		p.allow = append(p.allow, read("allow", text))
	}
	for text, sum := range c.Pin {
		p.pins = append(p.pins, pin{read("pin", text), digest.Digest(sum)})
	}
	return p
}

// Continue has p know what allowed tags have led to under old, whose rules are the same. It comes before the first request.
func (p *Policy) Continue(old *Policy) { p.vouched = old.vouched }

// Before returns a Fetcher that asks next for what the policy lets through. A nil Policy
// lets all through.
func (p *Policy) Before(next pullchain.Fetcher) pullchain.Fetcher {
	if p == nil {
		return next
	}
	return &link{p, next}
}

// A link is the policy before one registry's chain.
type link struct {
	policy *Policy
	next   pullchain.Fetcher
}

// Fetch implements [pullchain.Fetcher].
func (l *link) Fetch(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
	p := l.policy
	names := p.spellings(req)
	if err := p.judge(names, req); err != nil {
		return pullchain.Response{}, err
	}
	byTag := req.Tag != ""
	if d := p.pinned(names, req); d != "" {
		req.Tag, req.Digest = "", d
	}
	resp, err := l.next.Fetch(ctx, req)
	if err != nil || req.Op != pullchain.Manifest {
		return resp, err
	}
	if byTag {
		// What a tag leads to is forbidden where its digest is.
		if rule := p.forbidden(names, resp.Digest); rule != nil {
			resp.Body.Close()
			return pullchain.Response{}, refused(`deny under [policy] has "` + rule.text + `", and this tag means ` + resp.Digest.String())
		}
	}
	if p.tellsTagsApart(names) {
		p.vouched.add(req.Registry, req.Repo, resp.Digest)
		for _, d := range resp.Links {
			if d.MediaType == "" || strings.Contains(d.MediaType, "manifest") || strings.Contains(d.MediaType, "index") {
				p.vouched.add(req.Registry, req.Repo, d.Digest)
			}
		}
	}
	return resp, nil
}

// spellings are the names of a repository, in components: one, but where Docker Hub's official
// images are called with library/ or without.
func (p *Policy) spellings(req pullchain.Request) [][]string {
	full := append([]string{p.registryOf(req.Registry)}, strings.Split(req.Repo, "/")...)
	if len(full) == 3 && full[0] == "docker.io" && full[1] == "library" {
		return [][]string{full, {full[0], full[2]}}
	}
	return [][]string{full}
}

// of reports whether the rule is of a repository, by any of its names.
func (r rule) of(names [][]string) bool { return slices.ContainsFunc(names, r.matchesName) }

// judge returns why a request is refused, or nil.
func (p *Policy) judge(names [][]string, req pullchain.Request) error {
	byTag := req.Op == pullchain.Manifest && req.Tag != ""
	for _, r := range p.deny {
		if r.of(names) && (r.tag == "" && r.sum == "" || byTag && r.tag != "" && r.matchesTag(req.Tag) || r.matchesSum(req.Digest.String())) {
			return refused(`deny under [policy] has "` + r.text + `"`)
		}
	}
	switch {
	case byTag:
		return p.permitted(names, func(r rule) bool { return r.sum == "" && (r.tag == "" || r.matchesTag(req.Tag)) })
	case req.Op == pullchain.Manifest || req.Op == pullchain.Referrers:
		return p.judgeDigest(names, req)
	}
	// Blobs and lists of tags are the repository's: which tag a blob is of, it does not say.
	return p.permitted(names, func(rule) bool { return true })
}

// judgeDigest judges what is asked for by digest. Where the rules tell tags apart, a digest
// could be that of any of them, so it needs a rule of its own, or an allowed tag that led to it.
func (p *Policy) judgeDigest(names [][]string, req pullchain.Request) error {
	if p.vouched.has(req.Registry, req.Repo, req.Digest) {
		return nil
	}
	own := func(r rule) bool { return r.matchesSum(req.Digest.String()) }
	if slices.ContainsFunc(p.allow, func(r rule) bool { return r.of(names) && own(r) }) {
		return nil
	}
	for _, r := range p.deny {
		if r.tag != "" && r.of(names) {
			return refused(`deny under [policy] has "` + r.text + `", and no tag that may be pulled has led to this digest; pull by tag, or name the digest in allow`)
		}
	}
	return p.permitted(names, func(r rule) bool { return r.tag == "" && r.sum == "" })
}

// permitted returns an error if there are rules of what is allowed, and none is of the repository and fits.
func (p *Policy) permitted(names [][]string, fits func(rule) bool) error {
	if len(p.allow) == 0 || slices.ContainsFunc(p.allow, func(r rule) bool { return r.of(names) && fits(r) }) {
		return nil
	}
	return refused("no rule of allow under [policy] has it")
}

// forbidden returns the rule that denies a digest, or nil.
func (p *Policy) forbidden(names [][]string, d digest.Digest) *rule {
	for i, r := range p.deny {
		if r.of(names) && r.matchesSum(d.String()) {
			return &p.deny[i]
		}
	}
	return nil
}

// pinned returns the digest that a tag is fixed to, or "".
func (p *Policy) pinned(names [][]string, req pullchain.Request) digest.Digest {
	if req.Op != pullchain.Manifest || req.Tag == "" {
		return ""
	}
	for _, pin := range p.pins {
		if pin.of(names) && pin.matchesTag(req.Tag) {
			return pin.digest
		}
	}
	return ""
}

// tellsTagsApart reports whether a rule is of some tags of a repository only.
func (p *Policy) tellsTagsApart(names [][]string) bool {
	tells := func(r rule) bool { return (r.tag != "" || r.sum != "") && r.of(names) }
	return slices.ContainsFunc(p.deny, tells) || slices.ContainsFunc(p.allow, tells)
}

// refused is the error of what the policy does not let through.
func refused(why string) error {
	return &pullchain.Error{Reason: pullchain.Denied, Code: pullchain.CodePolicy, Status: http.StatusForbidden, Err: errors.New(why)}
}

// maxVouched is how many digests are known to be led to by allowed tags: 4 MB. One that is
// forgotten is known again when its tag is asked for, which clients do first.
const maxVouched = 16384

// A vouched has digests that allowed tags have led to.
type vouched struct {
	mu    sync.Mutex
	known map[string]struct{}
	order []string // a ring, once it is full
	next  int
}

func key(registry, repo string, d digest.Digest) string {
	return fmt.Sprint(registry, "/", repo, "@", d)
}

func (v *vouched) has(registry, repo string, d digest.Digest) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.known[key(registry, repo, d)]
	return ok
}

func (v *vouched) add(registry, repo string, d digest.Digest) {
	if d == "" {
		return
	}
	k := key(registry, repo, d)
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.known[k]; ok {
		return
	}
	if v.known == nil {
		v.known = map[string]struct{}{}
	}
	v.known[k] = struct{}{}
	if len(v.order) < maxVouched {
		v.order = append(v.order, k)
		return
	}
	delete(v.known, v.order[v.next])
	v.order[v.next] = k
	v.next = (v.next + 1) % maxVouched
}
