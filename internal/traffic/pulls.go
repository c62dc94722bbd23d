package traffic

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// When a pull is over. The protocol does not say it.
const (
	PullGap    = 30 * time.Second // idle for longer, it is over, and the next request begins another
	pullRest   = 5 * time.Second  // so long, if all that the manifests name was sent, or the last answers were errors
	pullLinger = 60 * time.Second // so long it stays among the active ones, for people that look
)

// What is kept of pulls.
const (
	livePulls      = 256  // active ones, and those that linger
	recentPulls    = 200  // after that
	pullContents   = 512  // configs and layers of one pull
	allContents    = 8192 // of all live pulls
	recentContents = 64   // of a recent one
	pullFailing    = 32
	pullUpstreams  = 8
	pullPlatforms  = 4
)

// A pullNo is the number of a pull in this process; 0 is none.
type pullNo uint64

// String returns the ID, which is no request's: those have no dash.
func (n pullNo) String() string {
	if n == 0 {
		return ""
	}
	return "p-" + strconv.FormatUint(uint64(n), 36)
}

// A pull is one that is active or lingers.
type pull struct {
	no       pullNo
	client   *client
	shown    Pull // what is known of it; its maps, lists and sums are made when it is shown
	cache    [len(caches)]int
	inFlight int
	state    string // when it was last looked at
	tagged   bool   // its reference is a tag
	counted  bool   // in the counts of its registry
	retired  bool   // one of the recent ones, though requests of it may be under way

	contents  map[string]*content // configs and layers by digest
	missing   int                 // of those that manifests name, not sent whole
	manifests map[string]bool     // of images, that were sent
	platforms map[string]string   // what an index says of its manifests
	failing   map[string]string   // what the client last got an error for, and the code
	rate      rate
}

// A content is a config or a layer.
type content struct {
	size     int64 // by a manifest; negative if none has told
	sent     int64 // by answers that are over
	layer    bool
	done     bool
	upstream string
	cache    pullchain.CacheResult
}

// referenceOf returns the tag or the digest that a request names.
func referenceOf(req *pullchain.Request) string {
	if req.Digest != "" {
		return string(req.Digest)
	}
	return req.Tag
}

// isAttachment tells the tags under which signatures and lists of referrers are kept
// (docs/protocol.md 4.5): they belong to the pull of the image, and most images have none.
func isAttachment(tag string) bool {
	const prefix = "sha256-"
	return strings.HasPrefix(tag, prefix) && len(tag) >= len(prefix)+64
}

// joinLocked puts a request that begins into the pull that it belongs to.
func (j *Journal) joinLocked(f *Flight) {
	if f.kind != kind(pullchain.Manifest) && f.kind != kind(pullchain.Blob) {
		return
	}
	p := f.client.pullFor(f.Request, f.At)
	if p == nil {
		if f.kind == kind(pullchain.Manifest) && isAttachment(f.Request.Tag) {
			return
		}
		p = j.newPullLocked(f)
	}
	p.name(f.Request)
	p.inFlight++
	p.shown.Updated = f.At
	f.pull = p
}

// pullFor returns the pull of the client that req belongs to, or nil.
func (c *client) pullFor(req *pullchain.Request, now time.Time) *pull {
	for _, p := range slices.Backward(c.pulls) {
		if p.shown.Repo == req.Repo && p.shown.Registry == req.Registry && p.open(now) && p.takes(req) {
			return p
		}
	}
	return nil
}

// takes reports whether a request of its repository belongs to p: another tag is another
// image's.
func (p *pull) takes(req *pullchain.Request) bool {
	return req.Tag == "" || !p.tagged || p.shown.Reference == req.Tag || isAttachment(req.Tag)
}

// name names p by the first tag that was asked for, else by the first manifest.
func (p *pull) name(req *pullchain.Request) {
	switch {
	case p.tagged, req.Op != pullchain.Manifest, isAttachment(req.Tag):
	case req.Tag != "":
		p.shown.Reference, p.tagged = strings.Clone(req.Tag), true
	case p.shown.Reference == "":
		p.shown.Reference = strings.Clone(string(req.Digest))
	}
}

// newPullLocked begins a pull. Where there are too many, the one that was idle for
// longest goes.
func (j *Journal) newPullLocked(f *Flight) *pull {
	if len(j.pulls) >= livePulls {
		oldest := slices.MinFunc(j.pulls, func(a, b *pull) int { return a.shown.Updated.Compare(b.shown.Updated) })
		j.retireLocked(oldest, f.At)
	}
	j.lastPull++
	p := &pull{no: j.lastPull, client: f.client, state: StateActive}
	p.shown = Pull{
		ID: p.no.String(), Client: f.Family, Addr: addrText(f.Addr), Form: f.Form, Registry: f.registry.name, Repo: strings.Clone(f.Request.Repo), Started: f.At,
	}
	j.pulls = append(j.pulls, p)
	f.client.pulls = append(f.client.pulls, p)
	f.client.last = LastPull{ID: p.shown.ID, At: f.At}
	return p
}

