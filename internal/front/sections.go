package front

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/pullchain/pullchain"
)

// A sectionSender sends the Sections of a body to a client and lets no wrong body
// look whole: what may not be sent yet is the body's to say, and that it has the
// declared size is checked here (docs/faults.md F18-F20). What lies in a file goes to a
// socket by sendfile, without a copy in this process.
type sectionSender struct {
	dst    *recorder
	src    pullchain.Sections
	left   int64     // bytes still to come; negative if unknown
	direct bool      // dst is a socket's, which takes a file as it is
	header func()    // sends the headers; called once, before the first byte
	late   bool      // the first byte may come late: the headers do not wait for it for long
	end    *chunkEnd // where the client seems to hang up; nil if it asked for all that it reads

	begun bool // the headers are sent

	file *os.File // sent from last, with its offset
	at   int64
}

// run sends until the end. A nil error means that the client has everything.
func (s *sectionSender) run() error {
	for first := true; ; first = false {
		section, err := s.nextOrHeader(first && s.late)
		if err != nil && err != io.EOF {
			return err
		}
		if first {
			s.sendHeader()
		}
		if err == io.EOF {
			s.dst.pace.finish()
			return nil
		}
		// One call sends no more than the pace has a deadline for. A section may be
		// gigabytes, and sendfile comes back only when all of it has gone.
		section.Size = min(section.Size, s.dst.pace.room())
		if s.end != nil {
			switch left := s.end.left(); {
			case left > 0:
				section.Size = min(section.Size, left)
			case left == 0 && s.end.sent > 0:
				if err := s.dst.flush(); err != nil { // the client waits for the last of its chunk
					return err
				}
				if s.end.wait() {
					return fmt.Errorf("%w: it has hung up", errClient)
				}
			}
		}
		sent, err := s.send(section)
		if s.end != nil {
			s.end.sent += sent
		}
		s.src.Sent(sent)
		if s.left >= 0 {
			s.left -= sent
		}
		if err != nil {
			return err
		}
		if sent < trickle && s.left != 0 {
			if err := s.dst.flush(); err != nil {
				return err
			}
		}
	}
}

// headerPatience is how long the headers wait for the first byte of a body that may be
// late: as long as that, an error can still be told in words. containerd gives up after
// 30 s (docs/protocol.md 4.3), of which a fill may have taken ten.
const headerPatience = 10 * time.Second

// nextOrHeader is next, and sends the headers meanwhile if that takes long and they may
// go first.
func (s *sectionSender) nextOrHeader(early bool) (pullchain.Section, error) {
	if !early {
		return s.next()
	}
	type result struct {
		section pullchain.Section
		err     error
		panics  any // which net/http recovers in the goroutine of the request alone
	}
	ready := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			r.panics = recover()
			ready <- r
		}()
		r.section, r.err = s.next()
	}()
	patience := time.NewTimer(headerPatience)
	defer patience.Stop()
	var r result
	var flushed error
	select {
	case r = <-ready:
	case <-patience.C:
		s.sendHeader()
		flushed = s.dst.flush()
		r = <-ready
	}
	if r.panics != nil {
		panic(r.panics)
	}
	return r.section, cmp.Or(flushed, r.err)
}

func (s *sectionSender) sendHeader() {
	if !s.begun {
		s.begun = true
		s.header()
	}
}

// next is Next for a body that is not trusted to have the size it declared.
func (s *sectionSender) next() (pullchain.Section, error) {
	section, err := s.src.Next()
	switch {
	case err == io.EOF && s.left > 0:
		return section, truncated(s.left)
	case err != nil:
		return section, err
	case section.Size <= 0:
		return section, errors.New("a body that is neither ready nor at its end")
	case s.left >= 0 && section.Size > s.left:
		return section, wrongSize("more bytes than were declared")
	}
	return section, nil
}

// send sends a section, and returns how many of its bytes it did.
func (s *sectionSender) send(section pullchain.Section) (sent int64, err error) {
	// A file is a faster way and no requirement: content that only reads at offsets
	// is copied, with the same checks.
	if file, ok := section.Content.(*os.File); ok && s.direct && section.Size > copySize {
		sent, err = s.sendFile(file, section.Offset, section.Size)
	} else {
		sent, err = s.copy(section)
	}
	if err == nil && sent < section.Size { // the file was cut
		return sent, truncated(max(s.left, section.Size) - sent)
	}
	return sent, err
}

// sendFile has the kernel send n bytes of file. It does so from the file's own
// offset, which is where the last bytes ended as a rule.
func (s *sectionSender) sendFile(file *os.File, offset, n int64) (sent int64, err error) {
	if file != s.file || offset != s.at {
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return 0, readFailed(err)
		}
	}
	sent, err = s.dst.sendFile(file, n)
	s.file, s.at = file, offset+sent
	return sent, err
}

// copy is send where the kernel cannot: TLS and HTTP/2 have to see the bytes, and
// of a few of them a copy is cheaper than a packet of their own.
func (s *sectionSender) copy(section pullchain.Section) (sent int64, err error) {
	buf := buffers.Get().(*[copySize]byte)
	defer buffers.Put(buf)
	for sent < section.Size {
		got, err := section.Content.ReadAt(buf[:min(section.Size-sent, copySize)], section.Offset+sent)
		wrote, werr := s.dst.writePaced(buf[:got])
		sent += wrote
		switch {
		case werr != nil:
			return sent, werr
		case err == io.EOF:
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
