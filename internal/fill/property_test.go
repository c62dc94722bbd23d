package fill

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
)

var (
	schedules = flag.Int("schedules", defaultSchedules, "how many random schedules TestFillProperty runs")
	schedule  = flag.Int("schedule", -1, "the one schedule that TestFillProperty runs")
)

// TestFillProperty runs random schedules of readers, lanes and faults, each the
// same for its seed, in fake time:
//
//	go test ./internal/fill -run TestFillProperty -schedules 10000
//	go test ./internal/fill -run TestFillProperty -schedule 1234
//
// Whatever happens, no whole body that ends well is wrong, no part has a wrong
// byte that no lane sent, nobody waits for what is there, every error is a
// *pullchain.Error, and all ends. Where nothing goes wrong, all succeed and the
// upstreams send the blob once.
func TestFillProperty(t *testing.T) {
	t.Parallel()
	if *schedule >= 0 {
		runSchedule(t, uint64(*schedule))
		return
	}
	n := *schedules
	if testing.Short() {
		n = min(n, 100)
	}
	const workers = 4
	for w := range workers {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			t.Parallel()
			for seed := w; seed < n && !t.Failed(); seed += workers {
				runSchedule(t, uint64(seed))
			}
		})
	}
}

// A scenario is a schedule: what goes wrong, and when.
type scenario struct {
	*fillRig
	rng     *rand.Rand
	seed    uint64
	clean   bool // nothing goes wrong
	liars   []string
	proving []string // lanes of which nothing is shown before it is verified
	whole   []string // lanes that know no ranges
	faults  int      // requests that may still go wrong
	disk    bool
	restart time.Duration // 0: never
	rotten  bool
	trickle bool // answers may trickle, and get company

	mu    sync.Mutex // guards rng and fills
	ended bool
	read  int // bodies that were to go to the blob's end, and ended well
}

func runSchedule(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	content := noise(sizeOf(rng), byte(seed))
	fillBubble(t, content, func(t *testing.T, r *fillRig) {
		p := &scenario{fillRig: r, rng: rng, seed: seed, clean: rng.IntN(4) == 0}
		p.prepare()
		p.run()
		if t.Failed() {
			t.Logf("seed %d: %d bytes, clean %t, liars %v, proving %v, whole %v, disk %t, restart %v, rotten %t, trickle %t, %d requests, %d bytes sent",
				seed, len(content), p.clean, p.liars, p.proving, p.whole, p.disk, p.restart, p.rotten, p.trickle, len(r.chain.requests()), r.chain.sent.Load())
		}
	})
}

func sizeOf(rng *rand.Rand) int {
	switch rng.IntN(8) {
	case 0:
		return rng.IntN(3)
	case 1:
		return holdBack - 1 + rng.IntN(3)
	case 2:
		return holdAll - 1 + rng.IntN(3)
	case 3:
		return rng.IntN(holdAll)
	}
	return rng.IntN(2 * mib)
}

// prepare decides what goes wrong.
func (p *scenario) prepare() {
	p.chain.answer = p.answer
	if p.clean {
		return
	}
	p.faults = p.rng.IntN(12)
	for _, lane := range []string{"a", "b"} {
		if p.rng.IntN(4) == 0 {
			p.liars = append(p.liars, lane)
		}
	}
	for _, lane := range []string{"a", "b"} {
		if p.rng.IntN(4) == 0 {
			p.proving = append(p.proving, lane)
		}
		if p.rng.IntN(4) == 0 {
			p.whole = append(p.whole, lane)
		}
	}
	if p.rng.IntN(8) == 0 {
		p.disk = true
		p.tighten(p.rng.Int64N(int64(len(p.chain.content)) + 1))
	}
	if p.trickle = p.rng.IntN(3) == 0; p.trickle {
		p.reg.TooSlow = func(_ string, _ pullchain.Request, rate float64) (slow, crawls bool) {
			return rate < 64*kib, rate < 4*kib
		}
		p.reg.Outrun = func(string, pullchain.Request, bool) {}
	}
	if p.rng.IntN(4) == 0 {
		p.restart = time.Duration(p.rng.IntN(4000)) * time.Millisecond
	}
	if p.rng.IntN(8) == 0 && len(p.chain.content) > 0 {
		p.stored(p.chain.content)
		if p.rotten = p.rng.IntN(2) == 0; p.rotten {
			at := p.rng.IntN(len(p.chain.content))
			p.rot(at)
			p.chain.bad = append(p.chain.bad, int64(at))
		}
	}
}

