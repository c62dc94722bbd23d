package history

import (
	"math"
	"slices"
	"time"
)

// badness are the words for states, from the best to the worst: what a cell shows of
// all that was seen in its time. What the operator wanted is no fault, so it is better
// than any fault; a fault that ends by itself is better than one that does not.
var badness = []string{
	"unknown", "serving", "standby", "disabled", "drained",
	"degraded", "half_open", "cooling", "open", "down", "quarantined",
}

// rank is a state's place in badness, from 1; 0 is no state at all. A word that is not
// in the list counts as unknown.
func rank(state string) uint8 {
	if state == "" {
		return 0
	}
	return uint8(max(slices.Index(badness, state), 0) + 1)
}

// Known reports whether state is one of the words that the order of [Worse] has.
func Known(state string) bool { return slices.Contains(badness, state) }

// Worse reports whether state a is worse than b, in the order in which cells choose:
// unknown, serving, standby, disabled, drained, degraded, half_open, cooling, open,
// down, quarantined. The empty state is none, and better than any.
func Worse(a, b string) bool { return rank(a) > rank(b) }

// A cell is a Cell in 60 bytes, of which an upstream has 276. Its counters stand still at
// their greatest value.
type cell struct {
	number                  uint32 // of the period, counted from 1970
	ok, failed              uint32
	saidNo, limited, broken uint32 // of failed
	p50, p95                float32
	receivedKiB             uint32
	rate50, rate95          float32 // bytes per second
	quotaLimit, quota       uint32
	probesOK, probesFailed  uint16
	state                   uint8 // see rank; 0: the cell is empty
	code                    uint8 // in the table: of the state
	frequent                uint8 // in the table: of most failed requests
}

// A ring is the last cells of one length. The place of a cell follows from its number,
// so nothing is moved as time goes on, and a gap in time is a gap in the cells: a cell
// with another number than that looked for is none.
type ring struct {
	shape
	slots  []cell // nil before the first observation
	newest uint32 // number of the cell that was written last
	open   tally
}

// A tally is what the open cell needs to go on counting, and a closed one does not.
type tally struct {
	number        uint32
	waits, probes histogram
	rates         histogram        // in units of rateUnit
	rest          uint16           // bytes received that do not make a KiB
	codes         map[uint8]uint32 // failed requests
}

// number returns which period t is in. A clock that was never set may say 1970 or less.
func (s shape) number(t time.Time) uint32 {
	return uint32(min(max(t.Unix()/int64(s.period/time.Second), 0), math.MaxUint32))
}

func (s shape) start(number uint32) time.Time {
	return time.Unix(int64(number)*int64(s.period/time.Second), 0).UTC()
}

// rewind drops what lies after now: it was written by a clock that was ahead, and would
// be found again when that time comes.
func (r *ring) rewind(now time.Time) {
	if r.slots == nil {
		r.slots = make([]cell, r.cells)
	}
	n := r.number(now)
	if r.newest <= n {
		return
	}
	for i := range r.slots {
		if r.slots[i].number > n {
			r.slots[i] = cell{}
		}
	}
	r.newest = n
}

// at returns the cell of t, or nil if the ring has long gone past it.
func (r *ring) at(t time.Time) *cell {
	n := r.number(t)
	c := &r.slots[int(n)%len(r.slots)]
	switch {
	case c.state != 0 && c.number == n:
		return c
	case c.state != 0 && c.number > n:
		return nil
	}
	*c = cell{number: n}
	r.newest = max(r.newest, n)
	return c
}

// see enters a state.
func (r *ring) see(t time.Time, s Sight, codes *codeTable) {
	c := r.at(t)
	if c == nil {
		return
	}
	code := codes.index(s.Code)
	switch state := rank(s.State); {
	case state > c.state:
		c.state, c.code = state, code
	case state == c.state && c.code == 0:
		c.code = code
	}
}

// add enters what has happened up to now.
func (r *ring) add(now time.Time, d difference, codes *codeTable) {
	c := r.at(now)
	if c == nil {
		return
	}
	if r.open.number != c.number {
		r.open = tally{number: c.number}
	}
	grow(&c.ok, d.ok)
	grow(&c.failed, d.failed)
	grow(&c.saidNo, d.saidNo)
	grow(&c.limited, d.limited)
	grow(&c.broken, d.broken)
	grow(&c.probesOK, d.probesOK)
	grow(&c.probesFailed, d.probesFailed)
	c.frequent = r.open.fail(d.codes, codes, c.frequent)
	r.open.waits.add(d.waits)
	r.open.probes.add(d.probeWaits)
	// After a restart that lost the tally, what the cell has is better than nothing.
	switch {
	case !r.open.waits.empty():
		c.p50, c.p95 = r.open.waits.percentile(0.5), r.open.waits.percentile(0.95)
	case !r.open.probes.empty() && c.ok == 0:
		c.p50, c.p95 = r.open.probes.percentile(0.5), r.open.probes.percentile(0.95)
	}
	r.flow(c, d)
}

