// Package openfiles notices when there are no file descriptors left, and keeps a few of
// them for the operator's plane, so that it answers then of all times.
//
// A connection and an open file take a descriptor each, and a process may have so many
// of them as RLIMIT_NOFILE says; the machine has a limit of its own. Go raises the soft
// limit to the hard one at the start. A [Keeper] takes a few off again: what is
// accepted, dialled and opened fails a little earlier, and only a listener of the
// operator's plane goes beyond, for the moment of one accept. On systems other than
// Linux nothing is kept back.
package openfiles

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// reserved is how many descriptors the operator's plane has for itself: a browser
	// takes six, a scrape and the CLI one each. Where there are few, it is an eighth.
	reserved = 32

	lookEvery = time.Second      // how often it is looked whether there is one left
	calm      = 10 * time.Second // without want, after which it is over
	sayAgain  = time.Minute      // how often want that goes on is said
)

// Short reports whether err says that there are no descriptors left: for this process, or
// on the machine. The resolver of names has no more than its text.
func Short(err error) bool {
	return err != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		strings.Contains(err.Error(), syscall.EMFILE.Error()) || strings.Contains(err.Error(), syscall.ENFILE.Error()))
}

// A State is how a process stands with its descriptors.
type State struct {
	Limit    uint64     `json:"limit"`    // that there may be, those of the operator's plane with them; 0: not known
	Reserved uint64     `json:"reserved"` // of them, for the operator's plane
	Short    bool       `json:"short"`    // there are none left
	Machine  bool       `json:"machine"`  // and it is the whole machine that has none
	Since    *time.Time `json:"since"`    // null unless there are none left
}

// A Keeper watches over the descriptors of a process. Its methods may be called by several
// goroutines at once.
type Keeper struct {
	log *slog.Logger

	mu      sync.Mutex // guards what is below
	since   time.Time  // when the want began; zero: there is none
	last    time.Time  // when it was last felt
	said    time.Time
	machine bool
}

// Keep keeps descriptors back for the operator's plane. log may be nil, which discards.
func Keep(log *slog.Logger) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	keepBack()
	return &Keeper{log: log}
}

// State returns how things stand.
func (k *Keeper) State() State {
	soft, hard := limits()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := State{Limit: hard, Reserved: hard - soft, Machine: k.machine}
	if !k.since.IsZero() {
		since := k.since
		s.Short, s.Since = true, &since
	}
	return s
}

// Run looks whether there is a descriptor left until ctx is done. It finds want that no
// listener meets, and its end.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			keepBack() // the limit may have been raised meanwhile, which is the way out of want
			f, err := os.Open(os.DevNull)
			if err == nil {
				_ = f.Close() // it was only opened
			}
			k.noted(err)
		}
	}
}

// noted takes note of how an attempt to get a descriptor went.
func (k *Keeper) noted(err error) {
	now := time.Now()
	soft, _ := limits()
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case Short(err):
		if k.since.IsZero() {
			k.since = now
		}
		k.last, k.machine = now, errors.Is(err, syscall.ENFILE)
		if now.Sub(k.said) < sayAgain && !k.said.IsZero() {
			return
		}
		k.said = now
		fix := "raise it: LimitNOFILE= in the service's unit, --ulimit nofile= for a container; or `prlimit --nofile=65536 --pid`, which needs no restart"
		if k.machine {
			fix = "raise the machine's: `sysctl fs.file-max`"
		}
		k.log.Warn("no file descriptors are left: new connections wait, pulls under way go on", "limit", soft, "machine", k.machine, "error", err, "fix", fix)
	case !k.since.IsZero() && now.Sub(k.last) >= calm:
		k.log.Info("there are file descriptors again", "limit", soft, "lasted", now.Sub(k.since).Round(time.Second))
		k.since, k.machine = time.Time{}, false
	}
}

// Clients returns l, whose want of descriptors is noted. Its connections are those of l.
func (k *Keeper) Clients(l net.Listener) net.Listener { return &clients{l, k} }

type clients struct {
	net.Listener
	keeper *Keeper
}

// Accept accepts as long as there are descriptors for all.
func (l *clients) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if Short(err) {
		l.keeper.noted(err)
	}
	return c, err
}

// Operators returns l, which accepts also when there are no descriptors left for others.
func (k *Keeper) Operators(l net.Listener) net.Listener { return &operators{l, k} }

type operators struct {
	net.Listener
	keeper *Keeper
}

// Accept accepts, beyond the limit of others where that is reached.
func (l *operators) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if !errors.Is(err, syscall.EMFILE) {
			return c, err
		}
		l.keeper.noted(err)
		switch ready, known := comes(l.Listener); {
		case !known:
			return c, err
		case ready: // so that it is accepted at once, and the limit is lifted for no longer
			beyond(func() { c, err = l.Listener.Accept() })
			return c, err
		}
	}
}
