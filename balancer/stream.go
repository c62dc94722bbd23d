package balancer

import (
	"cmp"
	"context"
	"errors"
	"io"
	"time"

	"github.com/pullchain/pullchain"
)

// A stream reads a blob, or a range of it, and, when its lane fails, goes on at the
// same byte from another. Which lane sent which bytes is kept, for when the digest
// says that they are wrong. It is not safe for concurrent use, but for the attempts
// of its log.
type stream struct {
	b   *Balancer
	ctx context.Context
	req pullchain.Request
	log *attemptLog
	won *winner // the lane that is read from; nil when there is none

	size int64 // of the whole blob; -1 if unknown
	end  int64 // -1 if unknown
	pos  int64 // the next byte wanted

	senders senders
	resumes resumes
	pace    pace
	left    slowLane
	err     error // final
}

// senders are the lanes that a stream came from.
type senders struct {
	lanes    []*Lane // in order; a lane is there again if another sent in between
	private  bool    // one of them took a login
	login    string  // the last of those
	unproved bool    // no byte of one of them is to be shown before all are proved right
}

// add takes down that won goes on with the stream.
func (s *senders) add(won *winner) {
	s.private, s.login = s.private || won.resp.Private, cmp.Or(won.resp.Login, s.login)
	s.unproved = s.unproved || won.resp.Unproved
	if len(s.lanes) == 0 || s.last() != won.lane {
		s.lanes = append(s.lanes, won.lane)
	}
}

func (s *senders) last() *Lane { return s.lanes[len(s.lanes)-1] }

// only returns the lane that sent everything, or nil if there were several.
func (s *senders) only() *Lane {
	for _, l := range s.lanes {
		if l != s.lanes[0] {
			return nil
		}
	}
	return s.lanes[0]
}

// Read returns bytes as long as some lane has them, and an error only when none has.
// Good bytes that come together with an error are passed on first: it is found again
// by the next read, which then goes on behind them.
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
			s.end = s.pos // the digest tells whether that was all
			return 0, io.EOF
		}
		if err := s.resume(unexpected(err)); err != nil {
			s.err = err
			return 0, err
		}
	}
}

// readOnce reads from the lane at hand, and keeps its pace. A lane that turns out too
// slow is left with the next read: the bytes at hand are good, and go out first.
func (s *stream) readOnce(p []byte) (int, error) {
	if s.pace.giveUp {
		s.left = slowLane{s.won.lane, s.pace.rate, s.left.n + 1}
		return 0, &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeTooSlow, Reach: pullchain.ReachRequest, Upstream: s.won.lane.Name(), Err: errSlow}
	}
	if s.end >= 0 {
		p = p[:min(int64(len(p)), s.end-s.pos)]
	}
	began := time.Now()
	n, err := s.won.resp.Body.Read(p)
	s.pos += int64(n)
	now := time.Now()
	s.won.lane.load.received.Add(int64(n))
	if n > 0 {
		s.won.lane.load.hearing.hear(now)
	}
	if s.pace.add(n, now.Sub(began)) && err == nil {
		s.pace.giveUp = s.isTooSlow()
	}
	if s.pos >= s.resumes.mark {
		s.resumes.n = 0
	}
	return n, err
}

// isTooSlow reports whether the lane at hand is to be left for its pace, as another may be
// faster, or the one that was left for it was. A caller that verifies the blob has company
// of its own; no lane is left twice; and a body of unknown size cannot go on elsewhere.
func (s *stream) isTooSlow() bool {
	if s.req.Options.Unverified || s.size < 0 || s.left.n >= len(s.b.lanes) || isHeldBack(s.won.lane) {
		return false
	}
	if s.left.lane != nil && s.pace.rate < s.left.rate {
		outrun(s.left.lane, s.req, false)
		return true
	}
	l := s.won.lane
	return s.left.n+1 < len(s.b.lanes) && s.pace.rate < fastEnough && paceOf(l, s.pace.rate).isOutrun(s.b, l, s.remaining())
}

// finish ends the stream's business with its lane: all is read, or the rest is not
// wanted.
func (s *stream) finish(err error) {
	if s.won == nil {
		return
	}
	s.won.lane.ledger.flowed(s.pace.bytes, s.pace.waited)
	s.left.judge(s.req, &s.pace)
	s.won.close(err)
	s.won = nil
}

// blame holds a wrong digest against the lane that sent the bytes. When several
// did, it is not known which of them sent the wrong ones, and none is quarantined
// for it.
func (s *stream) blame(err error) {
	s.log.cut(s.senders.last(), s.pos, err)
	if only := s.senders.only(); only != nil {
		s.finish(only.ownError(err))
		return
	}
	s.finish(nil)
}

// Close frees the lane, which is not blamed for a body that is closed early.
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
