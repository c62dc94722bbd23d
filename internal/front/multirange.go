package front

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// maxParts is how many ranges one request may ask for; of more, the whole is served.
const maxParts = 100

// A multirange answers a request for several ranges of a blob with
// multipart/byteranges (RFC 9110 14.6 and 15.3.7.2), as podman asks for what it misses
// of a zstd:chunked layer. Each part is a request of its own to the chain, one after
// the other: no upstream ever sees several ranges in one, which many answer with the
// whole, 416 or 501, and the cache serves each from what it has or is about to have.
//
// Parts stay as many as were asked for, in that order, also where they touch: podman
// counts them and gives up on fewer (containers/image, docker/docker_image_src.go,
// handle206Response), and it asks for touching ones whenever two files that it misses
// lie side by side. So that a few bytes of a request cannot ask for a blob many times
// over, the whole is served where the ranges are longer than it, as net/http and nginx do.
//
// Where a cache brings them, several parts are opened ahead of their turn, so that they
// are fetched beside each other: forty parts are not forty round trips, and no more than
// they is fetched.
type multirange struct {
	*exchange
	left     []pullchain.Range // to open yet, in the client's order
	opened   []openPart        // before their turn, in order
	total    int64             // size of the blob; -1 until it is known
	boundary string
}

// An openPart is a part whose answer is there.
type openPart struct {
	want pullchain.Range
	resp pullchain.Response
}

// maxAhead is how many parts are open ahead of their turn: each holds a file.
const maxAhead = 16

// read fetches and answers.
func (m *multirange) read() {
	m.left, m.total = m.parts, -1
	if slices.ContainsFunc(m.parts, pullchain.Range.Whole) {
		m.whole()
		return
	}
	var err error
	if m.resp, err = m.open(); err != nil {
		m.fail(err)
		return
	}
	if m.resp.Status != http.StatusPartialContent { // the chain has the whole to give
		m.parts = nil
		defer m.resp.Body.Close()
		answer{m.exchange}.write()
		return
	}
	m.total = m.resp.Size
	m.dropBeyond()
	switch {
	case m.tooLong():
		m.resp.Body.Close()
		m.whole()
	case len(m.left) == 0: // all others lie beyond the end
		m.ranged = true
		defer m.resp.Body.Close()
		answer{m.exchange}.write()
	default:
		m.stream()
	}
}

// whole answers with all of the blob.
func (m *multirange) whole() {
	m.parts, m.req.Range = nil, pullchain.Range{}
	m.exchange.read()
}

// open asks for the first of the ranges that are left and can be satisfied. That none
// of them can is an error, and there is always one that says so.
func (m *multirange) open() (pullchain.Response, error) {
	for {
		m.req.Range, m.left = m.left[0], m.left[1:]
		resp, err := m.fetch()
		e := errorOf(err)
		if err == nil || e.Status != http.StatusRequestedRangeNotSatisfiable {
			return resp, err
		}
		if m.total < 0 && e.Size > 0 {
			m.total = e.Size
		}
		m.dropBeyond()
		if len(m.left) == 0 {
			return resp, err
		}
	}
}

// dropBeyond drops the ranges that lie beyond the end, which an answer leaves out as
// long as there is another, and puts the others into absolute terms.
func (m *multirange) dropBeyond() {
	if m.total < 0 {
		return
	}
	var inside []pullchain.Range
	for _, r := range m.left {
		if abs, ok := wire.ResolveRange(r, m.total); ok {
			inside = append(inside, abs)
		}
	}
	m.left = inside
}

// tooLong reports whether the parts together are longer than the whole.
func (m *multirange) tooLong() bool {
	sum := length(&m.resp)
	for _, r := range m.left {
		sum += r.To - r.From
	}
	return m.total >= 0 && sum > m.total
}

// stream sends the parts, of which the first is open already. The headers wait for its
// first bytes, as with any answer.
func (m *multirange) stream() {
	m.boundary = strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)
	m.answered()
	defer m.closeOpened()
	m.openAhead()
	err := m.part()
	for err == nil && len(m.opened)+len(m.left) > 0 {
		err = m.next()
	}
	if err == nil {
		_, err = m.rec.writePaced([]byte(m.trailer()))
	}
	switch {
	case err == nil:
		m.rec.pace.finish()
	case m.rec.status == 0:
		m.fail(err)
	default:
		answer{m.exchange}.cut(err, m.total < 0)
	}
}

