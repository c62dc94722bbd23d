// Package session tells a browser's own requests from those that another site has it
// send: logins kept in memory, and the tokens that forms carry. It knows neither HTTP
// handlers nor what an operator does.
package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	// Life is how long a login holds.
	Life = 12 * time.Hour

	// maxLogins is how many are kept. One more ends the one that would end first.
	maxLogins = 100
)

// Sessions are the logins of one process, which end with it. It is safe for
// concurrent use.
type Sessions struct {
	key []byte // of the forms' tokens

	mu     sync.Mutex
	logins map[[sha256.Size]byte]time.Time // the sum of an identifier, until when it holds
}

// New returns Sessions with a key of its own.
func New() *Sessions {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return &Sessions{key: key, logins: map[[sha256.Size]byte]time.Time{}}
}

// NewID returns an identifier of 256 random bits, as a cookie can carry it.
func NewID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Begin returns the identifier of a new login.
func (s *Sessions) Begin() string {
	id, now := NewID(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.logins) >= maxLogins {
		s.dropFirstLocked()
	}
	s.logins[sha256.Sum256([]byte(id))] = now.Add(Life)
	return id
}

// dropFirstLocked ends the login that would end first.
func (s *Sessions) dropFirstLocked() {
	var first [sha256.Size]byte
	var end time.Time
	for sum, until := range s.logins {
		if end.IsZero() || until.Before(end) {
			first, end = sum, until
		}
	}
	delete(s.logins, first)
}

// Valid reports whether id is that of a login that holds. Sums are looked up, so that
// the time it takes tells nothing of the identifiers that there are.
func (s *Sessions) Valid(id string) bool {
	sum := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.logins[sum]
	if ok && !time.Now().Before(until) {
		delete(s.logins, sum)
		return false
	}
	return ok
}

// End ends a login.
func (s *Sessions) End(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, sha256.Sum256([]byte(id)))
}

// FormToken returns what a form carries that is shown to the browser with the cookie
// id. A page of another site knows no cookie of ours, and so no token.
func (s *Sessions) FormToken(id string) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// CheckForm reports whether token is that of the cookie id. Without a cookie it is of
// no browser that we have shown a form to.
func (s *Sessions) CheckForm(id, token string) bool {
	return id != "" && hmac.Equal([]byte(s.FormToken(id)), []byte(token))
}
