// Package access decides which clients the data plane serves: by their address, by the
// secret of the CDN that they come through, by how often they ask, and by a login. It looks at headers and
// writes none; the front puts its refusals into words of a registry.
//
// Nothing that a client shows here is kept in the clear, logged, or sent anywhere.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"
)

// An Access says which requests are served. Make one with [New]; it is safe for concurrent
// use, and a nil one serves all.
type Access struct {
	cfg    Config
	secret *watched[[]secretSum] // nil: no CDN has to show one
	rates  *rates                // nil: there is no limit
	logins *logins               // nil: no login is asked for
}

// A Refusal is why a request is not served.
type Refusal struct {
	Status     int    // 401, 403 or 429
	Message    string // safe to show, a sentence to act on
	Login      bool   // a login is asked for: the answer has a challenge
	RetryAfter time.Duration
}

// A Client is the sender of a request.
type Client struct {
	Addr netip.Addr // where it is; that of a trusted proxy, if that does not tell; invalid if there is none, as on a Unix socket
	Key  netip.Addr // what it is told from others by; invalid if it is many clients
}

// New returns what c says, or nil if that is nothing. c has to be valid; an error means
// that one of its files cannot be used. The files are read again when they change; one that cannot be
// used then leaves in force what was before, and log is told.
func New(c Config, log *slog.Logger) (*Access, error) {
	a := &Access{cfg: c}
	if c.OriginSecretFile != "" {
		var err error
		if a.secret, err = watch(c.OriginSecretFile, parseSecrets, log); err != nil {
			return nil, err
		}
	}
	if c.HtpasswdFile != "" {
		users, err := watch(c.HtpasswdFile, parseHtpasswd, log)
		if err != nil {
			return nil, err
		}
		a.logins = newLogins(users)
	}
	if c.RateLimit > 0 {
		a.rates = newRates(c.RateLimit, c.burst())
	}
	if len(c.AllowCIDRs) == 0 && len(c.DenyCIDRs) == 0 && a.rates == nil && !c.AsksForProof() {
		return nil, nil
	}
	return a, nil
}

// ByAddress reports whether it counts where a client is, which a cache in front does not see.
func (a *Access) ByAddress() bool {
	return a != nil && len(a.cfg.AllowCIDRs)+len(a.cfg.DenyCIDRs) > 0
}

// Check returns why a request is not served, or nil if it is.
func (a *Access) Check(from Client, r *http.Request) *Refusal {
	if a == nil || isOwn(r) {
		return nil
	}
	for _, check := range []func(Client, *http.Request) *Refusal{a.address, a.origin, a.rate, a.login} {
		if refused := check(from, r); refused != nil {
			return refused
		}
	}
	return nil
}

// address looks at where the client is.
func (a *Access) address(from Client, _ *http.Request) *Refusal {
	denied := func(why string) *Refusal {
		return &Refusal{Status: http.StatusForbidden, Message: "pullchain does not serve " + nameOf(from.Addr) + why}
	}
	if prefixesContain(a.cfg.DenyCIDRs, from.Addr) {
		return denied(": it is in deny_cidrs under [access]")
	}
	if len(a.cfg.AllowCIDRs) > 0 && !prefixesContain(a.cfg.AllowCIDRs, from.Addr) {
		return denied(": allow_cidrs under [access] has " + listed(a.cfg.AllowCIDRs))
	}
	return nil
}

// nameOf names an address for people.
func nameOf(addr netip.Addr) string {
	if !addr.IsValid() {
		return "a client without an address"
	}
	return addr.String()
}

// origin looks for the secret of the CDN.
func (a *Access) origin(_ Client, r *http.Request) *Refusal {
	if a.secret == nil {
		return nil
	}
	shown := sha256.Sum256([]byte(r.Header.Get(a.cfg.OriginSecretHeader)))
	right := 0
	sums, _ := a.secret.get()
	for _, sum := range sums { // all of them, so that the time tells nothing
		right |= subtle.ConstantTimeCompare(shown[:], sum[:])
	}
	if right == 1 {
		return nil
	}
	return &Refusal{Status: http.StatusForbidden, Message: "pullchain is served through its CDN only: the header " + a.cfg.OriginSecretHeader +
		" is missing or does not say what origin_secret_file under [access] has"}
}

// rate takes note of a request, and looks at how many came lately. It comes before logins,
// whose hashing costs more than all else, and after what is not to be served at all.
func (a *Access) rate(from Client, _ *http.Request) *Refusal {
	if a.rates == nil || !from.Key.IsValid() {
		return nil
	}
	wait := a.rates.take(from.Key, time.Now())
	if wait == 0 {
		return nil
	}
	return &Refusal{Status: http.StatusTooManyRequests, RetryAfter: wait, Message: fmt.Sprintf("%s asks more often than rate_limit under [access] allows, "+
		"%v requests a second; try again later", from.Key, a.cfg.RateLimit)}
}

// login looks for a user's name and password.
func (a *Access) login(from Client, r *http.Request) *Refusal {
	if a.logins == nil {
		return nil
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return &Refusal{Status: http.StatusUnauthorized, Login: true, Message: "pullchain asks for a login here (docker login, or whatever your client has for it)"}
	}
	switch wait, ok := a.logins.verify(from.Key, user, password); {
	case wait > 0:
		return &Refusal{Status: http.StatusTooManyRequests, RetryAfter: wait, Message: "too many wrong logins came from here; try again later"}
	case !ok:
		return &Refusal{Status: http.StatusUnauthorized, Login: true, Message: "pullchain does not know this user with this password"}
	}
	return nil
}

// ownHeader carries ownPass.
const ownHeader = "X-Pullchain-Own"

// ownPass is known to this process alone: it fetches ahead of need through its own
// listener.
var ownPass = randomText()

// randomText is what no other program can know.
func randomText() string {
	b := make([]byte, 32)
	rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

// Own marks a request of this process to itself, which is asked for nothing.
func Own(h http.Header) { h.Set(ownHeader, ownPass) }

func isOwn(r *http.Request) bool {
	shown := r.Header[ownHeader]
	return len(shown) == 1 && subtle.ConstantTimeCompare([]byte(shown[0]), []byte(ownPass)) == 1
}
