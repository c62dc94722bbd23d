package simnet

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A writer is the ResponseWriter of every handler: it tells the ledger what
// was sent, and it is where the faults of an answer happen.
type writer struct {
	http.ResponseWriter
	req    *http.Request
	conn   *conn
	rec    *record
	faults []*armed

	wrote bool
	base  int64  // offset in the resource of the body's first byte
	sent  int64  // body bytes before compression
	limit int64  // cut after that many; -1 is never
	cut   *armed // the fault of limit ...
	how   Ending // ... and how it ends the body
	ended bool   // after EndClean
	gz    *gzip.Writer
}

// before plays the faults that come ahead of the handler.
func (w *writer) before() {
	for _, a := range w.faults {
		if a.Delay > 0 {
			sleep(w.req.Context(), a.Delay)
		}
		if a.Garbage != "" {
			w.garbage(a.Garbage)
		}
		if a.Drop != EndNormal {
			w.end(a, a.Drop)
		}
		if a.IgnoreRange {
			w.req.Header.Del("Range")
		}
	}
}

// handler returns what answers: a fault that has its own answer, or real.
func (w *writer) handler(real http.Handler) http.Handler {
	for _, a := range w.faults {
		switch {
		case a.Respond != nil:
			return a.Respond
		case a.Status != 0:
			return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
				rw.WriteHeader(a.Status)
				_, _ = io.WriteString(rw, a.Body)
			})
		}
	}
	return real
}

// garbage writes raw bytes to the connection and closes it.
func (w *writer) garbage(raw string) {
	w.rec.cut()
	if c, _, err := http.NewResponseController(w.ResponseWriter).Hijack(); err == nil {
		_, _ = io.WriteString(c, raw)
		_ = c.Close()
	}
	panic(http.ErrAbortHandler)
}

// end breaks the answer off. It returns only for EndClean.
func (w *writer) end(a *armed, how Ending) {
	w.rec.cut()
	if w.wrote {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	switch how {
	case EndClean:
		w.ended = true
		return
	case EndRST:
		// Unsent bytes die with a reset: let the client have what it was promised.
		sleep(w.req.Context(), 20*time.Millisecond)
		if w.conn != nil {
			w.conn.reset()
		}
	case EndStall:
		select {
		case <-a.lifted:
		case <-w.req.Context().Done():
		}
	}
	panic(http.ErrAbortHandler)
}

// WriteHeader applies the faults of headers.
func (w *writer) WriteHeader(status int) {
	if w.wrote {
		return
	}
	h := w.Header()
	w.base = rangeStart(h.Get("Content-Range"))
	size, _ := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	for _, a := range w.faults {
		w.spoilHeader(a, h)
		w.setLimit(a, size)
		if a.As != 0 && status == http.StatusOK {
			status = a.As
		}
	}
	w.wrote = true
	w.rec.status(status)
	w.ResponseWriter.WriteHeader(status)
	for _, a := range w.faults {
		if a.NoLength || a.Gzip || a.FirstByteWait > 0 {
			_ = http.NewResponseController(w.ResponseWriter).Flush() // else net/http counts small bodies itself
		}
		sleep(w.req.Context(), a.FirstByteWait)
	}
}

// setLimit sees to the end of a body of size bytes. The first fault wins.
func (w *writer) setLimit(a *armed, size int64) {
	switch {
	case w.cut != nil:
	case a.Cut != EndNormal && a.CutFraction > 0:
		w.cut, w.how, w.limit = a, a.Cut, int64(float64(size)*a.CutFraction)
	case a.Cut != EndNormal:
		w.cut, w.how, w.limit = a, a.Cut, a.CutAt
	case a.LengthShift < 0: // net/http refuses to write more than it has promised
		w.cut, w.how, w.limit = a, EndClean, max(size+a.LengthShift, 0)
	}
}

// spoilHeader applies one fault to the headers.
func (w *writer) spoilHeader(a *armed, h http.Header) {
	for k, v := range a.Header {
		h.Set(k, v)
		if v == "" {
			h.Del(k)
		}
	}
	if a.DateSkew != 0 {
		h.Set("Date", time.Now().Add(a.DateSkew).UTC().Format(http.TimeFormat))
	}
	const line = 1 << 10
	for i := 0; i*line < a.HeaderBytes; i++ {
		h.Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", min(line, a.HeaderBytes-i*line)))
	}
	if a.RangeShift != 0 || a.TotalShift != 0 {
		shiftRange(h, a.RangeShift, a.TotalShift)
	}
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && a.LengthShift != 0 {
		h.Set("Content-Length", strconv.FormatInt(max(n+a.LengthShift, 0), 10))
	}
	if a.NoLength || a.Gzip {
		h.Del("Content-Length")
	}
	if a.Gzip && w.gz == nil {
		if a.Header["Content-Encoding"] == "" {
			h.Set("Content-Encoding", "gzip")
		}
		w.gz, _ = gzip.NewWriterLevel(w.ResponseWriter, gzip.BestSpeed) // the race detector makes the others very slow
	}
}

// Write sends body bytes, spoiled as the faults want.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.ended || w.req.Method == http.MethodHead {
		return len(p), nil
	}
	whole := len(p)
	if w.limit >= 0 && w.sent+int64(whole) > w.limit {
		if _, err := w.send(p[:w.limit-w.sent]); err != nil {
			return 0, err
		}
		w.end(w.cut, w.how)
		return whole, nil
	}
	return w.send(p)
}

