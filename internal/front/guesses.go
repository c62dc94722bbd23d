package front

import (
	"net/netip"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"
)

// guesses bound how many wrong logins one client may have us show to registries, which ban
// the address that failed logins come from: ours (docs/protocol.md 4.1). They are safe for
// concurrent use.
type guesses struct {
	wrong *otter.Cache[netip.Addr, *rate.Limiter]
}

const (
	guessesKept = 4096 // clients
	guessesMade = 10   // at once, and one more each
	guessEvery  = 6 * time.Second
)

func newGuesses() guesses {
	return guesses{otter.Must(&otter.Options[netip.Addr, *rate.Limiter]{MaximumSize: guessesKept})}
}

// wait returns for how long client may show no login; 0 if it may. A client that cannot be
// told from others may always.
func (g guesses) wait(client netip.Addr) time.Duration {
	if limit, ok := g.wrong.GetIfPresent(client); ok && client.IsValid() && limit.Tokens() < 1 {
		return guessEvery
	}
	return 0
}

// add takes down that client's login was wrong.
func (g guesses) add(client netip.Addr) {
	limit, ok := g.wrong.GetIfPresent(client)
	if !ok {
		limit, _ = g.wrong.SetIfAbsent(client, rate.NewLimiter(rate.Every(guessEvery), guessesMade))
	}
	limit.Allow()
}
