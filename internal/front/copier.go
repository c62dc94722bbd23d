package front

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pullchain/pullchain"
)

// copySize is what one read of a body may bring. Anything from 32 KiB up costs
// about the same over loopback (BenchmarkBlobStream), TLS brings 16 KiB a read at most,
// and each stream holds one of these.
const copySize = 64 << 10

// trickle is below what does not wait in net/http's buffer for more to come, which is as
// large: from an upstream that trickles, not even the headers would reach the client.
const trickle = 4 << 10

var buffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// errClient marks an error of writing to the client.
var errClient = errors.New("the client did not take the answer")

// A copier copies a body to a client and lets no wrong body look whole: the last
// piece is sent only after the body has ended without an error and at the size
// declared (docs/faults.md F18-F20).
type copier struct {
	dst    *recorder
	src    io.Reader
	left   int64  // bytes still to come; negative if unknown
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
			if _, werr := c.dst.writePaced(buf[:n]); werr != nil {
				return werr
			}
			if n < trickle && err == nil {
				if err := c.dst.flush(); err != nil {
					return err
				}
			}
		}
		switch {
		case err == io.EOF:
			c.dst.pace.finish()
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
	// The declared size has come. Whether that is all, and right, only the end of
	// the body says: the last bytes stay here until then.
	if c.left == 0 && err == nil {
		err = c.end(buf[n:])
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
// at its end only. It reads into spare, if there is room.
func (c *copier) end(spare []byte) error {
	if len(spare) == 0 {
		spare = make([]byte, 1)
	}
	for {
		n, err := c.src.Read(spare[:1])
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