// rateUnit is how many bytes per second a histogram of rates counts as one: it then
// reaches from 4 KiB to 1 GiB per second.
const rateUnit = 16 << 10

// flow enters how much came and how fast, and what was said of a quota.
func (r *ring) flow(c *cell, d difference) {
	sum := d.received + uint64(r.open.rest)
	grow(&c.receivedKiB, sum>>10)
	r.open.rest = uint16(sum & (1<<10 - 1))
	for _, rate := range d.rates {
		r.open.rates.add([]float64{rate / rateUnit})
	}
	if !r.open.rates.empty() {
		c.rate50, c.rate95 = rateUnit*r.open.rates.percentile(0.5), rateUnit*r.open.rates.percentile(0.95)
	}
	if q := d.quota; q != nil && q.Limit > 0 {
		left := uint32(min(max(q.Remaining, 0), q.Limit, math.MaxUint32))
		if c.quotaLimit == 0 || left < c.quota {
			c.quotaLimit, c.quota = uint32(min(q.Limit, math.MaxUint32)), left
		}
	}
}

// fail counts failed requests by reason and returns the most frequent one, or was if
// there is none.
func (o *tally) fail(failed map[string]uint64, codes *codeTable, was uint8) uint8 {
	for code, n := range failed {
		if o.codes == nil {
			o.codes = map[uint8]uint32{}
		}
		i := codes.index(code)
		sum := o.codes[i]
		grow(&sum, n)
		o.codes[i] = sum
	}
	most := was
	for i, n := range o.codes {
		if n > o.codes[most] || n == o.codes[most] && i < most {
			most = i
		}
	}
	return most
}

// grow adds n to a counter that stands still at its greatest value.
func grow[T uint16 | uint32](counter *T, n uint64) {
	limit := uint64(^T(0))
	*counter = T(min(uint64(*counter)+min(n, limit), limit))
}

// read returns the cells up to that of now, oldest first.
func (r *ring) read(now time.Time, codes *codeTable) []Cell {
	last := r.number(now)
	out := make([]Cell, 0, r.cells)
	for i := r.cells - 1; i >= 0; i-- {
		n := last - uint32(min(i, int(last)))
		one := Cell{Start: r.start(n)}
		if len(r.slots) > 0 {
			if c := &r.slots[int(n)%len(r.slots)]; c.number == n && c.state != 0 {
				c.write(&one, codes)
			}
		}
		out = append(out, one)
	}
	return out
}

func (c *cell) write(out *Cell, codes *codeTable) {
	out.State = badness[c.state-1]
	out.OK, out.Failed = uint64(c.ok), uint64(c.failed)
	out.ProbesOK, out.ProbesFailed = uint64(c.probesOK), uint64(c.probesFailed)
	out.SaidNo, out.Limited, out.Broken = uint64(c.saidNo), uint64(c.limited), uint64(c.broken)
	out.P50MS, out.P95MS = tenths(c.p50), tenths(c.p95)
	out.Received, out.RateP50, out.RateP95 = uint64(c.receivedKiB)<<10, int64(c.rate50), int64(c.rate95)
	out.QuotaLimit, out.QuotaRemaining = int64(c.quotaLimit), int64(c.quota)
	out.Code = codes.word(c.code)
	if c.code == 0 {
		out.Code = codes.word(c.frequent)
	}
}

// tenths is ms to a tenth of a millisecond: no more is known.
func tenths(ms float32) float64 { return math.Round(float64(ms)*10) / 10 }

// A codeTable gives each reason's code a number of one byte. There are some forty codes;
// when the table is full the reason of a cell is not known.
type codeTable struct {
	words []string
}

// index returns the number of code, from 1; 0 for none.
func (t *codeTable) index(code string) uint8 {
	if code == "" {
		return 0
	}
	if i := slices.Index(t.words, code); i >= 0 {
		return uint8(i + 1)
	}
	if len(t.words) == math.MaxUint8 {
		return 0
	}
	t.words = append(t.words, code)
	return uint8(len(t.words))
}

func (t *codeTable) word(i uint8) string {
	if i == 0 {
		return ""
	}
	return t.words[i-1]
}
