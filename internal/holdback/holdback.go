// Package holdback reads content that a digest names, and keeps its end until the
// digest is known to be right. So no client ever holds complete content that is
// wrong: what it has got by then is too short, and its transfer fails (docs/faults.md
// F20). Until then bytes pass as they come, which waiting for the digest of the
// whole would not allow.
//
// It knows nothing of upstreams or files: errors of the source come out as they
// are, and what a mismatch means is for the caller to say.
package holdback

import (
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// Tail is how much of the end is held back, in bytes (docs/faults.md F20).
const Tail = 64 << 10

// A MismatchError says that the content is not what its digest names. It comes in
// the place of the end that was held back.
type MismatchError struct {
	Want, Got digest.Digest
}

func (e *MismatchError) Error() string { return fmt.Sprintf("asked for %s, got %s", e.Want, e.Got) }

// A Reader passes on what it reads, but for the end. Read returns io.EOF after the
// last byte of content that is right, a [*MismatchError] if it is wrong, or the
// error of the source, in which case nothing of the end is passed on either. It is
// not safe for concurrent use.
type Reader struct {
	src  io.Reader
	want digest.Digest
	left int64 // to come from src; negative if that is not known
	sum  hash.Hash
	buf  []byte // what is held; allocated when it is first needed
	r, w int    // held is buf[r:w]
	err  error  // how src ended
}

// New returns a Reader of src, which has the content that want names, or the last
// left bytes of it: then [Reader.Hash] must be given those before. left is negative
// if it is not known; what src has beyond left is not read. The algorithm of want
// must be available.
//
// With left known, all but the last bytes are read straight into the caller's
// buffer. Else they pass through one of the Reader's.
func New(src io.Reader, want digest.Digest, left int64) *Reader {
	return &Reader{src: src, want: want, left: left, sum: want.Algorithm().Hash()}
}

// Hash counts the first n bytes of at as read already. It is called before the
// first Read.
func (r *Reader) Hash(at io.ReaderAt, n int64) error {
	copied, err := io.Copy(r.sum, io.NewSectionReader(at, 0, n))
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.err == nil && r.left > Tail {
		return r.pass(p)
	}
	for r.err == nil && (r.left >= 0 || r.w-r.r <= Tail) {
		r.hold()
	}
	free := r.w - r.r
	if r.err == nil {
		free -= Tail
	}
	if free == 0 {
		return 0, r.err
	}
	n := copy(p, r.buf[r.r:r.r+free])
	r.r += n
	return n, nil
}

// pass reads into p what lies before the end.
func (r *Reader) pass(p []byte) (int, error) {
	n, err := r.src.Read(p[:min(int64(len(p)), r.left-Tail)])
	r.sum.Write(p[:n])
	r.left -= int64(n)
	if err != nil {
		r.end(err)
	}
	return n, r.err
}

// unknownBuffer is what a Reader of unknown size holds: the more it is, the less
// often the end is moved to its front.
const unknownBuffer = 4 * Tail

// hold reads some more behind what is held, and judges the whole at its end.
func (r *Reader) hold() {
	if r.buf == nil {
		size := int64(unknownBuffer)
		if r.left >= 0 {
			size = r.left
		}
		r.buf = make([]byte, size)
	}
	if r.left == 0 {
		r.end(io.EOF)
		return
	}
	if r.w == len(r.buf) { // of unknown size: at most Tail bytes are held
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	n, err := r.src.Read(r.buf[r.w:])
	r.sum.Write(r.buf[r.w : r.w+n])
	r.w += n
	if r.left >= 0 {
		r.left -= int64(n)
	}
	if err != nil {
		r.end(err)
	}
}

// end keeps how the source ended, and drops what is held unless it is right. An
// early end shows in the digest.
func (r *Reader) end(err error) {
	if r.err = err; err == io.EOF {
		if got := digest.NewDigest(r.want.Algorithm(), r.sum); got != r.want {
			r.err = &MismatchError{Want: r.want, Got: got}
		}
	}
	if r.err != io.EOF {
		r.r, r.w = 0, 0
	}
}
