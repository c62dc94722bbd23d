package balancer

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/pullchain/pullchain"
)

// A laneLedger counts what a lane did and how long it took.
// It is safe for concurrent use.
type laneLedger struct {
	mu       sync.Mutex
	classes  [pullchain.NumClasses]classLedger
	requests outcomeCounts
	rate     float64     // bytes/s of blob bodies, moving average; 0 before the first
	rates    [32]float64 // ring of the same, of single bodies
	flows    int         // rates seen in all
}

type classLedger struct {
	requests, failures uint64
	outcomes           map[pullchain.Code]uint64
	waits              [128]time.Duration // ring of times to first byte
	n                  int                // waits seen
	ewma               time.Duration
	ttfb               tally // of all waits
}

// ewmaShare is the weight of the newest sample in the moving averages: ten samples
// later a tenth of an old one is left.
const ewmaShare = 0.2

// count counts a request and, if e is not nil or a client that went away, its failure.
func (s *laneLedger) count(req pullchain.Request, e *pullchain.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.classes[req.Class()].requests++
	s.outcomeLocked(req.Op, e)
	if e != nil && e.Reason != pullchain.Canceled {
		s.faultLocked(req.Class(), e)
	}
}

// fault counts a failure of a request that was counted as a success.
func (s *laneLedger) fault(req pullchain.Request, e *pullchain.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomeLocked(req.Op, e)
	s.faultLocked(req.Class(), e)
}

// outcomeLocked counts e, which is nil for a success, by its word.
func (s *laneLedger) outcomeLocked(op pullchain.Op, e *pullchain.Error) {
	if s.requests == nil {
		s.requests = outcomeCounts{}
	}
	word := OutcomeOK
	if e != nil {
		word = OutcomeOf(e)
	}
	s.requests[outcomeKey{op, word}]++
}

func (s *laneLedger) faultLocked(class pullchain.Class, e *pullchain.Error) {
	c := &s.classes[class]
	c.failures++
	if c.outcomes == nil {
		c.outcomes = map[pullchain.Code]uint64{}
	}
	c.outcomes[e.Code]++
}

// waited records a time to first byte, of answers only: how long a failure took says
// nothing of how long an answer is worth waiting for.
func (s *laneLedger) waited(class pullchain.Class, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.classes[class]
	c.waits[c.n%len(c.waits)] = d
	c.n++
	c.ttfb.add(ttfbBounds, d)
	if c.ewma == 0 {
		c.ewma = d
		return
	}
	c.ewma += time.Duration(ewmaShare * float64(d-c.ewma))
}

// flowed records n bytes of a blob that arrived over d of waiting for them.
func (s *laneLedger) flowed(n int64, d time.Duration) {
	if n < rateSample || d <= 0 {
		return
	}
	rate := float64(n) / d.Seconds()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rates[s.flows%len(s.rates)] = rate
	s.flows++
	if s.rate == 0 {
		s.rate = rate
		return
	}
	s.rate += ewmaShare * (rate - s.rate)
}

// rateSample is the least that says anything of a lane's throughput.
const rateSample = 64 << 10

// throughput returns the moving average of bytes per second; 0 if it is not known.
func (s *laneLedger) throughput() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rate
}

// lastWaits returns how many answers there were, and how many milliseconds each of the
// last took, oldest first. The ledger's mutex is held.
func (c *classLedger) lastWaits() (answers uint64, ms []float64) {
	kept := min(c.n, len(c.waits))
	ms = make([]float64, 0, kept)
	for i := c.n - kept; i < c.n; i++ {
		ms = append(ms, millis(c.waits[i%len(c.waits)]))
	}
	return uint64(c.n), ms
}

// expected returns how long a request of class may expect to wait for its first byte.
func (s *laneLedger) expected(class pullchain.Class) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.classes[class].ewma
}

// percentile returns the p-th part of the recent times to first byte, 0 when
// there were none. p is between 0 and 1.
func (s *laneLedger) percentile(class pullchain.Class, p float64) time.Duration {
	s.mu.Lock()
	c := &s.classes[class]
	waits := slices.Clone(c.waits[:min(c.n, len(c.waits))])
	s.mu.Unlock()
	return partOf(waits, p)
}

// lastRatesLocked returns how many bodies had a rate, and the last rates, oldest first.
func (s *laneLedger) lastRatesLocked() (bodies uint64, rates []float64) {
	kept := min(s.flows, len(s.rates))
	rates = make([]float64, 0, kept)
	for i := s.flows - kept; i < s.flows; i++ {
		rates = append(rates, s.rates[i%len(s.rates)])
	}
	return uint64(s.flows), rates
}

// rateOf returns the p-th part of the bytes per second of the last blob bodies, 0 when
// there were none.
func (s *laneLedger) rateOf(p float64) float64 {
	s.mu.Lock()
	rates := slices.Clone(s.rates[:min(s.flows, len(s.rates))])
	s.mu.Unlock()
	return partOf(rates, p)
}

// partOf returns the p-th part of values, which it sorts; 0 when there are none.
func partOf[T cmp.Ordered](values []T, p float64) T {
	if len(values) == 0 {
		var none T
		return none
	}
	slices.Sort(values)
	return values[min(int(p*float64(len(values))), len(values)-1)]
}
