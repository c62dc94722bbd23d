package balancer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/pullchain/pullchain"
)

// A stream reads the bytes [from, end) of a blob and, when its lane fails, goes
// on at the same byte from another. It is not safe for concurrent use.
type stream struct {
	b     *Balancer
	ctx   context.Context
	req   pullchain.Request
	trail *trail
	won   *answer // the lane that is read from; nil when there is none

	size      int64 // of the whole blob; -1 if unknown
	from, end int64 // end is -1 if unknown
	pos       int64 // the next byte wanted
	segments  []segment
	private   bool    // one of the lanes took a login
	login     string  // the last of those
	unfit     []*Lane // their answers to a resume were parts of something else
	resumes   int     // since progress was last made
	broke     bool    // who was opened for the next byte has failed at it too
	mark      int64   // where pos was then
	pace      pace
	err       error // final
}

// A segment is a run of bytes that one lane sent.
type segment struct {
	lane *Lane
	from int64
}

// A resume must bring this much, or a quarter of what was left, to count as
// progress; so many that do not in a row end the stream (FAULTS.md 9 allows 6
// attempts).
const (
	resumeProgress = 64 << 10
	maxResumes     = 6
)

// setMark says how far the lane that was just opened must get.
func (s *stream) setMark() {
	s.mark = s.pos + resumeProgress
	if s.end >= 0 {
		s.mark = min(s.mark, s.pos+max((s.end-s.pos)/4, 1))
	}
}

func (s *stream) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	for {
		if s.end >= 0 && s.pos >= s.end {
			s.finish(nil)
			return 0, io.EOF
		}
		n, err := s.readOnce(p)
		if n > 0 {
			return n, nil // an error with it comes again with the next read
		}
		if err == nil {
			continue
		}
		if err == io.EOF && s.end < 0 {
			s.end = s.pos // whoever verifies the blob finds out whether that was all
			return 0, io.EOF
		}
		if err := s.resume(unexpected(err)); err != nil {
			s.err = err
			return 0, err
		}
	}
}

// readOnce reads from the lane at hand, and keeps its pace.
func (s *stream) readOnce(p []byte) (int, error) {
	if s.pace.giveUp {
		return 0, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeStall, Upstream: s.won.lane.Name(), Err: errSlow}
	}
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.pos)]
	}
	began := time.Now()
	n, err := s.won.resp.Body.Read(p)
	s.pos += int64(n)
	if slow := s.pace.add(n, time.Since(began)); slow && err == nil && s.b.fasterThan(s.pace.rate, s.won.lane, s.rest()) {
		s.pace.giveUp = true
	}
	if s.pos >= s.mark {
		s.resumes = 0
	}
	return n, err
}

// rest is the request for what is still to come. Whatever the terms of the first
// one, nothing goes on with another byte than the next.
func (s *stream) rest() pullchain.Request {
	req := s.req
	req.Options.Unverified = false
	req.Range = pullchain.Range{From: s.pos}
	if s.end >= 0 && s.end != s.size {
		req.Range.To = s.end
	}
	return req
}

// resume blames the lane at hand for cause and opens another at the same byte.
// It returns nil when there is one to go on with.
func (s *stream) resume(cause error) error {
	failed := s.won
	cause = failed.lane.ownWords(cause)
	failed.close(cause)
	s.won = nil
	if s.ctx.Err() != nil {
		return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: context.Cause(s.ctx)}
	}
	if s.size < 0 {
		return cause // nobody knows what a later byte of it would be
	}
	s.trail.cut(failed.lane, s.pos, cause)
	s.broke = s.resumes > 0
	wait := resumeBackoff()
	for ; s.resumes < s.mostResumes(); s.resumes++ {
		unfit := len(s.unfit)
		if s.open() {
			s.resumes++
			return nil
		}
		if spare(s.req) {
			break
		}
		if len(s.unfit) > unfit {
			continue // others have not been asked yet
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-s.ctx.Done():
			return &pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: context.Cause(s.ctx)}
		}
	}
	return errors.Join(cause, s.trail.verdict(s.ctx, s.b.inOrder))
}

// mostResumes is how many lanes in a row may bring nothing to speak of. Where the
// caller verifies the blob and lanes contradict each other on what it is, it is
// for him to say whom to believe, and soon: here only the first one's word counts.
func (s *stream) mostResumes() int {
	if s.req.Options.Unverified && s.broke && len(s.unfit) > 0 {
		return min(maxResumes, len(s.unfit)+1)
	}
	return maxResumes
}

// resumeBackoff is the wait between rounds over all lanes in which none could
// go on. Between lanes there is no wait.
func resumeBackoff() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(4*time.Second), backoff.WithMaxElapsedTime(0))
}

