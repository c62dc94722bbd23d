package blobstore

import (
	"fmt"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
)

func BenchmarkStat(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	d := put(b, s, 1, 1000, Meta{Public: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Stat(d); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkTouch(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	d := put(b, s, 1, 1000, Meta{Public: true})
	b.ReportAllocs()
	for b.Loop() {
		s.Touch(d)
	}
}

func BenchmarkOpenClose(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	d := put(b, s, 1, 1000, Meta{Public: true})
	b.ReportAllocs()
	for b.Loop() {
		o, err := s.Open(d)
		if err != nil {
			b.Fatal(err)
		}
		if err := o.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareOpenClose is what BenchmarkOpenClose cannot be faster than.
func BenchmarkBareOpenClose(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	path := s.blobPath(put(b, s, 1, 1000, Meta{Public: true}))
	b.ReportAllocs()
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Stat(); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

func BenchmarkOpenCloseParallel(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	d := put(b, s, 1, 1000, Meta{Public: true})
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			o, err := s.Open(d)
			if err != nil {
				b.Error(err)
				return
			}
			_ = o.Close()
		}
	})
}

// BenchmarkScan reads a directory of 10,000 objects.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	s := newStore(b, Config{Dir: dir})
	for i := range 10_000 {
		d := digest.FromString(fmt.Sprint(i))
		place, err := s.place(d)
		if err != nil {
			b.Fatal(err)
		}
		// Without the syncs of Put, which would take minutes.
		if err := s.writeTemp(place.blob, []byte("content"), false); err != nil {
			b.Fatal(err)
		}
		if err := s.writeTemp(place.meta, encodeSidecar(Meta{Public: true}, 7), false); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Close()
	for b.Loop() {
		s, err := open(Config{Dir: dir}, disk{space: roomy})
		if err != nil {
			b.Fatal(err)
		}
		<-s.scanned
		if got := s.Stats().Objects; got != 10_000 {
			b.Fatalf("%d objects", got)
		}
		b.StopTimer()
		_ = s.Close()
		b.StartTimer()
	}
}

// BenchmarkPut is what a manifest costs, two syncs included.
func BenchmarkPut(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir()})
	i := uint64(0)
	for b.Loop() {
		put(b, s, i, 2000, Meta{Public: true})
		i++
	}
}

// BenchmarkSpoolWrite is what a piece of a blob on its way in costs.
func BenchmarkSpoolWrite(b *testing.B) {
	s := newStore(b, Config{Dir: b.TempDir(), MaxSize: 1 << 40})
	_, d := content(1, 1)
	sp := newSpool(b, s, d)
	defer sp.Discard()
	if err := sp.SetSize(256 << 20); err != nil {
		b.Fatal(err)
	}
	piece := make([]byte, 256<<10)
	b.SetBytes(int64(len(piece)))
	off := int64(0)
	for b.Loop() {
		if _, err := sp.WriteAt(piece, off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(piece))) % (256 << 20)
	}
}
