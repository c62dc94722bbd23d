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
	Manifests    int        `json:"manifests"` // of the objects; in a large store it may be seconds old
	Partial      int        `json:"partial"`   // blobs that were not finished
	PartialBytes int64      `json:"partial_bytes"`
	PinnedBytes  int64      `json:"pinned_bytes"`
	Evictions    uint64     `json:"evictions"`
	ForDisk      uint64     `json:"evictions_disk_full"` // of those, because the disk was full and not for the limit
	Corrupt      uint64     `json:"corrupt"`             // quarantined since this process began
	Oldest       *time.Time `json:"oldest"`              // last use of what was used longest ago
	ReadOnly     bool       `json:"read_only"`
	Full         bool       `json:"full"`      // the last write found no room
	NoInodes     bool       `json:"no_inodes"` // and that is because there can be no more files, however much is free
	Trouble      string     `json:"trouble"`   // why nothing can be kept; empty if all is well
	Scanned      bool       `json:"scanned"`   // the directory has been read
}

// Stats returns the store as it stands. Bytes counts whole content and what is on
// its way in.
func (s *Store) Stats() Stats {
	free, _, _ := s.disk.space(s.dir)
	seen, trouble := s.survey(time.Now()), s.health.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Dir:          s.dir,
		Bytes:        s.index.bytes + s.index.partBytes,
		Limit:        s.index.limit,
		Free:         free,
		Objects:      len(s.index.objects),
		Manifests:    min(seen.manifests, len(s.index.objects)),
		Partial:      len(s.index.partials),
		PartialBytes: s.index.partBytes,
		PinnedBytes:  s.index.pinned,
		Evictions:    s.index.evictions,
		ForDisk:      s.index.forDisk,
		Corrupt:      s.corrupt,
		Oldest:       seen.oldest,
		ReadOnly:     trouble.readOnly,
		Full:         trouble.full,
		NoInodes:     trouble.noInodes,
		Trouble:      trouble.text,
		Scanned:      s.index.placed,
	}
}

// A store this large is not walked anew at each call of Stats.
const (
	manyObjects = 10_000
	surveyFor   = 10 * time.Second
)

// A survey is what only a walk over all entries tells.
type survey struct {
	at        time.Time
	oldest    *time.Time // last use of what was used longest ago; nil if there is nothing
	manifests int
}

// survey walks over the entries, a thousand at a time, so that no request waits for it.
func (s *Store) survey(now time.Time) survey {
	s.mu.Lock()
	known, many := s.surveyed, len(s.index.all) > manyObjects
	s.mu.Unlock()
	if many && now.Sub(known.at) < surveyFor {
		return known
	}
	seen := survey{at: now}
	var oldest time.Time
	all := s.entries()
	for len(all) > 0 {
		some := all[:min(len(all), 1000)]
		all = all[len(some):]
		s.mu.Lock()
		for _, e := range some {
			if e.gone {
				continue
			}
			if e.MediaType != "" {
				seen.manifests++
			}
			if oldest.IsZero() || e.Used.Before(oldest) {
				oldest = e.Used
			}
		}
		s.mu.Unlock()
	}
	if !oldest.IsZero() {
		seen.oldest = &oldest
	}
	s.mu.Lock()
	s.surveyed = seen
	s.mu.Unlock()
	return seen
}