// open asks the lanes for the rest of the blob, those that have failed it last.
func (s *stream) open() bool {
	req := s.rest()
	s.trail.restart()
	lanes := s.b.choose(req, s.failed(), s.trail)
	won := s.b.race(s.ctx, req, lanes, s.trail)
	if won == nil && s.ctx.Err() == nil && !spare(req) {
		won = s.b.force(s.ctx, req, s.trail)
	}
	s.noteRefused()
	if won == nil || !s.fits(won) {
		return false
	}
	s.b.recordFailover(req, s.trail, won.lane)
	s.won, s.pace = won, pace{}
	s.private, s.login = s.private || won.resp.Private, cmp.Or(won.resp.Login, s.login)
	s.setMark()
	if s.segments[len(s.segments)-1].lane != won.lane {
		s.segments = append(s.segments, segment{lane: won.lane, from: s.pos})
	}
	return true
}

// failed returns the lanes that are of least use for the rest: those that have
// sent parts of the blob, which all of them failed to finish, the latest last,
// and then those that have something else in its place.
func (s *stream) failed() []*Lane {
	var lanes []*Lane
	for _, seg := range s.segments {
		lanes = moveToEnd(lanes, seg.lane)
	}
	for _, l := range s.unfit {
		lanes = moveToEnd(lanes, l)
	}
	return lanes
}

func moveToEnd(lanes []*Lane, l *Lane) []*Lane {
	return append(slices.DeleteFunc(lanes, func(other *Lane) bool { return other == l }), l)
}

// fits checks that won goes on with the same blob at the right byte. A 206 of
// another object would splice two blobs into one (FAULTS.md F46). Had a manifest
// told the size, [Balancer.fit] would have known who is wrong; here it is one
// lane's word against another's, and none is shut out for it.
func (s *stream) fits(won *answer) bool {
	resp := won.resp
	same := resp.Size < 0 || resp.Size == s.size
	if same && (resp.Status == http.StatusPartialContent && resp.Range.From == s.pos || s.pos == 0) {
		return true
	}
	won.close(won.lane.ownWords(disagreement("a part of something else: %d bytes in all, not %d", resp.Size, s.size)))
	s.unfit = moveToEnd(s.unfit, won.lane)
	return false
}

// noteRefused takes note of the lanes that have just said that the blob ends before
// the next byte.
func (s *stream) noteRefused() {
	for _, a := range s.trail.recent() {
		if e := asError(a.Err); e == nil || e.Status != http.StatusRequestedRangeNotSatisfiable {
			continue
		}
		for _, l := range s.b.lanes {
			if l.Name() == a.Upstream {
				s.unfit = moveToEnd(s.unfit, l)
			}
		}
	}
}

// finish ends the stream's business with its lane: all is read, or nobody
// wants the rest.
func (s *stream) finish(err error) {
	if s.won == nil {
		return
	}
	s.won.lane.ledger.flowed(s.pace.bytes, s.pace.waited)
	s.won.close(err)
	s.won = nil
}

// blame holds a wrong digest against the lane that sent the bytes. When several
// did, nobody knows which of them lied, and none is shut out for it.
func (s *stream) blame(err error) {
	s.trail.cut(s.segments[len(s.segments)-1].lane, s.pos, err)
	for _, seg := range s.segments {
		if seg.lane != s.segments[0].lane {
			s.finish(nil)
			return
		}
	}
	s.finish(s.segments[0].lane.ownWords(err))
}

// Close frees the lane. Closing early is nobody's fault.
func (s *stream) Close() error {
	if s.won != nil && (s.end < 0 || s.pos < s.end) {
		s.finish(&pullchain.Error{Reason: pullchain.Canceled, Code: pullchain.CodeCanceled, Err: errClosed})
	}
	s.finish(nil)
	if s.err == nil {
		s.err = errClosed
	}
	return nil
}

var (
	errClosed = errors.New("body closed")
	errSlow   = errors.New("much slower than another lane")
)

// pace measures how fast a lane sends, by the time spent waiting for it: a slow
// client does not make a lane slow (FAULTS.md F21).
type pace struct {
	bytes  int64
	waited time.Duration

	windowBytes int64
	window      time.Duration
	rate        float64 // of the last full window, bytes/s
	giveUp      bool
}

const (
	paceWindow = 20 * time.Second
	paceFloor  = 32 << 10 // bytes/s
	paceBetter = 4        // times as fast another lane must be to change over
)

// add counts n bytes that took d, and reports whether a window has just ended
// that was too slow.
func (p *pace) add(n int, d time.Duration) bool {
	p.bytes += int64(n)
	p.waited += d
	p.windowBytes += int64(n)
	p.window += d
	if p.window < paceWindow {
		return false
	}
	p.rate = float64(p.windowBytes) / p.window.Seconds()
	p.windowBytes, p.window = 0, 0
	return p.rate < paceFloor
}

// fasterThan reports whether another lane that may be asked for req is known to
// be much faster than rate.
func (b *Balancer) fasterThan(rate float64, than *Lane, req pullchain.Request) bool {
	now := time.Now()
	for _, l := range b.lanes {
		if l != than && l.ledger.throughput() > paceBetter*rate && l.shut(req, now) == nil {
			return true
		}
	}
	return false
}
