package warm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/wire"
)

// blob fetches a blob and throws it away; got is told of each piece. A body that
// is cut is resumed where it ended.
func (m *Mirror) blob(ctx context.Context, img Image, d digest.Digest, got func(n int)) (word Cached, err error) {
	s := download{m: m, img: img, digest: d, got: got}
	err = m.again(ctx, func() (int64, error) { return s.read(ctx) })
	return s.word, err
}

// ErrNotKept is the error of a blob that passes through and leaves nothing.
var ErrNotKept = errors.New("the cache does not keep it")

// A download is how far the reading of a blob has come.
type download struct {
	m      *Mirror
	img    Image
	digest digest.Digest
	got    func(n int)
	at     int64
	word   Cached // of the first answer
}

// read reads on to the blob's end, and returns how many bytes that brought.
func (s *download) read(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := s.m.ask(ctx, http.MethodGet, s.img, "blobs", s.digest.String(), s.at)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if s.word == "" {
		s.word = cachedBy(resp.Header)
	}
	// A blob that is not kept would be fetched for nothing, and count against the
	// upstream's limits.
	if s.word == NotKept {
		return 0, ErrNotKept
	}
	skip, err := s.begins(resp)
	if err != nil {
		return 0, err
	}
	// Not a time-out of the whole: a layer may take an hour over a slow line, as
	// long as something comes.
	silence := time.AfterFunc(mirrorSilent, func() { cancel(fmt.Errorf("no byte for %v", mirrorSilent)) })
	defer silence.Stop()
	began := s.at
	buf := make([]byte, 128<<10)
	for {
		n, err := resp.Body.Read(buf)
		silence.Reset(mirrorSilent)
		old := min(int64(n), skip)
		skip -= old
		s.at += int64(n) - old
		s.got(n - int(old))
		switch {
		case errors.Is(err, io.EOF):
			return s.at - began, nil
		case err != nil:
			return s.at - began, cmp.Or(context.Cause(ctx), err)
		}
	}
}

// begins returns how many bytes at the beginning of an answer we have already.
func (s *download) begins(resp *http.Response) (skip int64, err error) {
	if resp.StatusCode == http.StatusOK {
		return s.at, nil
	}
	r, err := wire.ParseContentRange(resp.Header.Get("Content-Range"))
	if err == nil && r.Range.From != s.at {
		err = fmt.Errorf("it goes on at byte %d and not %d", r.Range.From, s.at)
	}
	return 0, err
}
