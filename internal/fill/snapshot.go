package fill

import "sync/atomic"

// counts count since the start.
type counts struct {
	begun, coalesced, bypassed, suspended, mismatches, repaired, unkept, helpers, company atomic.Uint64
	bytes                                                                                 atomic.Int64
}

// A Snapshot is the Fills as they stand, as plain values. Counts are of the time
// since they were made.
type Snapshot struct {
	Active     int    `json:"active"`
	Abandoned  int    `json:"abandoned"` // of those, without a reader: see docs/faults.md F49
	Begun      uint64 `json:"begun"`
	Coalesced  uint64 `json:"coalesced"`     // requests that joined a fill
	Bypassed   uint64 `json:"bypassed"`      // requests served past a store that could not be written
	Suspended  uint64 `json:"suspended"`     // given up for now, with what was there kept
	Mismatches uint64 `json:"mismatches"`    // copies whose digest was wrong
	Repaired   uint64 `json:"repaired"`      // blobs that were right after such a copy
	Unkept     uint64 `json:"unkept"`        // right, and could not be stored
	Helpers    uint64 `json:"helpers"`       // connections begun to make a fill faster
	Company    uint64 `json:"company"`       // requests beside an upstream that sent too slowly
	Fetched    int64  `json:"fetched_bytes"` // from upstreams
}

// Snapshot returns the Fills as they stand.
func (s *Fills) Snapshot() Snapshot {
	s.mu.Lock()
	active := len(s.byDigest)
	s.mu.Unlock()
	return Snapshot{
		Active:     active,
		Abandoned:  s.abandoned.count(),
		Begun:      s.counts.begun.Load(),
		Coalesced:  s.counts.coalesced.Load(),
		Bypassed:   s.counts.bypassed.Load(),
		Suspended:  s.counts.suspended.Load(),
		Mismatches: s.counts.mismatches.Load(),
		Repaired:   s.counts.repaired.Load(),
		Unkept:     s.counts.unkept.Load(),
		Helpers:    s.counts.helpers.Load(),
		Company:    s.counts.company.Load(),
		Fetched:    s.counts.bytes.Load(),
	}
}
