package traffic

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pullchain/pullchain"
)

// What is kept of texts that clients and upstreams choose, in bytes. The grammar of
// names allows no more of a repository and of a reference.
const (
	maxRepo      = 255
	maxReference = 7 + 128 // "sha512:" and the sum
	maxUserAgent = 120
	maxRange     = 60
	maxError     = 200

	traceparentLen = 2 + 1 + 32 + 1 + 16 + 1 + 2 // of version 00, and of any other as far as it is known
)

// The texts of an entry.
const (
	textRepo = iota
	textReference
	textUserAgent
	textRange
	textError
	textTraceparent
	numTexts
)

// An entry is one request that is over, in its place in the ring. Texts of the client
// are copied into a buffer that the next request in this place uses again: a warm answer
// leaves no garbage here, and none of a request's own memory is held. It has few pointers,
// since the garbage collector looks at each of them.
type entry struct {
	id       uint64
	pull     pullNo
	at       int64 // in Unix nanoseconds
	client   *client
	form     string
	registry *registry // the one without a name if the request was for none
	more     *more     // nil of an answer with nothing to tell
	bytes    int64
	ttfb     time.Duration
	took     time.Duration
	status   uint16
	labels   labels
	gone     bool
	failed   bool
	ends     [numTexts]uint16
	text     []byte
}

// more is what there is to tell of a request that upstreams took part in, or that failed.
type more struct {
	upstream string
	code     string
	attempts []Attempt
	resumes  int
	resumed  int64
	degraded bool
}

// nothing is of a request that needs no more.
var nothing more

// newMore returns what there is to tell of how a request ended, or nil.
func newMore(f *Flight, o *Outcome) *more {
	stale := o.Cache == pullchain.CacheStale
	if len(o.Attempts) == 0 && !stale && o.Code == "" && o.Upstream == "" {
		return nil
	}
	m := &more{upstream: o.Upstream, code: string(o.Code), attempts: firstAndLast(o.Attempts)}
	if f.Request != nil {
		m.resumes, m.resumed = resumesOf(o.Attempts, f.Request)
	}
	m.degraded = !o.Failed && (stale || hasTrouble(o.Attempts))
	for i := range m.attempts {
		m.attempts[i].Text = strings.Clone(printable(m.attempts[i].Text, maxError))
	}
	return m
}

// orNothing makes reading simple where there is no more.
func (m *more) orNothing() *more {
	if m == nil {
		return &nothing
	}
	return m
}

// set makes e the entry of a request that was of r.
func (e *entry) set(f *Flight, o *Outcome, r *registry, l labels, m *more) {
	e.id, e.pull, e.at, e.client, e.form, e.registry, e.more = f.ID, 0, f.At.UnixNano(), f.client, f.Form, r, m
	if f.pull != nil {
		e.pull = f.pull.no
	}
	e.bytes, e.ttfb, e.took, e.status = o.Bytes, o.TTFB, o.Took, uint16(o.Status)
	e.labels, e.gone, e.failed = l, o.Gone, o.Failed
	e.text = e.text[:0]
	if f.registry != nil {
		e.put(textRepo, f.Request.Repo, maxRepo)
		e.put(textReference, referenceOf(f.Request), maxReference)
	} else {
		e.ends[textRepo], e.ends[textReference] = 0, 0
	}
	e.put(textUserAgent, o.UserAgent, maxUserAgent)
	e.put(textRange, o.Range, maxRange)
	e.put(textError, o.Error, maxError)
	e.put(textTraceparent, o.Traceparent, traceparentLen)
}

// put appends one of the texts, in their order.
func (e *entry) put(i int, s string, most int) {
	if len(s) > most {
		s = s[:most]
	}
	e.text = append(e.text, s...)
	e.ends[i] = uint16(len(e.text))
}

// string returns one of the texts, safe to show.
func (e *entry) string(i int) string {
	from := uint16(0)
	if i > 0 {
		from = e.ends[i-1]
	}
	return printable(string(e.text[from:e.ends[i]]), int(e.ends[i]-from))
}

// request returns e as a plain value.
func (e *entry) request() Request {
	m := e.more.orNothing()
	attempts := m.attempts
	if attempts == nil {
		attempts = []Attempt{}
	}
	return Request{
		ID: formatID(e.id), Pull: e.pull.String(), At: time.Unix(0, e.at), Client: e.client.key.family, Addr: addrText(e.client.key.addr),
		UserAgent: e.string(textUserAgent), Form: e.form, Registry: e.registry.name, Repo: e.string(textRepo),
		Reference: e.string(textReference), Kind: e.labels.kind.String(), Method: methods[e.labels.method], Status: int(e.status), Bytes: e.bytes,
		TTFBMS: millis(e.ttfb), TookMS: millis(e.took), Cache: string(caches[e.labels.cache]), Upstream: m.upstream, Range: e.string(textRange),
		Attempts: attempts, Code: m.code, Error: e.string(textError), Gone: e.gone, Failed: e.failed, Degraded: m.degraded,
		Resumes: m.resumes, ResumedBytes: m.resumed, Traceparent: e.string(textTraceparent),
	}
}

// formatID writes the number of a request as the access log does.
func formatID(id uint64) string { return strconv.FormatUint(id, 36) }

// millis is a duration in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// addrText is an address as text; empty for a Unix socket's.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// printable cuts s to max bytes and takes out what could steer a terminal or a page:
// control and format characters, and what is no text.
func printable(s string, max int) string {
	if len(s) > max {
		for max > 0 && !utf8.RuneStart(s[max]) {
			max--
		}
		s = s[:max]
	}
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return '?'
		}
		return r
	}, s)
}
