package front

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// copySize is what one read of a body may bring. Anything from 32 KiB up costs
// about the same over loopback (BenchmarkBlobStream), TLS brings 16 KiB a read at most,
// and each stream holds one of these.
const copySize = 64 << 10

// Every paceBytes of an answer have paceTime to leave: a client slower than
// 17 KiB/s for a minute is dropped (FAULTS.md F32).
const (
	paceBytes = 1 << 20
	paceTime  = 60 * time.Second
)

var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// errClient marks an error of writing to the client.
var errClient = errors.New("the client did not take the answer")

// A copier copies a body to a client and lets no wrong body look whole: the last
// piece is sent only after the body has ended without an error and at the size
// declared (FAULTS.md F18-F20).
type copier struct {
	dst    io.Writer
	src    io.Reader
	left   int64 // bytes still to come; negative if unknown
	pace   pacer
	header func() // sends the headers; called once, before the first byte
}

// run copies until the end. A nil error means that the client has everything.
func (c *copier) run() error {
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	first := true
	for {
		n, err := c.read(buf[:])
		if err != nil && err != io.EOF && (n == 0 || pullchain.ReasonOf(err) == pullchain.Corrupt) {
			return err // bytes that come with the news that they are wrong stay here
		}
		if first {
			c.header()
			first = false
		}
		if n > 0 {
			if werr := c.pace.write(c.dst, buf[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF:
			c.pace.finish()
			return nil
		case err != nil:
			return err
		}
	}
}

// read returns the next bytes. It returns io.EOF only if the body ended and had
// the declared size, and the bytes that complete that size only with io.EOF.
func (c *copier) read(buf []byte) (int, error) {
	n, err := c.src.Read(buf)
	if c.left < 0 {
		return n, err
	}
	if int64(n) > c.left {
		return 0, wrongSize("more bytes than were declared")
	}
	c.left -= int64(n)
	if c.left == 0 && err == nil {
		err = c.end()
	}
	switch {
	case c.left > 0 && err == io.EOF:
		return n, truncated(c.left)
	case c.left == 0 && err != io.EOF:
		return 0, err
	}
	return n, err
}

// end makes sure that the body has ended: one that checks its own digest says so
// at its end only.
func (c *copier) end() error {
	var extra [1]byte
	for {
		n, err := c.src.Read(extra[:])
		switch {
		case n > 0:
			return wrongSize("more bytes than were declared")
		case err != nil:
			return err
		}
	}
}

func wrongSize(why string) error {
	return &pullchain.Error{Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Err: errors.New(why)}
}

func truncated(missing int64) error {
	return &pullchain.Error{
		Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: fmt.Errorf("%d bytes are missing", missing),
	}
}

// A pacer gives a client its time to take each paceBytes. Only time spent in
// writing counts: a slow upstream is not the client's fault.
type pacer struct {
	rc    *http.ResponseController
	http2 bool
	bytes int
	spent time.Duration
}

func newPacer(w http.ResponseWriter, r *http.Request) pacer {
	return pacer{rc: http.NewResponseController(w), http2: r.ProtoMajor == 2}
}

func (p *pacer) write(w io.Writer, b []byte) error {
	start := time.Now()
	_ = p.rc.SetWriteDeadline(start.Add(paceTime - p.spent)) // what has no deadlines has no slow clients
	n, err := w.Write(b)
	if err != nil {
		return fmt.Errorf("%w: %w", errClient, err)
	}
	if p.http2 {
		// There (and only there) the deadline would reset the stream while we wait for the upstream.
		_ = p.rc.SetWriteDeadline(time.Time{})
	}
	p.spent += time.Since(start)
	if p.bytes += n; p.bytes >= paceBytes {
		p.bytes, p.spent = 0, 0
	}
	return nil
}

// finish gives the client its time for what net/http still holds.
func (p *pacer) finish() { _ = p.rc.SetWriteDeadline(time.Now().Add(paceTime)) }
