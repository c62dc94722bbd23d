package access

import (
	"net/netip"
	"time"

	"golang.org/x/time/rate"
)

const (
	// GuessesAtOnce is how often a client may be wrong at once, and guessEvery after how long
	// once more.
	GuessesAtOnce = 10
	guessEvery    = 6 * time.Second

	guessersKept = 4096 // clients
)

// Guesses bound how many wrong logins a client may try: each costs a core's time here, or is
// shown to a registry, which bans the address that failed logins come from (docs/protocol.md
// 4.1). They are safe for concurrent use.
type Guesses struct {
	wrong *recent[netip.Addr, *rate.Limiter]
}

// NewGuesses returns one that knows of no wrong login.
func NewGuesses() *Guesses {
	return &Guesses{newRecent[netip.Addr, *rate.Limiter](guessersKept, time.Hour)}
}

// Wait returns for how long client may try no login; 0 if it may.
func (g *Guesses) Wait(client netip.Addr) time.Duration {
	if limit, ok := g.wrong.get(client, time.Now()); ok && limit.Tokens() < 1 {
		return guessEvery
	}
	return 0
}

// Wrong takes down that client's login was wrong.
func (g *Guesses) Wrong(client netip.Addr) {
	g.wrong.getOrAdd(client, time.Now(), func() *rate.Limiter { return rate.NewLimiter(rate.Every(guessEvery), GuessesAtOnce) }).Allow()
}
