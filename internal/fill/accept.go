package fill

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pullchain/pullchain"
)

// A known is what a fill knows when an answer comes.
type known struct {
	confirmed bool  // an upstream has confirmed the size for this copy
	size      int64 // of the blob; -1 if it is not known
	expected  int64 // its size as a manifest has it; 0 if none has told
	end       int64 // of the bytes that are there
}

// A use is what an answer is good for.
type use uint8

const (
	useNone     use = iota // it is wrong: the error says why
	usePart                // it is a part of the copy at hand
	useFirst               // it is the first to this copy, and says what the blob is
	useAskWhole            // it is a part of something of unknown size, of which the whole is needed
)

// useOf decides what resp is good for as the answer to req, and which bytes its
// body carries; to is 0 if that is not known. What a manifest says of the size
// stands above what an answer says (docs/faults.md F19). A lane may answer with the whole,
// with less than was asked, or with something whose size it does not tell: that is
// not wrong. Wrong is what cannot be a part of this blob.
func (k known) useOf(req pullchain.Request, resp pullchain.Response) (u use, from, to int64, err error) {
	if from, to, err = carried(req, resp); err != nil {
		return useNone, 0, 0, err
	}
	size := k.size
	switch {
	case k.expected > 0:
		size = k.expected
	case !k.confirmed && resp.Status == http.StatusPartialContent && resp.Size < 0:
		return useAskWhole, 0, 0, nil
	case !k.confirmed:
		return useFirst, from, to, nil
	}
	other := size >= 0 && resp.Size >= 0 && resp.Size != size
	if other || resp.Size >= 0 && k.confirmed && resp.Size < k.end || size >= 0 && to > size {
		return useNone, 0, 0, &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Reach: pullchain.ReachRequest, Upstream: pullchain.ServedBy(resp.Attempts),
			Err: fmt.Errorf("a part of something of %d bytes, not %d", max(resp.Size, to), max(size, k.end)),
		}
	}
	if !k.confirmed {
		return useFirst, from, to, nil
	}
	return usePart, from, to, nil
}

// carried returns which bytes the body of resp carries; to is 0 if it is not known.
func carried(req pullchain.Request, resp pullchain.Response) (from, to int64, err error) {
	if resp.Status != http.StatusPartialContent {
		return 0, max(resp.Size, 0), nil
	}
	got := resp.Range
	if req.Range.Whole() || req.Range.From >= 0 && got.From != req.Range.From || got.From < 0 || got.To <= got.From || resp.Size >= 0 && got.To > resp.Size {
		return 0, 0, &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongRange, Reach: pullchain.ReachRequest,
			Err: fmt.Errorf("asked for %v, got %v of %d", req.Range, got, resp.Size),
		}
	}
	return got.From, got.To, nil
}

// errAskWhole and errNotNeeded say that nothing is wrong with an answer, only that
// it is of no use.
var (
	errAskWhole  = errors.New("a part of something of unknown size")
	errNotNeeded = errors.New("another worker will be there before, or all is over")
)

