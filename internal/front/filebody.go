package front

import (
	"errors"
	"io"
	"os"

	"github.com/pullchain/pullchain"
)

// A fileBody is a Body whose bytes lie in a file, as those of the cache do: they
// can go to a socket by sendfile, without a copy in this process. Whoever uses
// these methods does not call Read.
type fileBody interface {
	// File returns the file, its offset at the next byte to send. It may be
	// another one after each Ready.
	File() *os.File

	// Ready waits until there are bytes that may be sent, and returns how many,
	// or 0 and io.EOF at the end. Any other error means that the rest will never
	// come.
	Ready() (int64, error)

	// Sent says that n bytes have been read from the file and sent.
	Sent(n int64)
}

// A fileSender sends a fileBody to a client and lets no wrong body look whole:
// what may not be sent yet is the body's to say, and that it has the declared
// size is seen to here (FAULTS.md F18-F20).
type fileSender struct {
	dst    *recorder
	src    fileBody
	left   int64  // bytes still to come; negative if unknown
	direct bool   // dst is a socket's, which takes a file as it is
	header func() // sends the headers; called once, before the first byte
}

// run sends until the end. A nil error means that the client has everything.
func (s *fileSender) run() error {
	for first := true; ; first = false {
		n, err := s.ready()
		if err != nil && err != io.EOF {
			return err
		}
		if first {
			s.header()
		}
		if err == io.EOF {
			s.dst.pace.finish()
			return nil
		}
		sent, err := s.send(min(n, s.dst.pace.room()))
		s.src.Sent(sent)
		if s.left >= 0 {
			s.left -= sent
		}
		if err != nil {
			return err
		}
	}
}

// ready is Ready for a body that is not trusted to have the size it declared.
func (s *fileSender) ready() (int64, error) {
	n, err := s.src.Ready()
	switch {
	case err == io.EOF && s.left > 0:
		return 0, truncated(s.left)
	case err != nil:
		return 0, err
	case n <= 0:
		return 0, errors.New("a body that is neither ready nor at its end")
	case s.left >= 0 && n > s.left:
		return 0, wrongSize("more bytes than were declared")
	}
	return n, nil
}

// send sends the next n bytes of the file, and returns how many of them it did.
func (s *fileSender) send(n int64) (sent int64, err error) {
	if s.direct && n > copySize {
		sent, err = s.dst.sendFile(s.src.File(), n)
	} else {
		sent, err = s.copy(s.src.File(), n)
	}
	if err == nil && sent < n { // somebody cut the file
		return sent, truncated(max(s.left, n) - sent)
	}
	return sent, err
}

// copy is send where the kernel cannot: TLS and HTTP/2 have to see the bytes, and
// of a few of them a copy is cheaper than a packet of their own.
func (s *fileSender) copy(file *os.File, n int64) (sent int64, err error) {
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	for sent < n {
		got, err := io.ReadFull(file, buf[:min(n-sent, copySize)])
		wrote, werr := s.dst.writePaced(buf[:got])
		sent += wrote
		switch {
		case werr != nil:
			return sent, werr
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return sent, nil
		case err != nil:
			return sent, readFailed(err)
		}
	}
	return sent, nil
}

// readFailed is the error of a disk that does not give back what is on it.
func readFailed(err error) error {
	return &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTruncated, Err: err}
}
