package blobstore

import (
	"time"
)

// Stats is a store as it stands, as plain values.
type Stats struct {
	Dir          string     `json:"dir"`
	Bytes        int64      `json:"bytes"`
	Limit        int64      `json:"limit_bytes"`
	Free         int64      `json:"free_bytes"` // of the file system
	Objects      int        `json:"objects"`
	Partial      int        `json:"partial"` // blobs that were not finished
	PartialBytes int64      `json:"partial_bytes"`
	PinnedBytes  int64      `json:"pinned_bytes"`
	Evictions    uint64     `json:"evictions"`
	Corrupt      uint64     `json:"corrupt"` // quarantined since this process began
	Oldest       *time.Time `json:"oldest"`  // last use of what was used longest ago
	ReadOnly     bool       `json:"read_only"`
	Full         bool       `json:"full"`    // the last write found no room
	Trouble      string     `json:"trouble"` // why nothing can be kept; empty if all is well
	Scanned      bool       `json:"scanned"` // the directory has been read
}

// Stats returns the store as it stands. Bytes counts whole content and what is on
// its way in.
func (s *Store) Stats() Stats {
	free, _, _ := s.disk.space(s.dir)
	oldest, trouble := s.oldest(time.Now()), s.health.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Dir:          s.dir,
		Bytes:        s.index.bytes + s.index.partBytes,
		Limit:        s.index.limit,
		Free:         free,
		Objects:      len(s.index.objects),
		Partial:      len(s.index.partials),
		PartialBytes: s.index.partBytes,
		PinnedBytes:  s.index.pinned,
		Evictions:    s.index.evictions,
		Corrupt:      s.corrupt,
		Oldest:       oldest,
		ReadOnly:     trouble.readOnly,
		Full:         trouble.full,
		Trouble:      trouble.text,
		Scanned:      s.index.placed,
	}
}

// A store this large is not walked for its oldest entry at each call of Stats.
const (
	manyObjects = 10_000
	oldestFor   = 10 * time.Second
)

// oldest returns the last use of what was used longest ago. It looks at a
// thousand entries at a time, so that no request waits for it.
func (s *Store) oldest(now time.Time) *time.Time {
	s.mu.Lock()
	known, at, many := s.oldestUse, s.oldestAt, len(s.index.all) > manyObjects
	s.mu.Unlock()
	if many && now.Sub(at) < oldestFor {
		return known
	}
	var oldest time.Time
	all := s.entries()
	for len(all) > 0 {
		some := all[:min(len(all), 1000)]
		all = all[len(some):]
		s.mu.Lock()
		for _, e := range some {
			if !e.gone && (oldest.IsZero() || e.Used.Before(oldest)) {
				oldest = e.Used
			}
		}
		s.mu.Unlock()
	}
	if oldest.IsZero() {
		return nil
	}
	s.mu.Lock()
	s.oldestUse, s.oldestAt = &oldest, now
	s.mu.Unlock()
	return &oldest
}
