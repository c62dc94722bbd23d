package access

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// loginLasts is for how long the outcome of a login is remembered after its last use. A
	// client sends it with each request, and bcrypt takes tens of milliseconds of a core.
	loginLasts = 10 * time.Minute

	// loginsKept bounds what is remembered: with the guessers 1 MB. The same wrong login again
	// costs nothing and counts as one guess.
	loginsKept = 4096
)

// logins verify users' passwords. They are safe for concurrent use.
type logins struct {
	users   *watched[users]
	key     [32]byte // of the sums below; it is nowhere else
	known   *recent[loginSum, bool]
	guesses *Guesses
	under   singleflight.Group // an image is many requests that come at once
	turns   chan struct{}      // of a core for hashing: pulls need the others
}

// A loginSum stands for a name and a password as one edit of the file judged them.
type loginSum [sha256.Size]byte

func newLogins(u *watched[users]) *logins {
	l := &logins{
		users: u, known: newRecent[loginSum, bool](loginsKept, loginLasts), guesses: NewGuesses(),
		turns: make(chan struct{}, max(1, runtime.NumCPU()/2)),
	}
	rand.Read(l.key[:]) // it never fails
	return l
}

// verify reports whether the password is the user's, or for how long the client has to wait before it may guess again.
func (l *logins) verify(client netip.Addr, user, password string) (wait time.Duration, ok bool) {
	all, edit := l.users.get()
	sum := l.sum(edit, user, password)
	if ok, known := l.known.get(sum, time.Now()); known {
		return 0, ok
	}
	type outcome struct {
		wait time.Duration
		ok   bool
	}
	result, _, _ := l.under.Do(string(sum[:]), func() (any, error) {
		if wait := l.guesses.Wait(client); wait > 0 {
			return outcome{wait: wait}, nil
		}
		l.turns <- struct{}{}
		defer func() { <-l.turns }()
		if wait := l.guesses.Wait(client); wait > 0 { // others of this client were wrong meanwhile
			return outcome{wait: wait}, nil
		}
		ok := all.check(user, password)
		if !ok {
			l.guesses.Wrong(client)
		}
		l.known.put(sum, ok, time.Now())
		return outcome{ok: ok}, nil
	})
	o := result.(outcome)
	return o.wait, o.ok
}

// sum is what a login is remembered by. The lengths keep "a" + "b:c" from "a:b" + "c".
func (l *logins) sum(edit uint64, user, password string) (sum loginSum) {
	mac := hmac.New(sha256.New, l.key[:])
	mac.Write(binary.BigEndian.AppendUint64(nil, edit))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(user))))
	mac.Write([]byte(user))
	mac.Write([]byte(password))
	mac.Sum(sum[:0])
	return sum
}