// answer is how one request upstream goes.
func (p *scenario) answer(_ int, req pullchain.Request) reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	lane := "c"
	for _, l := range []string{"b", "a"} {
		if !slices.Contains(req.Options.Avoid, l) {
			lane = l
		}
	}
	size := int64(len(p.chain.content))
	how := reply{lane: lane, wait: time.Duration(p.rng.IntN(200)) * time.Millisecond}
	if p.rng.IntN(2) == 0 {
		how.rate = 32*kib + p.rng.IntN(mib)
		if p.rng.IntN(3) == 0 { // long reads, in which the claim may be cut
			how.rate, how.chunk = 32*kib+p.rng.IntN(256*kib), bufferSize
		} else if p.rng.IntN(2) == 0 { // short ones, which are gathered
			how.rate, how.chunk = 64*kib+p.rng.IntN(2*mib), 1+p.rng.IntN(8*kib)
		}
	}
	if p.trickle && p.rng.IntN(3) == 0 {
		how.rate, how.chunk = 100+int(size/1000)+p.rng.IntN(8*kib), 1+p.rng.IntN(4*kib) // not for longer than the watch
	}
	how.unproved, how.ignores = slices.Contains(p.proving, lane), slices.Contains(p.whole, lane)
	if req.Options.Speculative && (how.ignores || p.rng.IntN(3) == 0) { // no lane is asked to help that knows no ranges
		return reply{err: errBusy}
	}
	if slices.Contains(p.liars, lane) && size > 0 && req.Options.Unverified {
		how.flip = []int64{p.rng.Int64N(size), p.rng.Int64N(size)}
	}
	if p.faults == 0 {
		return how
	}
	p.faults--
	at := 1 + p.rng.Int64N(size+1)
	switch p.rng.IntN(12) {
	case 0, 1:
		how.cut = at
	case 2:
		how.stall = at
	case 3:
		how.err = []error{
			&pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 500},
			&pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429},
			&pullchain.Error{Reason: pullchain.NotFound, Code: pullchain.CodeNotFound, Status: 404},
		}[p.rng.IntN(3)]
	case 4, 5:
		how.ignores = how.ignores || !req.Options.Speculative
	case 6:
		how.unknown = true
	case 7:
		how.size = at
	case 8:
		how.empty = true
	case 9, 10:
		how.most = at
	}
	return how
}

// run lets the readers loose, looks at them while they read, and at what is left.
func (p *scenario) run() {
	var readers, watch sync.WaitGroup
	for i := range 1 + p.rng.IntN(8) {
		c := p.client(i)
		readers.Go(c.run)
	}
	watch.Go(p.watch)
	if p.restart > 0 {
		watch.Go(func() {
			time.Sleep(p.restart)
			p.stop()
			p.mu.Lock()
			defer p.mu.Unlock()
			p.start()
		})
	}
	readers.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	watch.Wait()
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := p.fills.Snapshot().Active; n != 0 {
		p.t.Errorf("seed %d: %d fills are left", p.seed, n)
	}
	if p.clean {
		if p.read > 0 {
			p.settled(true)
		}
		p.sentAtMost(int64(float64(len(p.chain.content))*1.05) + 1)
	}
	if info, ok := p.store.Stat(p.chain.digest); ok && !p.rotten {
		p.checkStored(info)
	}
}

// checkStored reads what was stored.
func (p *scenario) checkStored(info blobstore.Info) {
	o, err := p.store.Open(info.Digest)
	if err != nil {
		p.t.Errorf("seed %d: %v", p.seed, err)
		return
	}
	defer o.Close()
	got, err := io.ReadAll(o.File)
	if err != nil || !bytes.Equal(got, p.chain.content) {
		p.t.Errorf("seed %d: something wrong was stored: %d bytes, %v", p.seed, len(got), err)
	}
}

