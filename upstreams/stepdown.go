package upstreams

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// A manner is how a request is put: by HEAD or GET, for a part or for the whole. What is
// asked for stays the same whatever the manner, and so does what may come of it: a caller
// gets the whole where it asked for a part, and the headers where it asked for these.
type manner struct {
	head bool
	part pullchain.Range
}

// steps are the answers for which an attempt has stepped down, each at most once.
type steps struct {
	head  *pullchain.Error // to HEAD: GET
	part  *pullchain.Error // to Range: the whole
	fresh bool             // a signed link has been refused: a new one, and no login with it
}

// firstByte is what a blob is asked for in the place of HEAD.
var firstByte = pullchain.Range{To: 1}

// stepDown puts the request in a lesser way, if the refusal may be of the way and not of
// the thing, and reports whether it did (docs/faults.md 0.4): links are signed for GET
// and not for HEAD, CDNs refuse ranges, registries know no HEAD. What such an answer
// said is not the answer: the next one is.
func (a *attempt) stepDown(err error) bool {
	var e *pullchain.Error
	if !errors.As(err, &e) || a.ctx.Err() != nil {
		return false
	}
	switch {
	case a.as.head && headRefused(e, a.offOrigin):
		a.steps.head = e
		a.as = manner{}
		if a.req.Op == pullchain.Blob && !a.u.skills.lacks(ranges) {
			a.as.part = firstByte
		}
	case e.Code == pullchain.CodeSignedURL && !a.steps.fresh: // it had expired, as a rule (docs/faults.md F14)
		a.steps.fresh = true
	case !a.as.part.Whole() && rangeRefused(e, a.as.part, a.req.Size):
		a.steps.part = e
		a.as.part = pullchain.Range{}
	default:
		return false
	}
	return true
}

// headRefused reports whether GET may do better than HEAD did. An answer to HEAD has no
// body, so that a "not found" without the mark of a registry, or a label that cannot be
// a manifest's, is explained by GET alone. A registry's own "not found", and what says
// "not now" to whatever is asked, needs no second question.
func headRefused(e *pullchain.Error, offOrigin bool) bool {
	switch e.Code {
	case pullchain.CodeNotRegistry, pullchain.CodeWrongType, pullchain.CodeSignedURL, pullchain.CodeDigestMismatch, pullchain.CodeForbidden:
		return true
	case pullchain.CodeNotFound:
		return !e.Final && !offOrigin
	case pullchain.CodeUnexpected:
		return e.Status >= 400 || e.Reason == pullchain.Corrupt
	case pullchain.CodeServerError: // else it is unwell, and a GET is more work, and counts against a quota
		return e.Status == http.StatusNotImplemented
	}
	return false
}

// rangeRefused reports whether the whole may be had where the part was not: the part was
// refused, or what came is not the part. A 416 counts where it says nothing of the size,
// or where the part lies within it.
func rangeRefused(e *pullchain.Error, part pullchain.Range, size int64) bool {
	switch e.Code {
	case pullchain.CodeSignedURL, pullchain.CodeForbidden, pullchain.CodeEncoded, pullchain.CodeWrongSize:
		return true
	case pullchain.CodeNotRegistry:
		return e.Status != http.StatusNotFound && e.Status != http.StatusGone
	case pullchain.CodeUnexpected:
		return e.Status >= 400 || e.Reason == pullchain.Corrupt
	case pullchain.CodeServerError:
		return e.Status == http.StatusNotImplemented
	case pullchain.CodeWrongRange:
		if e.Reason != pullchain.Invalid {
			return true
		}
		if size <= 0 {
			size = e.Size
		}
		_, within := wire.ResolveRange(part, size)
		return within || size <= 0
	}
	return false
}

// A skill is something that an upstream need not be able to do. That it cannot closes
// no gate: it is asked in another way for a while (docs/faults.md 0.2).
type skill uint8

// The skills.
const (
	ranges       skill = iota // parts of blobs
	headManifest              // HEAD of manifests and lists
	headBlob                  // HEAD of blobs
	numSkills
)

// relearn is how long an upstream is taken to lack a skill before it is asked for it
// again: whatever stands before it changes, and comes back.
const relearn = 10 * time.Minute

// skills are those that an upstream has lately shown to lack.
type skills struct {
	mu    sync.Mutex
	until [numSkills]time.Time
}

// manner returns how to put req at first.
func (s *skills) manner(req pullchain.Request) manner {
	m := manner{head: req.Head}
	if req.Op == pullchain.Blob && !req.Head {
		m.part = req.Range
	}
	if m.head && s.lacks(headOf(req.Op)) {
		m.head = false
		if req.Op == pullchain.Blob {
			m.part = firstByte
		}
	}
	if m.part.From >= 0 && m.part.From <= farIn && !m.part.Whole() && s.lacks(ranges) {
		m.part = pullchain.Range{}
	}
	return m
}

// farIn is from where on a part is asked for once more all the same: to read what is
// before it and throw that away costs more than to be refused.
const farIn = 8 << 20

// lacks reports whether k is not to be counted on now.
func (s *skills) lacks(k skill) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until[k])
}

// learn draws the conclusion from a request that was answered after it had been put in
// another way. A HEAD whose label was odd may be one image's: GETs of manifests count
// against a quota, and HEADs do not (docs/protocol.md 4.1), so that they are not given up
// for that.
func (s *skills) learn(req pullchain.Request, took *steps) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took.part != nil {
		s.until[ranges] = time.Now().Add(relearn)
	}
	if took.head == nil {
		return
	}
	switch took.head.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		s.until[headOf(req.Op)] = time.Now().Add(relearn)
	}
}

// reset forgets what was learnt.
func (s *skills) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = [numSkills]time.Time{}
}

func headOf(op pullchain.Op) skill {
	if op == pullchain.Blob {
		return headBlob
	}
	return headManifest
}
