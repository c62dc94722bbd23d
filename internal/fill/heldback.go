package fill

import (
	"bytes"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
)

// heldBack reads the rest of a blob, and keeps its end until the digest of the
// whole is known to be right.
type heldBack struct {
	src  io.Reader
	want digest.Digest
	left int64 // how many bytes are still to come; negative if it is not known
	sum  hash.Hash
	held bytes.Buffer // read, and not let go of
	err  error        // how src ended
}

func newHeldBack(src io.Reader, want digest.Digest, left int64) *heldBack {
	return &heldBack{src: src, want: want, left: left, sum: want.Algorithm().Hash()}
}

// skip hashes the first n bytes, which have been read from elsewhere.
func (h *heldBack) skip(file io.ReaderAt, n int64) error {
	_, err := io.Copy(h.sum, io.NewSectionReader(file, 0, n))
	return err
}

func (h *heldBack) Read(p []byte) (int, error) {
	for h.err == nil && h.held.Len() <= holdBack {
		h.more()
	}
	free := h.held.Len()
	if h.err == nil {
		free -= holdBack
	}
	if free == 0 {
		return 0, h.err
	}
	return h.held.Read(p[:min(len(p), free)])
}

// more reads some, and judges the whole at its end.
func (h *heldBack) more() {
	var buf [32 << 10]byte
	n, err := h.src.Read(buf[:])
	h.sum.Write(buf[:n])
	h.held.Write(buf[:n])
	if h.left >= 0 {
		if h.left -= int64(n); h.left < 0 {
			err = mismatched("more bytes than the blob has")
		}
	}
	if h.err = err; err == nil {
		return
	}
	got := digest.NewDigest(h.want.Algorithm(), h.sum)
	if err == io.EOF && (got != h.want || h.left > 0) {
		h.err = mismatched("asked for %s, got %s", h.want, got)
	}
	if h.err != io.EOF {
		h.held.Reset() // no reader gets the end of it
	}
}