// openAhead opens parts before their turn. One that cannot be had is asked for again
// when it is its turn, and fails then.
func (m *multirange) openAhead() {
	for m.total >= 0 && len(m.left) > 0 && len(m.opened) < maxAhead && m.cached() {
		want, first := m.left[0], m.req.Range
		m.req.Range = want
		resp, err := m.fetch()
		m.req.Range = first
		if err != nil {
			return
		}
		m.opened, m.left = append(m.opened, openPart{want, resp}), m.left[1:]
		if resp.Cache == pullchain.CacheBypass {
			return
		}
	}
}

// cached reports whether a cache is about to have what is open. What it has already is
// opened in no time; and without one a part that is opened is a request to an upstream,
// which would wait for its turn with its connection.
func (m *multirange) cached() bool {
	switch m.resp.Cache {
	case pullchain.CacheMiss, pullchain.CacheCoalesced:
		return true
	}
	return false
}

func (m *multirange) closeOpened() {
	for _, p := range m.opened {
		p.resp.Body.Close()
	}
}

// next sends the next part. That it lies beyond the end, and is left out, can only
// show here where the size is not known.
func (m *multirange) next() error {
	if len(m.opened) > 0 {
		m.resp, m.req.Range, m.opened = m.opened[0].resp, m.opened[0].want, m.opened[1:]
		m.openAhead()
		return m.part()
	}
	resp, err := m.open()
	if err != nil {
		if m.total < 0 && errorOf(err).Status == http.StatusRequestedRangeNotSatisfiable {
			return nil
		}
		return err
	}
	m.resp = resp
	return m.part()
}

// part sends the part that is open, and closes it.
func (m *multirange) part() error {
	defer m.resp.Body.Close()
	m.ranged = true
	if err := (answer{m.exchange}).check(); err != nil {
		return err
	}
	resp, want := &m.resp, m.req.Range.To
	if resp.Status != http.StatusPartialContent || resp.Size != m.total || m.total >= 0 && want > 0 && resp.Range.To != min(want, m.total) {
		return &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongRange, Err: errors.New("a part that does not fit the others")}
	}
	// Only the first part's head goes with the headers, which wait for its first byte.
	var unsent error
	if m.rec.status == 0 {
		err := answer{m.exchange}.sendBody(func() {
			m.sendHeader()
			_, unsent = m.rec.writePaced([]byte(m.partHead(resp.Range, true)))
		})
		return cmp.Or(err, unsent)
	}
	if _, unsent = m.rec.writePaced([]byte(m.partHead(resp.Range, false))); unsent != nil {
		return unsent
	}
	return answer{m.exchange}.sendBody(func() {})
}

// unsent is what follows the part at hand.
func (m *multirange) unsent() []pullchain.Range {
	var ranges []pullchain.Range
	for _, p := range m.opened {
		ranges = append(ranges, p.want)
	}
	return append(ranges, m.left...)
}

// partHead is what stands before the bytes of a part.
func (m *multirange) partHead(r pullchain.Range, first bool) string {
	head := "--" + m.boundary + "\r\nContent-Type: application/octet-stream\r\nContent-Range: " +
		wire.ContentRange{Range: r, Total: m.total}.String() + "\r\n\r\n"
	if first {
		return head
	}
	return "\r\n" + head
}

// trailer is what stands behind the last part.
func (m *multirange) trailer() string { return "\r\n--" + m.boundary + "--\r\n" }

// sendHeader sends the headers of the answer, when the first part is open. Its length
// is known where the blob's is.
func (m *multirange) sendHeader() {
	answer{m.exchange}.setValidators()
	m.rec.setHeader("Content-Type", "multipart/byteranges; boundary="+m.boundary)
	m.rec.setHeader("X-Content-Type-Options", "nosniff")
	m.rec.setHeader("Accept-Ranges", "bytes")
	if m.total >= 0 {
		n := int64(len(m.partHead(m.resp.Range, true)+m.trailer())) + length(&m.resp)
		for _, r := range m.unsent() {
			n += int64(len(m.partHead(r, false))) + r.To - r.From
		}
		m.rec.setHeader("Content-Length", strconv.FormatInt(n, 10))
	}
	m.rec.WriteHeader(http.StatusPartialContent)
}
