package traffic

import (
	"maps"
	"testing"
	"time"
)

// The last refusal is news for a while, with how many there were.
func TestRefusals(t *testing.T) {
	t.Parallel()
	var f Refusals
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	if f.Last(at) != nil {
		t.Error("there is one before there is any")
	}
	for i := range 3 {
		f.Add(Refusal{Why: ClientHasMany, At: at.Add(time.Duration(i) * time.Minute)})
	}
	at = at.Add(2 * time.Minute)
	if last := f.Last(at.Add(refusalsLast - 1)); last == nil || last.Lately != 3 || !last.At.Equal(at) {
		t.Errorf("the last is %+v", last)
	}
	if last := f.Last(at.Add(refusalsLast)); last != nil {
		t.Errorf("it is news after %v: %+v", refusalsLast, last)
	}
	f.Add(Refusal{Why: AllTaken, At: at.Add(time.Hour)})
	if last := f.Last(at.Add(time.Hour)); last == nil || last.Lately != 1 {
		t.Errorf("after an hour: %+v", last)
	}
	if got, want := f.counts(), map[Why]uint64{ClientHasMany: 3, AllTaken: 1}; !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