// send sends p at the pace of the tightest throttle, in steps of a twentieth of a
// second: a client is to see a slow stream, and not one that comes in gulps.
func (w *writer) send(p []byte) (int, error) {
	if err := w.req.Context().Err(); err != nil { // also when the Net is closed under a throttled body
		return 0, err
	}
	p = w.flip(p)
	rate := w.rate()
	if rate == 0 {
		return w.put(p)
	}
	step, done := int(max(rate/20, 1)), 0
	for done < len(p) {
		n := min(step, len(p)-done)
		if w.conn != nil && !w.conn.pace(w.req.Context(), n, rate) {
			return done, w.req.Context().Err()
		}
		if _, err := w.put(p[done : done+n]); err != nil {
			return done, err
		}
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		done += n
	}
	return done, nil
}

// put writes p and enters it in the ledger.
func (w *writer) put(p []byte) (n int, err error) {
	if w.gz != nil {
		n, err = w.gz.Write(p)
	} else {
		n, err = w.ResponseWriter.Write(p)
	}
	w.sent += int64(n)
	w.rec.sent(n)
	if err != nil {
		w.rec.cut()
	}
	return n, err
}

// flip returns p with the bits flipped that lie in it; p itself is shared and
// stays as it is.
func (w *writer) flip(p []byte) []byte {
	for _, a := range w.faults {
		at := a.FlipAt - w.base - w.sent
		if a.Flip && at >= 0 && at < int64(len(p)) {
			p = append([]byte(nil), p...)
			p[at] ^= 1
		}
	}
	return p
}

// rate is the tightest throttle, 0 for none.
func (w *writer) rate() int64 {
	var rate int64
	for _, a := range w.faults {
		if a.BytesPerSec > 0 && (rate == 0 || a.BytesPerSec < rate) {
			rate = a.BytesPerSec
		}
	}
	return rate
}

// finish ends an answer whose handler has returned.
func (w *writer) finish() {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	if w.gz != nil {
		_ = w.gz.Close()
	}
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// ReadFrom copies with large writes, which is what makes big blobs cheap.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rangeStart is the first offset in a Content-Range, 0 if there is none.
func rangeStart(contentRange string) int64 {
	var start int64
	_, _ = fmt.Sscanf(contentRange, "bytes %d-", &start)
	return start
}

// shiftRange falsifies a Content-Range.
func shiftRange(h http.Header, by, total int64) {
	var from, to, size int64
	if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil {
		return
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from+by, to+by, size+total))
}
