package cache

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/pullchain/pullchain"
)

// accept makes sure that resp is a part of the blob, learns from it what is not
// known yet, and tells w where its bytes go. Its other errors say that nothing is
// wrong with the answer, only that it is of no use: errAskWhole, errNotNeeded.
func (f *fill) accept(w *worker, req pullchain.Request, resp pullchain.Response) error {
	from, to, err := place(req, resp)
	if err != nil {
		return err
	}
	partial := resp.Status == http.StatusPartialContent
	f.mu.Lock()
	fresh, size, end := f.fresh, f.size, f.have.end()
	f.mu.Unlock()
	anew := false
	switch {
	case fresh && partial && resp.Size < 0: // of an unknown size all is needed, from 0
		if err := f.forget(); err != nil {
			f.detach(err)
			return err
		}
		f.mu.Lock()
		f.ask = pullchain.Range{}
		f.mu.Unlock()
		return errAskWhole
	case fresh:
		if anew, err = f.learn(resp); err != nil {
			f.detach(err)
			return err
		}
	case size >= 0 && resp.Size >= 0 && resp.Size != size && f.outvoted(resp.Size, pullchain.ServedBy(resp.Attempts)):
	case resp.Size >= 0 && (size >= 0 && resp.Size != size || resp.Size < end), size >= 0 && to > size:
		return &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongSize, Scope: pullchain.ScopeRequest, Upstream: pullchain.ServedBy(resp.Attempts),
			Err: fmt.Errorf("a part of something of %d bytes, not %d", max(resp.Size, to), max(size, end)),
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.wakeLocked()
	if f.halted {
		return errNotNeeded
	}
	if f.size < 0 {
		f.size = resp.Size
	}
	if !f.answered {
		f.state, f.answered = running, true
	}
	f.loginLocked(resp.Private)
	f.login = cmp.Or(resp.Login, f.login, loginOf(resp))
	if anew {
		w.claim(from, f.limitLocked())
		if end := req.Range.To; end > 0 && f.size >= 0 {
			w.end = min(w.end, end)
		}
		w.serial = !partial && !req.Range.Whole()
		f.noRange = w.serial
	}
	if !f.aimLocked(w, partial, to) {
		return errNotNeeded
	}
	return nil
}

var (
	errAskWhole  = errors.New("a part of something of unknown size")
	errNotNeeded = errors.New("another worker will be there before, or all is over")
)

// place returns which bytes the body of resp carries; to is 0 if it is not known.
func place(req pullchain.Request, resp pullchain.Response) (from, to int64, err error) {
	if resp.Status != http.StatusPartialContent {
		return 0, max(resp.Size, 0), nil
	}
	got := resp.Range
	if req.Range.Whole() || req.Range.From >= 0 && got.From != req.Range.From || got.From < 0 || got.To <= got.From || resp.Size >= 0 && got.To > resp.Size {
		return 0, 0, &pullchain.Error{
			Reason: pullchain.Corrupt, Code: pullchain.CodeWrongRange, Scope: pullchain.ScopeRequest,
			Err: fmt.Errorf("asked for %v, got %v of %d", req.Range, got, resp.Size),
		}
	}
	return got.From, got.To, nil
}

// learn takes the size from the first answer to a copy, and makes room for it.
// anew is true if there is nothing that the answer has to fit in with.
func (f *fill) learn(resp pullchain.Response) (anew bool, err error) {
	f.mu.Lock()
	anew = f.have.total == 0 || resp.Size != f.size
	f.mu.Unlock()
	if anew { // what an earlier attempt left, if anything, is of something else
		if err := f.forget(); err != nil {
			return false, err
		}
	}
	// Nobody else works on the spool: this is the only worker, and nothing is
	// hashed before the first answer.
	if resp.Size >= 0 && resp.Size != f.back.spool.Size() {
		if err := f.back.spool.SetSize(resp.Size); err != nil {
			return false, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size, f.fresh, f.from, f.broke = resp.Size, false, pullchain.ServedBy(resp.Attempts), false
	f.private = f.resumed && !f.known // of an earlier copy nothing is left
	f.loginLocked(resp.Private)
	return anew, nil
}

// loginLocked notes whether what comes took a login. One part that did makes the
// copy private: an anonymous answer that brought nothing, or junk, proves nothing.
func (f *fill) loginLocked(private bool) {
	f.private = f.private || private && !f.known
}

// aimLocked fits w's claim to a body that goes to to. It returns false if the
// body is of no use.
func (f *fill) aimLocked(w *worker, partial bool, to int64) bool {
	if w.reach = to; to == 0 || f.size < 0 { // only its end tells
		w.reach = f.limitLocked()
	}
	w.end = min(w.end, f.limitLocked())
	if partial || w.done == 0 {
		return true
	}
	// The lane sends the whole although a range was asked for (FAULTS.md F46).
	// What comes from 0 on is spooled on the way to the range, unless another's
	// body will get there before.
	f.noRange = true
	for _, other := range f.workers {
		if other != w && other.pos <= w.pos && w.pos < other.reach {
			return false
		}
	}
	reach := w.reach
	w.claim(0, w.end)
	w.reach, w.serial = reach, true
	return true
}

// misled reports whether the first fetch failed because it asked for a part of
// what an earlier attempt had taken for the blob.
func (f *fill) misled(err error) bool {
	e, ok := errors.AsType[*pullchain.Error](err)
	f.mu.Lock()
	defer f.mu.Unlock()
	return ok && e.Status == http.StatusRequestedRangeNotSatisfiable && f.state == opening && f.have.total > 0
}

// forget throws away what an earlier attempt left.
func (f *fill) forget() error {
	f.mu.Lock()
	had := f.have.total > 0
	f.have, f.size, f.resumed = ranges{}, -1, false
	f.mu.Unlock()
	if !had {
		return nil
	}
	return f.back.spool.Reset()
}
