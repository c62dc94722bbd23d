package blobstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzSize(f *testing.F) {
	for _, text := range []string{"50GiB", "500 MB", "1048576", "1.5TiB", "0.000001K", "", "x", "-5", "9223372036854775807", "8388608TiB"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again Size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			if s != 0 {
				t.Fatalf("an error and %d", s)
			}
			return
		}
		if s < 0 {
			t.Fatalf("%q is %d", text, s)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Fatalf("%q is %d is %q is %d, %v", text, s, s, again, err)
		}
	})
}

func FuzzJournal(f *testing.F) {
	whole := encodeJournal(5000, []Extent{{0, 1000, "hub"}, {1000, 2000, "a\nb"}, {4000, 5000, ""}})
	f.Add(whole)
	f.Add(whole[:len(whole)-2])
	f.Add(encodeJournal(-1, nil))
	f.Add([]byte("{\"v\":1}\n{\"from\":5,\"to\":3}\n{\"to\":9}\n"))
	f.Add([]byte("{\"v\":1,\"size\":-4}\n"))
	f.Add([]byte("{\"v\":1}\n{\"to\":9000}\n{\"size\":10}\n{\"v\":1}\n"))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, text []byte) {
		size, extents, ok := decodeJournal(text)
		if size < -1 || !ok && len(extents) > 0 {
			t.Fatalf("size %d, %v, %v", size, extents, ok)
		}
		var end int64
		for _, e := range extents {
			if e.From < end || e.To <= e.From || size >= 0 && e.To > size {
				t.Fatalf("size %d, %v", size, extents)
			}
			end = e.To
		}
		if !ok {
			return
		}
		size2, again, ok := decodeJournal(encodeJournal(size, extents))
		if diff := cmp.Diff(extents, again); diff != "" || !ok || size2 != size {
			t.Fatalf("written and read again: %d, %v\n%s", size2, ok, diff)
		}
		// Cutting a journal anywhere makes it know less, and nothing wrong.
		cut, _, _ := decodeJournal(text[:len(text)/2])
		if lines := bytes.Count(text[:len(text)/2], []byte("\n")); lines == 0 && cut != -1 {
			t.Fatalf("half a line gives a size of %d", cut)
		}
	})
}

func FuzzMeta(f *testing.F) {
	f.Add(encodeSidecar(Meta{Public: true, Added: time.Unix(1, 0)}, 17))
	f.Add(encodeSidecar(Meta{MediaType: "m", Pinned: true, Repos: map[string]time.Time{"docker.io/library/a": time.Unix(2, 0)}}, 0))
	f.Add([]byte(`{"public":true`))
	f.Add([]byte(`{"size":-1}`))
	f.Add([]byte(`{"repos":{"x":"yesterday"}}`))
	f.Add(make([]byte, 32))
	f.Fuzz(func(t *testing.T, text []byte) {
		meta, size, err := decodeSidecar(text)
		if size < -1 {
			t.Fatalf("size %d", size)
		}
		if err != nil {
			if !meta.equal(Meta{}) {
				t.Fatalf("half a Meta: %+v", meta)
			}
			return
		}
		again, n, err := decodeSidecar(encodeSidecar(meta, max(size, 0)))
		if err != nil || n != max(size, 0) || !again.equal(meta) {
			t.Fatalf("written and read again: %+v, %d, %v; had %+v", again, n, err, meta)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Add(encodeRecord("docker.io/library/alpine:3.20", []byte(`{"digest":"x"}`)))
	f.Add(encodeRecord("", nil))
	f.Add([]byte("{}\n"))
	f.Add([]byte("{\"name\":\"x\",\"crc32\":5}\nabc"))
	f.Fuzz(func(t *testing.T, text []byte) {
		name, content, ok := decodeRecord(text)
		if !ok {
			return
		}
		name2, content2, ok := decodeRecord(encodeRecord(name, content))
		if !ok || name2 != name || !bytes.Equal(content, content2) {
			t.Fatalf("written and read again: %q, %q, %v", name2, content2, ok)
		}
	})
}