// watch looks again and again, whenever all wait, whether somebody waits for
// bytes that are there, or for bytes that nobody fetches.
func (p *scenario) watch() {
	for began := time.Now(); ; {
		time.Sleep(37 * time.Millisecond)
		if time.Since(began) > time.Hour {
			panic(fmt.Sprintf("seed %d: somebody waits for ever: %s", p.seed, p.fills))
		}
		synctest.Wait()
		p.mu.Lock()
		ended, fills := p.ended, p.fills
		p.mu.Unlock()
		if ended {
			return
		}
		fills.mu.Lock()
		for _, f := range fills.byDigest {
			f.mu.Lock()
			p.checkMap(f)
			for r := range f.readers {
				if n, err := r.lookLocked(); r.waiting && (n > 0 || err != nil) {
					p.t.Errorf("seed %d: a reader at %d of [%d, %d) waits although %d bytes, %v are ready", p.seed, r.pos, r.from, r.stop, n, err)
				}
				if r.waiting && f.phase == running && len(f.plan.workers) == 0 && f.copy.have.total != f.copy.size {
					p.t.Errorf("seed %d: a reader at %d waits for nobody", p.seed, r.pos)
				}
			}
			f.mu.Unlock()
		}
		fills.mu.Unlock()
	}
}

// String tells what the fills wait for.
func (s *Fills) String() string {
	text := ""
	for _, f := range s.byDigest {
		text += fmt.Sprintf("phase %d, copies %d before, size %d, runs %v, %d workers, halted %t, fresh %t\n",
			f.phase, f.repairs.copies, f.copy.size, f.copy.have.runs, len(f.plan.workers), f.phase.halted(), !f.copy.confirmed)
		for r := range f.readers {
			text += fmt.Sprintf("reader at %d of [%d, %d), of the copy at hand %t, waiting %t\n", r.pos, r.from, r.stop, r.copy == f.copy, r.waiting)
		}
	}
	return text
}

// checkMap makes sure that no byte is counted twice, and claimed but once.
func (p *scenario) checkMap(f *fill) {
	last, total := int64(0), int64(0)
	for _, run := range f.copy.have.runs {
		if run.from < last || run.to <= run.from {
			p.t.Errorf("seed %d: runs %v", p.seed, f.copy.have.runs)
		}
		last, total = run.to, total+run.to-run.from
	}
	if total != f.copy.have.total {
		p.t.Errorf("seed %d: %d bytes in runs, %d in all", p.seed, total, f.copy.have.total)
	}
	for i, a := range f.plan.workers {
		for _, b := range f.plan.workers[i+1:] {
			if a.company.of != nil || b.company.of != nil { // what another brings too
				continue
			}
			if !a.serial && !b.serial && max(a.done, b.done) < min(a.end, b.end) {
				p.t.Errorf("seed %d: two workers for [%d, %d) and [%d, %d)", p.seed, a.done, a.end, b.done, b.end)
			}
		}
	}
}

// A client is one reader's part in a scenario.
type client struct {
	p       *scenario
	rng     *rand.Rand
	start   time.Duration
	want    pullchain.Range
	repo    string
	denied  bool          // another repository that may not have it
	pause   time.Duration // between reads
	leaves  int64         // after so many bytes; -1: never
	patient time.Duration // until its context ends; 0: for ever
	files   bool          // it sends files
}

var errDenied = &pullchain.Error{Reason: pullchain.Denied}

func (p *scenario) client(i int) *client {
	rng := rand.New(rand.NewPCG(p.seed, uint64(100+i)))
	size := int64(len(p.chain.content))
	c := &client{p: p, rng: rng, leaves: -1, repo: "library/app", files: rng.IntN(3) == 0}
	c.start = time.Duration(rng.IntN(3000)) * time.Millisecond
	a, b := rng.Int64N(size+1), rng.Int64N(size+1)
	switch rng.IntN(6) {
	case 0:
		c.want = pullchain.Range{From: min(a, b), To: max(a, b) + 1}
	case 1:
		c.want = pullchain.Range{From: a}
	case 2:
		c.want = pullchain.Range{From: -a}
	}
	switch rng.IntN(8) {
	case 0:
		c.pause = time.Duration(rng.IntN(500)) * time.Millisecond
	case 1:
		c.leaves = a
	case 2:
		c.patient = time.Duration(1+rng.IntN(3000)) * time.Millisecond
	case 3:
		c.repo, c.denied = "team/app", rng.IntN(2) == 0
	}
	return c
}

