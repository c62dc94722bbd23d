package notify

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/guard"
	"github.com/pullchain/pullchain/internal/snooze"
)

const (
	firstRetry = 2 * time.Second
	longRetry  = 2 * time.Minute
	patience   = 15 * time.Minute // after which a message is given up

	// maxQueued is how many things a queue holds the news of. Each has one place, in
	// which the newest stands.
	maxQueued = 256
)

// A hook is one webhook at work: what it has told, and what is on its way.
type hook struct {
	Webhook
	client *client
	from   func() Sender
	log    *slog.Logger
	guard  *guard.Guard

	track *tracker // of the watching goroutine alone
	stop  context.CancelFunc
	wake  chan struct{} // has one when the queue may have something

	mu      sync.Mutex
	queue   []Change // oldest first, one for each Key
	seq     uint64   // of the newest Change
	lastOK  time.Time
	lastErr string
}

// put queues changes. A newer one takes the place of what was not told yet: a reader
// wants to know how things are.
func (h *hook) put(changes []Change) {
	if len(changes) == 0 {
		return
	}
	h.mu.Lock()
	for _, c := range changes {
		if i := slices.IndexFunc(h.queue, func(q Change) bool { return q.Key == c.Key }); i >= 0 {
			c.From = h.queue[i].From
			h.queue = slices.Delete(h.queue, i, i+1)
		}
		h.seq++
		c.seq = h.seq
		h.queue = append(h.queue, c)
	}
	h.queue = slices.Delete(h.queue, 0, max(0, len(h.queue)-maxQueued))
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// queued returns what is to be told, the worst first.
func (h *hook) queued() []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := slices.Clone(h.queue)
	slices.SortStableFunc(out, func(a, b Change) int { return int(b.Level - a.Level) })
	return out
}

// drop takes changes from the queue, but for those that are newer now.
func (h *hook) drop(changes []Change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = slices.DeleteFunc(h.queue, func(q Change) bool {
		return slices.ContainsFunc(changes, func(c Change) bool { return c.seq == q.seq })
	})
}

// run tells what is queued until ctx is done.
func (h *hook) run(ctx context.Context) {
	defer h.client.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
			if !h.guard.Do(guard.Notify, func() { h.deliver(ctx) }) {
				h.drop(h.queued()) // or what cannot be said would stand before all that follows
			}
		}
	}
}

// deliver sends the queue, again and again until the service takes it, refuses it
// for good, or patience is at its end. Each try tells how things are by then.
func (h *hook) deliver(ctx context.Context) {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longRetry), backoff.WithMaxElapsedTime(0))
	began := time.Now()
	for {
		changes := h.queued()
		if len(changes) == 0 {
			return
		}
		_, err := h.client.send(ctx, compose(h.catalogue(), h.from(), changes, time.Now()))
		if ctx.Err() != nil {
			return
		}
		h.note(err)
		no, isNo := errors.AsType[*refusal](err)
		if err == nil || !isNo || !no.retry {
			h.drop(changes)
			began = time.Now()
			wait.Reset()
			continue
		}
		pause := max(wait.NextBackOff(), no.after)
		if time.Since(began)+pause > patience {
			h.drop(changes)
			return
		}
		if !snooze.For(ctx, pause) {
			return
		}
	}
}

// note keeps how a try went, and logs where that changes: the first failure of a row, and
// the first success after it.
func (h *hook) note(err error) {
	h.mu.Lock()
	failing := h.lastErr != ""
	if err == nil {
		h.lastOK, h.lastErr = time.Now(), ""
	} else {
		h.lastErr = err.Error()
	}
	h.mu.Unlock()
	switch {
	case err != nil && !failing:
		h.log.Warn("a notification was not taken", "notify", h.Title(), "kind", h.Kind, "error", err.Error())
	case err == nil && failing:
		h.log.Info("notifications are taken again", "notify", h.Title(), "kind", h.Kind)
	}
}

// snapshot is how the webhook fares.
func (h *hook) snapshot() admin.Notifier {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := admin.Notifier{Name: h.Title(), Kind: h.Kind, LastError: h.lastErr, Queued: len(h.queue)}
	if !h.lastOK.IsZero() {
		at := h.lastOK
		out.LastSent = &at
	}
	return out
}
