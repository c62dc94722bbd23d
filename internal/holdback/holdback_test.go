package holdback_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain/internal/holdback"
)

// content is n bytes that do not repeat.
func content(n int) []byte {
	out := make([]byte, 0, n+8)
	for i := 0; len(out) < n; i++ {
		out = fmt.Append(out, i)
	}
	return out[:n]
}

// sizes are around the edges of what is held.
var sizes = []int{0, 1, holdback.Tail - 1, holdback.Tail, holdback.Tail + 1, 4*holdback.Tail + 7, 1 << 20}

// lefts are what a caller may know of the size.
func lefts(n int) map[string]int64 { return map[string]int64{"known": int64(n), "unknown": -1} }

// sources deliver the same in pieces of different sizes.
var sources = map[string]func(io.Reader) io.Reader{
	"at once":          func(r io.Reader) io.Reader { return r },
	"with the end":     iotest.DataErrReader,
	"half of it":       iotest.HalfReader,
	"in small portion": func(r io.Reader) io.Reader { return portions{r, 1009} },
}

type portions struct {
	io.Reader
	n int
}

func (p portions) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.n)]) }

func each(t *testing.T, test func(t *testing.T, all []byte, left int64, source func(io.Reader) io.Reader)) {
	for _, n := range sizes {
		for size, left := range lefts(n) {
			for name, source := range sources {
				t.Run(fmt.Sprintf("%d bytes, %s, %s", n, size, name), func(t *testing.T) {
					t.Parallel()
					test(t, content(n), left, source)
				})
			}
		}
	}
}

func TestRightContentPasses(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, all []byte, left int64, source func(io.Reader) io.Reader) {
		r := holdback.New(source(bytes.NewReader(all)), digest.FromBytes(all), left)
		if got, err := io.ReadAll(portions{r, 4099}); err != nil || !bytes.Equal(got, all) {
			t.Errorf("%d bytes, %v, want %d", len(got), err, len(all))
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("after the end: %d, %v", n, err)
		}
	})
}

// Of wrong content the end is missing, whatever is wrong with it, and of content
// whose source fails too.
func TestNoMoreThanTheTailIsMissing(t *testing.T) {
	t.Parallel()
	cut := errors.New("cut")
	each(t, func(t *testing.T, all []byte, left int64, source func(io.Reader) io.Reader) {
		wrong := append(bytes.Clone(all), 'x')
		if left >= 0 { // what is beyond the size is not looked at
			wrong = bytes.Clone(all)
			if len(all) == 0 {
				return
			}
			wrong[0] ^= 1
		}
		for name, tt := range map[string]struct {
			src  io.Reader
			want func(error) bool
		}{
			"wrong": {bytes.NewReader(wrong), isMismatch},
			"short": {bytes.NewReader(all[:len(all)/2]), isMismatch},
			"fails": {io.MultiReader(bytes.NewReader(all[:len(all)/2]), iotest.ErrReader(cut)), func(err error) bool { return err == cut }},
		} {
			if len(all) == 0 && name != "wrong" {
				continue
			}
			r := holdback.New(source(tt.src), digest.FromBytes(all), left)
			got, err := io.ReadAll(r)
			if !tt.want(err) {
				t.Errorf("%s: %v", name, err)
			}
			if len(got) > max(len(wrong)-holdback.Tail, 0) {
				t.Errorf("%s: %d bytes of %d were let go of", name, len(got), len(wrong))
			}
			if n, again := r.Read(make([]byte, 1)); n != 0 || again != err {
				t.Errorf("%s: after the end: %d, %v", name, n, again)
			}
		}
	})
}

func isMismatch(err error) bool {
	_, ok := errors.AsType[*holdback.MismatchError](err)
	return ok
}

// A reader may go on where others have read; what they read is hashed.
func TestHash(t *testing.T) {
	t.Parallel()
	all := content(300 << 10)
	for _, begin := range []int64{0, 1, 100 << 10, int64(len(all))} {
		for name, left := range lefts(len(all) - int(begin)) {
			r := holdback.New(bytes.NewReader(all[begin:]), digest.FromBytes(all), left)
			if err := r.Hash(bytes.NewReader(all), begin); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, all[begin:]) {
				t.Errorf("from %d on, %s: %d bytes, %v", begin, name, len(got), err)
			}
		}
	}
	r := holdback.New(bytes.NewReader(nil), digest.FromBytes(all), -1)
	if err := r.Hash(bytes.NewReader(all[:5]), 6); err != io.ErrUnexpectedEOF {
		t.Errorf("5 bytes where 6 have been read: %v", err)
	}
}

// Reading allocates what is held, once.
func TestAllocations(t *testing.T) {
	all := content(1 << 20)
	want := digest.FromBytes(all)
	for name, left := range lefts(len(all)) {
		r := holdback.New(bytes.NewReader(all), want, left)
		buf := make([]byte, 4<<10)
		r.Read(buf)
		reads := int(testing.AllocsPerRun(100, func() { r.Read(buf) }))
		if reads != 0 {
			t.Errorf("%s size: %d allocations for a read", name, reads)
		}
	}
}

// BenchmarkRead prints what it costs to hold back the end, beside hashing alone.
func BenchmarkRead(b *testing.B) {
	all := content(16 << 20)
	want := digest.FromBytes(all)
	buf := make([]byte, 256<<10)
	run := func(name string, read func(io.Writer) error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(all)))
			b.ReportAllocs()
			for b.Loop() {
				if err := read(onlyWriter{io.Discard}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("sha256 alone", func(w io.Writer) error {
		_, err := io.CopyBuffer(io.MultiWriter(want.Algorithm().Hash(), w), onlyReader{bytes.NewReader(all)}, buf)
		return err
	})
	for name, left := range lefts(len(all)) {
		run(name+" size", func(w io.Writer) error {
			_, err := io.CopyBuffer(w, holdback.New(onlyReader{bytes.NewReader(all)}, want, left), buf)
			return err
		})
	}
}

// These keep io.Copy from a way round Read and Write.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
