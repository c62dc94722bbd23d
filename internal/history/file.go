package history

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pullchain/pullchain/internal/safefile"
)

// version is that of the file. One with a greater number was written by a pullchain that
// may mean something else by it. What is new in a cell and 0 where nothing is known of it
// needs no other number: an older pullchain passes over it, and its own files lack it.
const version = 1

// maxFile is how long the file may be when it is unpacked, and maxLanes how many
// upstreams it may have: what is read is held in memory.
const (
	maxFile  = 64 << 20
	maxLanes = 10_000
)

// saved is the file: JSON, packed by gzip.
type saved struct {
	Version int         `json:"version"`
	At      time.Time   `json:"at"`
	Lanes   []savedLane `json:"lanes"`
}

type savedLane struct {
	Registry string      `json:"registry"`
	Upstream string      `json:"upstream"`
	Seen     time.Time   `json:"seen"`
	Rings    []savedRing `json:"rings"`
}

type savedRing struct {
	Window Window      `json:"window"`
	Cells  []savedCell `json:"cells"`
	Open   savedTally  `json:"open"`
}

// A savedCell has the words for its numbers, whose meaning may change from one pullchain to the next.
type savedCell struct {
	Number       uint32  `json:"n"`
	State        string  `json:"s"`
	OK           uint32  `json:"o,omitempty"`
	Failed       uint32  `json:"f,omitempty"`
	P50          float32 `json:"50,omitempty"`
	P95          float32 `json:"95,omitempty"`
	ProbesOK     uint16  `json:"po,omitempty"`
	ProbesFailed uint16  `json:"pf,omitempty"`
	Code         string  `json:"c,omitempty"`
	Frequent     string  `json:"q,omitempty"`
	SaidNo       uint32  `json:"fn,omitempty"`
	Limited      uint32  `json:"fl,omitempty"`
	Broken       uint32  `json:"fb,omitempty"`
	ReceivedKiB  uint32  `json:"k,omitempty"`
	Rate50       float32 `json:"r50,omitempty"`
	Rate95       float32 `json:"r95,omitempty"`
	QuotaLimit   uint32  `json:"ql,omitempty"`
	Quota        uint32  `json:"qr,omitempty"`
}

type savedTally struct {
	Number uint32            `json:"n"`
	Waits  map[int]uint32    `json:"w,omitempty"` // by bucket
	Probes map[int]uint32    `json:"p,omitempty"`
	Rates  map[int]uint32    `json:"r,omitempty"`
	Codes  map[string]uint32 `json:"c,omitempty"`
}

// Save writes all that is known into file, whose directory it makes if it must. A
// reader finds the old file or the new one, never a part, also after a power cut.
func (r *Rings) Save(file string, now time.Time) error {
	s := r.save(now)
	var packed bytes.Buffer
	z, _ := gzip.NewWriterLevel(&packed, gzip.BestSpeed) // a level that there is
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return safefile.Replace(file, packed.Bytes())
}

// Load replaces all that is known by what file has; a file that is not there changes
// nothing. One that cannot be understood is put aside, under a name that the error
// tells, and changes nothing either: it is for the caller to log, and nothing more.
func (r *Rings) Load(file string) error {
	safefile.Clean(file)
	s, err := read(file, maxFile)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.loadLocked(s)
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	spoilt := file + ".spoilt"
	if failed := os.Rename(file, spoilt); failed != nil {
		return errors.Join(err, failed)
	}
	return fmt.Errorf("%w; it is now %s", err, spoilt)
}

// read returns what is in file, if that is not longer than limit.
func read(file string, limit int64) (saved, error) {
	var s saved
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	content, err := io.ReadAll(io.LimitReader(z, limit+1)) // all of it: the checksum is at the end
	if err == nil && int64(len(content)) > limit {
		err = errors.New("it is too long")
	}
	if err == nil {
		err = json.Unmarshal(content, &s)
	}
	if err == nil && s.Version != version {
		err = fmt.Errorf("it has version %d, and this pullchain writes %d", s.Version, version)
	}
	if err == nil && len(s.Lanes) > maxLanes {
		err = errors.New("it has too many upstreams")
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// save is all that is known, as the file has it.
func (r *Rings) save(now time.Time) saved {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := saved{Version: version, At: now, Lanes: []savedLane{}}
	for k, l := range r.lanes {
		one := savedLane{Registry: k.registry, Upstream: k.upstream, Seen: l.seen}
		for i := range l.rings {
			one.Rings = append(one.Rings, l.rings[i].save(&r.codes))
		}
		s.Lanes = append(s.Lanes, one)
	}
	return s
}

func (r *ring) save(codes *codeTable) savedRing {
	out := savedRing{Window: r.window, Cells: []savedCell{}, Open: savedTally{
		Number: r.open.number, Waits: r.open.waits.save(), Probes: r.open.probes.save(), Rates: r.open.rates.save(), Codes: map[string]uint32{},
	}}
	for code, n := range r.open.codes {
		out.Open.Codes[codes.word(code)] = n
	}
	for i := range r.slots {
		if c := &r.slots[i]; c.state != 0 {
			out.Cells = append(out.Cells, savedCell{
				c.number, badness[c.state-1], c.ok, c.failed, c.p50, c.p95, c.probesOK, c.probesFailed, codes.word(c.code), codes.word(c.frequent),
				c.saidNo, c.limited, c.broken, c.receivedKiB, c.rate50, c.rate95, c.quotaLimit, c.quota,
			})
		}
	}
	return out
}

func (h *histogram) save() map[int]uint32 {
	out := map[int]uint32{}
	for i, n := range h {
		if n > 0 {
			out[i] = n
		}
	}
	return out
}

func (r *Rings) loadLocked(s saved) {
	r.lanes, r.codes = map[key]*lane{}, codeTable{}
	for _, one := range s.Lanes {
		l := newLane()
		l.seen = one.Seen
		for _, ring := range one.Rings {
			for i := range l.rings {
				if l.rings[i].window == ring.Window {
					l.rings[i].load(ring, &r.codes)
				}
			}
		}
		r.lanes[key{one.Registry, one.Upstream}] = l
	}
}

func (r *ring) load(s savedRing, codes *codeTable) {
	r.slots = make([]cell, r.cells)
	for _, c := range s.Cells {
		slot := &r.slots[int(c.Number)%len(r.slots)]
		if c.State == "" || slot.state != 0 && slot.number > c.Number {
			continue
		}
		*slot = cell{
			number: c.Number, state: rank(c.State), ok: c.OK, failed: c.Failed, p50: c.P50, p95: c.P95,
			probesOK: c.ProbesOK, probesFailed: c.ProbesFailed, code: codes.index(c.Code), frequent: codes.index(c.Frequent),
			saidNo: c.SaidNo, limited: c.Limited, broken: c.Broken, receivedKiB: c.ReceivedKiB, rate50: c.Rate50, rate95: c.Rate95, quotaLimit: c.QuotaLimit, quota: c.Quota,
		}
		r.newest = max(r.newest, c.Number)
	}
	r.open = tally{number: s.Open.Number, codes: map[uint8]uint32{}}
	r.open.waits.load(s.Open.Waits)
	r.open.probes.load(s.Open.Probes)
	r.open.rates.load(s.Open.Rates)
	for code, n := range s.Open.Codes {
		r.open.codes[codes.index(code)] = n
	}
}

func (h *histogram) load(s map[int]uint32) {
	for i, n := range s {
		if i >= 0 && i < buckets {
			h[i] = n
		}
	}
}
