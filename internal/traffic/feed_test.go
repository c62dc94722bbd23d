package traffic_test

import (
	"fmt"
	"testing"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// A reader gets each request once and in order, and is told of those that it was too slow for.
func TestSince(t *testing.T) {
	t.Parallel()
	p := newPuller(traffic.New())
	p.ask(pullchain.Manifest, "before", traffic.Outcome{})
	last := p.Last()
	read := func() (tags []string, missed uint64) {
		for {
			some, next, lost := p.Since(last)
			missed += lost
			if last = next; len(some) == 0 {
				return tags, missed
			}
			for _, r := range some {
				tags = append(tags, r.Reference)
			}
		}
	}
	if tags, missed := read(); len(tags) != 0 || missed != 0 {
		t.Errorf("%q, %d missed", tags, missed)
	}
	ask := func(from, to int) {
		for i := from; i < to; i++ {
			p.ask(pullchain.Manifest, fmt.Sprint("t", i), traffic.Outcome{})
		}
	}
	ask(0, 130)
	if tags, missed := read(); len(tags) != 130 || tags[0] != "t0" || tags[129] != "t129" || missed != 0 {
		t.Errorf("%q, %d missed", tags, missed)
	}
	ask(130, 2630) // 2000 are kept
	if tags, missed := read(); len(tags) != 2000 || tags[0] != "t630" || tags[1999] != "t2629" || missed != 500 {
		t.Errorf("%d, %d missed", len(tags), missed)
	}
}

// What a client says of its span is kept as it is, as long as such a word is.
func TestTraceparentIsKept(t *testing.T) {
	t.Parallel()
	const word = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, tt := range []struct{ said, kept string }{{"", ""}, {word, word}, {word + "-more", word}, {"\x1b[31m", "?[31m"}} {
		p := newPuller(traffic.New())
		p.ask(pullchain.Manifest, "1", traffic.Outcome{Traceparent: tt.said})
		if got := p.Requests(traffic.RequestFilter{})[0].Traceparent; got != tt.kept {
			t.Errorf("%q is kept as %q", tt.said, got)
		}
	}
}
