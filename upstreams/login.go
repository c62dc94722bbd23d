package upstreams

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// fingerprintRounds makes it cost milliseconds to try one password against a
// fingerprint, which is kept on the disk beside what the login has fetched.
const fingerprintRounds = 50_000

// Login returns a fingerprint of the login that answers of this upstream take, or
// "" if they are public. It says nothing of the secret itself, differs when
// anything of the login does, and is the same after a restart: a cache of what a
// login has fetched can tell by it whether that login is still configured.
func (u *Upstream) Login() string { return u.login() }

// fingerprint is what Login returns. It takes some time.
func (c Config) fingerprint() string {
	if !c.private() {
		return ""
	}
	secret := fields(c.Password.Reveal(), c.Token.Reveal())
	for _, name := range c.headerNames() {
		secret += fields(strings.ToLower(name), c.Headers[name].Reveal())
	}
	key, err := pbkdf2.Key(sha256.New, secret, []byte(fields("pullchain login", c.Name, c.URL, c.Username)), fingerprintRounds, 16)
	if err != nil { // a mode of the Go runtime that does not let it: no two logins are told apart then
		return "login"
	}
	return hex.EncodeToString(key)
}

// headerNames returns the names in an order that does not depend on the map's.
func (c Config) headerNames() []string {
	names := make([]string, 0, len(c.Headers))
	for name := range c.Headers {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return names
}

// fields joins texts so that no two lists of them join to the same: "ab" and "c" are
// another login than "a" and "bc".
func fields(texts ...string) string {
	var joined strings.Builder
	for _, text := range texts {
		joined.WriteString(strconv.Itoa(len(text)) + ":" + text)
	}
	return joined.String()
}
