package balancer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/pullchain/pullchain"
)

// resumes is what a stream knows of its attempts to go on.
type resumes struct {
	n     int     // since progress was last made
	mark  int64   // how far the stream must get for progress
	again bool    // the lane that was opened for the next byte has failed at it too
	unfit []*Lane // what they answered were parts of something else
}

// Resumes are limited by what they bring and not by their number: a layer of some
// gigabytes over a bad line may be cut a hundred times and still arrive.
//
// A resume must bring this much, or a quarter of what was left, to count as
// progress; so many that do not in a row end the stream (docs/faults.md 9 allows 6
// attempts).
const (
	resumeProgress = 64 << 10
	maxResumes     = 6
)

// setMark says how far the lane that was just opened must get.
func (s *stream) setMark() {
	s.resumes.mark = s.pos + resumeProgress
	if s.end >= 0 {
		s.resumes.mark = min(s.resumes.mark, s.pos+max((s.end-s.pos)/4, 1))
	}
}

// remaining is the request for what is still to come. Whatever the options of the
// first one, no answer that begins at another byte will do.
func (s *stream) remaining() pullchain.Request {
	req := s.req
	req.Options.Unverified = false
	req.Range = pullchain.Range{From: s.pos}
	if s.end >= 0 && s.end != s.size {
		req.Range.To = s.end
	}
	return req
}

// resume blames the lane at hand for cause and opens another at the same byte.
// It returns nil when there is one to go on with. A client knows nothing of it: of
// the clients, podman, skopeo 1.9 and crane fail a pull whose blob is cut, and
// containerd resumes only after an exact io.ErrUnexpectedEOF (docs/protocol.md 4.3, 7).
func (s *stream) resume(cause error) error {
	failed := s.won
	cause = failed.lane.ownError(cause)
	failed.close(cause)
	s.won = nil
	if s.ctx.Err() != nil {
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: context.Cause(s.ctx)}
	}
	if s.size < 0 {
		return cause // no later answer could be told from one about another blob
	}
	s.log.cut(failed.lane, s.pos, cause)
	s.resumes.again = s.resumes.n > 0
	wait := resumeBackoff()
	// Between lanes there is no wait, only between rounds in which none could go on:
	// what failed may be our own line, and come back.
	for ; s.resumes.n < s.mostResumes(); s.resumes.n++ {
		unfit := len(s.resumes.unfit)
		if s.open() {
			s.resumes.n++
			return nil
		}
		if hasFallback(s.req) {
			break
		}
		if len(s.resumes.unfit) > unfit {
			continue // others have not been asked yet
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-s.ctx.Done():
			return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: context.Cause(s.ctx)}
		}
	}
	return errors.Join(cause, s.log.finalError(s.ctx, s.b.inOrder))
}

// mostResumes is how many lanes in a row may bring nothing to speak of. Where the
// caller verifies the blob and lanes contradict each other on what it is, the caller
// decides which of them to believe, and soon: here only the first one's word counts.
func (s *stream) mostResumes() int {
	if s.req.Options.Unverified && s.resumes.again && len(s.resumes.unfit) > 0 {
		return min(maxResumes, len(s.resumes.unfit)+1)
	}
	return maxResumes
}

// resumeBackoff is the wait between rounds over all lanes in which none could
// go on.
func resumeBackoff() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(4*time.Second), backoff.WithMaxElapsedTime(0))
}

// open asks the lanes for the rest of the blob, those that have failed it last. Where all
// that may be asked have failed it again and again, those whose gates are closed on a
// guess go before them: one that cuts every body may keep its gates open for ever.
func (s *stream) open() bool {
	req := s.remaining()
	s.log.restart()
	lanes := s.b.choose(req, s.failed(), s.log)
	forceFirst := s.resumes.n >= maxResumes/2 && s.haveFailed(lanes)
	var won *winner
	if forceFirst {
		won = s.force(req)
	}
	if won == nil {
		won = s.b.race(s.ctx, req, lanes, s.log)
	}
	if won == nil && !forceFirst {
		won = s.force(req)
	}
	s.noteRefused()
	if won == nil || !s.fits(won) {
		return false
	}
	s.b.recordFailover(req, s.log, won.lane)
	s.b.totals.resumed(s.pos - max(s.req.Range.From, 0))
	s.won, s.pace = won, pace{}
	if won.lane == s.left.lane {
		s.left.lane = nil // it is not judged by its own pace
	}
	s.senders.add(won)
	s.setMark()
	return true
}

// failed returns the lanes that are of least use for the rest: those that have
// sent parts of the blob, which all of them failed to finish, the latest last,
// and then those that have something else in its place.
func (s *stream) failed() []*Lane {
	var lanes []*Lane
	for _, l := range s.senders.lanes {
		lanes = moveToEnd(lanes, l)
	}
	for _, l := range s.resumes.unfit {
		lanes = moveToEnd(lanes, l)
	}
	return lanes
}

// force makes the forced try for req, unless the caller has something to fall back on.
func (s *stream) force(req pullchain.Request) *winner {
	if s.ctx.Err() != nil || hasFallback(req) {
		return nil
	}
	return s.b.force(s.ctx, req, s.log)
}

// haveFailed reports whether all of lanes have failed to send the rest.
func (s *stream) haveFailed(lanes []*Lane) bool {
	failed := s.failed()
	return !slices.ContainsFunc(lanes, func(l *Lane) bool { return !slices.Contains(failed, l) })
}

func moveToEnd(lanes []*Lane, l *Lane) []*Lane {
	return append(slices.DeleteFunc(lanes, func(other *Lane) bool { return other == l }), l)
}

// fits checks that won goes on with the same blob at the right byte. A 206 of
// another object would splice two blobs into one (docs/faults.md F46). Had a manifest
// told the size, [Balancer.validate] would have known which is wrong; here it is one
// lane's word against another's, and none is quarantined for it.
func (s *stream) fits(won *winner) bool {
	resp := won.resp
	same := resp.Size < 0 || resp.Size == s.size
	if same && (resp.Status == http.StatusPartialContent && resp.Range.From == s.pos || s.pos == 0) {
		return true
	}
	won.close(won.lane.ownError(sizeConflict("a part of something else: %d bytes in all, not %d", resp.Size, s.size)))
	s.resumes.unfit = moveToEnd(s.resumes.unfit, won.lane)
	return false
}

// noteRefused takes note of the lanes that have just said that the blob ends before
// the next byte.
func (s *stream) noteRefused() {
	for _, a := range s.log.recent() {
		if e := asError(a.Err); e == nil || e.Status != http.StatusRequestedRangeNotSatisfiable {
			continue
		}
		if l := s.b.lane(a.Upstream); l != nil {
			s.resumes.unfit = moveToEnd(s.resumes.unfit, l)
		}
	}
}