// open reports whether more requests may belong to p.
func (p *pull) open(now time.Time) bool {
	idle := now.Sub(p.shown.Updated)
	return p.inFlight > 0 || idle < PullGap && (idle < pullRest || !p.complete())
}

// complete reports whether all that the manifests name was sent. What the client has
// already it does not ask for, so a pull may be over without being complete.
func (p *pull) complete() bool { return len(p.manifests) > 0 && p.missing == 0 }

// stateAt returns the state of p, and when it came to be in it if that is not active.
func (p *pull) stateAt(now time.Time) (state string, over time.Time) {
	idle := now.Sub(p.shown.Updated)
	rest := PullGap
	if p.complete() || len(p.failing) > 0 {
		rest = pullRest
	}
	switch {
	case p.inFlight > 0 || idle < rest:
		return StateActive, time.Time{}
	case len(p.failing) > 0:
		return StateFailed, p.shown.Updated.Add(rest)
	}
	return StateDone, p.shown.Updated.Add(rest)
}

// next returns when p changes by itself, if nothing more is asked.
func (p *pull) next(now time.Time) time.Time {
	if p.inFlight > 0 {
		return time.Time{}
	}
	state, over := p.stateAt(now)
	if state != StateActive {
		return over.Add(pullLinger)
	}
	if p.complete() || len(p.failing) > 0 {
		return p.shown.Updated.Add(pullRest)
	}
	return p.shown.Updated.Add(PullGap)
}

// sweepEvery is how often pulls are looked at by requests that pass.
const sweepEvery = time.Second

// sweepLocked takes note of what has changed by time alone.
func (j *Journal) sweepLocked(now time.Time) {
	j.swept = now
	for _, p := range slices.Clone(j.pulls) {
		state, over := p.stateAt(now)
		if state != p.state {
			p.state = state
			j.changedLocked()
		}
		if !p.open(now) {
			j.countPullLocked(p, state)
		}
		if state != StateActive && now.Sub(over) >= pullLinger {
			j.retireLocked(p, now)
		}
	}
}

// countPullLocked counts a pull that is over, once.
func (j *Journal) countPullLocked(p *pull, state string) {
	if p.counted {
		return
	}
	p.counted = true
	if of := &j.registryLocked(p.shown.Registry).pulls; state == StateFailed {
		of.Failed++
	} else {
		of.Done++
	}
}

// retireLocked makes p one of the recent pulls.
func (j *Journal) retireLocked(p *pull, now time.Time) {
	if state, _ := p.stateAt(now); state == StateActive { // it had to make room
		p.state = StateDone
		if len(p.failing) > 0 {
			p.state = StateFailed
		}
	}
	j.countPullLocked(p, p.state)
	shown := p.show(nil, now)
	shown.Contents = slices.Clone(shown.Contents[:min(len(shown.Contents), recentContents)])
	j.oldPulls.add(&shown)
	j.pulls = slices.DeleteFunc(j.pulls, func(o *pull) bool { return o == p })
	p.client.forget(p)
	p.retired = true
	j.contents -= len(p.contents)
	j.changedLocked()
}

// endPullLocked takes note of how a request of a pull ended.
func (j *Journal) endPullLocked(f *Flight, o *Outcome, m *more, l labels, now time.Time) {
	p := f.pull
	p.inFlight--
	if p.retired { // what it had is counted no more
		return
	}
	p.shown.Updated = now
	p.shown.Asked++
	p.shown.Bytes += o.Bytes
	p.cache[l.cache]++
	if m.degraded {
		p.shown.Degraded++
	}
	p.shown.Resumes += m.resumes
	p.shown.ResumedBytes += m.resumed
	if o.Upstream != "" && len(p.shown.Upstreams) < pullUpstreams && !slices.Contains(p.shown.Upstreams, o.Upstream) {
		p.shown.Upstreams = append(p.shown.Upstreams, o.Upstream)
	}
	whole := !o.Failed && !o.Gone && o.Status < 300
	if whole && o.Response != nil && f.kind == kind(pullchain.Manifest) {
		j.learnLocked(p, f.Request, o.Response)
	}
	if f.kind == kind(pullchain.Blob) && !f.Request.Head && o.Status < 300 {
		j.sentLocked(p, f, o, whole)
	}
	p.note(f.Request, o)
}

// note remembers what the client last got an error for. A client that hangs up in a
// layer has given up, unless it has all of it by then: some ask for more than they read.
func (p *pull) note(req *pullchain.Request, o *Outcome) {
	if !o.Failed && !o.Gone && len(p.failing) == 0 || isAttachment(req.Tag) {
		return
	}
	reference, code := referenceOf(req), string(o.Code)
	switch {
	case o.Failed:
		p.shown.Failures++
		p.shown.Code = code
	case o.Gone:
		if c := p.contents[reference]; c == nil || c.done || c.size < 0 {
			return
		}
		code = string(pullchain.CodeCanceled)
	default:
		delete(p.failing, reference)
		return
	}
	if p.failing == nil {
		p.failing = map[string]string{}
	}
	if _, known := p.failing[reference]; known || len(p.failing) < pullFailing {
		p.failing[strings.Clone(reference)] = code
	}
}