func (c *client) run() {
	p := c.p
	time.Sleep(c.start)
	ctx, cancel := context.WithCancel(p.t.Context())
	defer cancel()
	if c.patient > 0 {
		ctx, cancel = context.WithTimeout(ctx, c.patient)
		defer cancel()
	}
	p.mu.Lock()
	fills := p.fills
	p.mu.Unlock()
	resp, err := fills.Fetch(ctx, p.reg, p.request(c.repo, c.want), func(bool) error {
		if c.denied {
			return errDenied
		}
		return nil
	})
	if err == nil {
		err = c.read(resp)
	}
	c.judge(err)
}

// judge says whether the client had to succeed.
func (c *client) judge(err error) {
	p := c.p
	if err == nil || err == errLeft {
		return
	}
	e, ok := errors.AsType[*pullchain.Error](err)
	if !ok {
		p.t.Errorf("seed %d: %v: %v is no *pullchain.Error", p.seed, c.want, err)
		return
	}
	expected := c.patient > 0 || c.denied || e.Status == 416
	if p.clean && !expected {
		p.t.Errorf("seed %d: %v: %v", p.seed, c.want, err)
	}
}

var errLeft = errors.New("left on purpose")

// read reads the body as the client does, and compares it.
func (c *client) read(resp pullchain.Response) error {
	defer resp.Body.Close()
	from, to := int64(0), resp.Size
	if resp.Status == 206 {
		from, to = resp.Range.From, resp.Range.To
	}
	sections := resp.Body.Sections()
	var got []byte
	var err error
	for err == nil {
		buf := make([]byte, 1+c.rng.IntN(200*kib))
		n := 0
		if c.files && sections != nil {
			n, err = c.send(sections, buf)
		} else {
			n, err = resp.Body.Read(buf)
		}
		got = append(got, buf[:n]...)
		time.Sleep(c.pause)
		if c.leaves >= 0 && int64(len(got)) >= c.leaves {
			return errLeft
		}
	}
	if err != io.EOF {
		if whole := resp.Status == 200 && int64(len(got)) == resp.Size; whole && resp.Size > 0 && resp.Cache != pullchain.CacheBypass {
			c.p.t.Errorf("seed %d: a client has all %d bytes of a blob that ended with %v", c.p.seed, len(got), err)
		}
		return err
	}
	c.compare(got, from, to, resp)
	return nil
}

// send is one turn of front's loop over sections.
func (c *client) send(body pullchain.Sections, buf []byte) (int, error) {
	ready, err := body.Next()
	if err != nil {
		return 0, err
	}
	want := min(ready.Size, int64(len(buf)))
	n, err := ready.Content.ReadAt(buf[:want], ready.Offset)
	body.Sent(int64(n))
	if int64(n) < want {
		return n, fmt.Errorf("%d bytes were said to be ready: %w", ready.Size, err)
	}
	return n, nil
}

// compare checks a body that has ended well.
func (c *client) compare(got []byte, from, to int64, resp pullchain.Response) {
	p := c.p
	p.mu.Lock()
	if c.want.To == 0 && c.want.From >= 0 {
		p.read++
	}
	p.mu.Unlock()
	if to < 0 {
		to = int64(len(got))
	}
	want := p.chain.content
	if int64(len(got)) != to-from || to > int64(len(want)) {
		p.t.Errorf("seed %d: %v: %d bytes of [%d, %d)", p.seed, c.want, len(got), from, to)
		return
	}
	p.chain.mu.Lock()
	defer p.chain.mu.Unlock()
	all := resp.Status == 200 || from == 0 && to == resp.Size // else the end of it cannot be held back
	for i, b := range got {
		if at := from + int64(i); b != want[at] && (all || !slices.Contains(p.chain.bad, at)) {
			p.t.Errorf("seed %d: %v: byte %d of %s is wrong", p.seed, c.want, at, resp.Cache)
			return
		}
	}
}