// accept makes sure that resp is a part of the blob, learns from it what is not
// known yet, and tells w where its bytes go.
func (w *worker) accept(req pullchain.Request, resp pullchain.Response) error {
	f := w.f
	f.mu.Lock()
	k := known{f.copy.confirmed, f.copy.size, f.req.Size, f.copy.have.end()}
	f.mu.Unlock()
	u, from, to, err := k.useOf(req, resp)
	if u == useNone && f.resize(resp.Size, pullchain.ServedBy(resp.Attempts)) {
		k.size = resp.Size
		u, from, to, err = k.useOf(req, resp)
	}
	switch u {
	case useNone:
		return err
	case useAskWhole: // all is needed, from 0
		return cmp.Or(f.askWhole(), errAskWhole)
	}
	blank := false
	if u == useFirst {
		if blank, err = f.learn(resp); err != nil {
			f.detach(err)
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changes.notify()
	if f.phase.halted() {
		return errNotNeeded
	}
	w.lane = pullchain.ServedBy(resp.Attempts)
	w.answered(time.Now())
	if w.company.of != nil && resp.Status != http.StatusPartialContent && w.done > 0 {
		return errNotNeeded
	}
	f.admitLocked(resp)
	w.took = LoginOf(resp)
	partial := resp.Status == http.StatusPartialContent
	if blank {
		w.take(from, f.copy.limit())
		if end := req.Range.To; end > 0 && f.copy.size >= 0 {
			w.end = min(w.end, end)
		}
		w.serial = !partial && !req.Range.Whole()
		f.copy.noRange = w.serial
	}
	if !w.fitLocked(partial, to) {
		return errNotNeeded
	}
	return nil
}

// resize takes another size for the copy at hand if that is allowed.
func (f *fill) resize(size int64, by string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resizeLocked(size, by)
}

func (f *fill) resizeLocked(size int64, by string) bool {
	if f.req.Size > 0 || len(f.plan.workers) > 1 || !f.copy.resize(size, by) {
		return false
	}
	f.changes.notify()
	return true
}

// admitLocked takes note that an upstream has the blob, and of what that took.
func (f *fill) admitLocked(resp pullchain.Response) {
	if f.copy.size < 0 {
		f.copy.size = resp.Size
	}
	if !f.answered {
		f.phase, f.answered = running, true
	}
	f.access.add(resp.Private)
	f.copy.unproved = f.copy.unproved || resp.Unproved
	f.access.login = cmp.Or(resp.Login, f.access.login, LoginOf(resp))
}

// askWhole makes the next request one for the whole blob.
func (f *fill) askWhole() error {
	if err := f.forget(); err != nil {
		f.detach(err)
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.copy.ask = pullchain.Range{}
	return nil
}

// learn takes the size from the first answer to a copy, or from the manifest, and
// makes room for it. blank is true if there is nothing that the answer has to fit in
// with.
func (f *fill) learn(resp pullchain.Response) (blank bool, err error) {
	size := resp.Size
	if size < 0 && f.req.Size > 0 {
		size = f.req.Size
	}
	f.mu.Lock()
	blank = f.copy.have.total == 0 || size != f.copy.size || !f.copy.continues(LoginOf(resp))
	f.mu.Unlock()
	if blank { // what an earlier attempt left, if anything, is of something else, or not for this upstream's clients
		if err := f.forget(); err != nil {
			return false, err
		}
	}
	// Nothing else works on the spool: this is the only worker, and nothing is
	// hashed before the first answer.
	if spool := f.copy.back.spool; size >= 0 && size != spool.Size() {
		if err := spool.SetSize(size); err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.copy
	c.size, c.confirmed, c.sizedBy = size, true, pullchain.ServedBy(resp.Attempts)
	f.access.restart(c.tookLogin())
	f.access.add(resp.Private)
	return blank, nil
}

// forget throws away what an earlier attempt left.
func (f *fill) forget() error {
	f.mu.Lock()
	had := f.copy.forget()
	f.mu.Unlock()
	if !had {
		return nil
	}
	return f.copy.back.spool.Reset()
}

// fitLocked fits w's claim to a body that goes to to. It returns false if the body
// is of no use.
func (w *worker) fitLocked(partial bool, to int64) bool {
	c := w.f.copy
	if w.reach = to; to == 0 || c.size < 0 { // only its end tells
		w.reach = c.limit()
	}
	w.end = min(w.end, c.limit())
	if partial || w.done == 0 {
		return true
	}
	// The upstream sends the whole although a range was asked for (docs/faults.md F46).
	// What comes from 0 on is spooled on the way to the range, unless another's
	// body will get there before.
	c.noRange = true
	for _, other := range w.f.plan.workers {
		if other != w && other.pos <= w.pos && w.pos < other.reach {
			return false
		}
	}
	reach := w.reach
	w.take(0, w.end)
	w.reach, w.serial = reach, true
	return true
}
