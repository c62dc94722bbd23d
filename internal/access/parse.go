package access

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// minSecret is how long a secret of a CDN has to be, in bytes: longer than what can be guessed.
const minSecret = 16

// A secretSum stands for a secret, in a length that tells nothing of it.
type secretSum [sha256.Size]byte

// CheckSecrets returns why a file of secrets cannot be used.
func CheckSecrets(data []byte) error {
	_, err := parseSecrets(data)
	return err
}

// CheckHtpasswd returns why a file of users cannot be used.
func CheckHtpasswd(data []byte) error {
	_, err := parseHtpasswd(data)
	return err
}

// parseSecrets reads a file of secrets, one on each line.
func parseSecrets(data []byte) ([]secretSum, error) {
	var sums []secretSum
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case len(line) == 0:
			continue
		case len(line) < minSecret:
			return nil, fmt.Errorf("line %d: a secret has %d bytes at least, as \"openssl rand -hex 16\" makes one", n, minSecret)
		case bytes.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }):
			return nil, fmt.Errorf("line %d: has what no header can carry: printable ASCII without spaces only", n)
		}
		sums = append(sums, sha256.Sum256(line))
	}
	if len(sums) == 0 {
		return nil, errors.New("is empty")
	}
	return sums, nil
}

// users are names and bcrypt hashes, and a hash that takes as long as theirs.
type users struct {
	hashes map[string][]byte
	none   []byte // of a password that is no user's
}

// maxCost is the highest cost of a hash, which takes a second of a core. htpasswd -B makes 5.
const maxCost = 14

// parseHtpasswd reads a file of users as Apache's htpasswd writes it.
func parseHtpasswd(data []byte) (users, error) {
	u := users{hashes: map[string][]byte{}}
	n, cost := 0, 0
	for line := range strings.Lines(string(data)) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return users{}, fmt.Errorf("line %d: is not name:hash", n)
		}
		// Never the hash itself: it is worth as much as a weak password.
		c, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != 60 {
			return users{}, fmt.Errorf("line %d: the hash of %q is not bcrypt's; make it with htpasswd -B", n, name)
		}
		if c > maxCost {
			return users{}, fmt.Errorf("line %d: the hash of %q has the cost %d; more than %d takes too long", n, name, c, maxCost)
		}
		if u.hashes[name] != nil {
			return users{}, fmt.Errorf("line %d: %q stands there twice", n, name)
		}
		u.hashes[name] = []byte(hash)
		cost = max(cost, c)
	}
	if len(u.hashes) == 0 {
		return users{}, errors.New("has no user; make one with htpasswd -B")
	}
	var err error
	// A name that is unknown has to take as long as one that is known.
	u.none, err = bcrypt.GenerateFromPassword([]byte(randomText()), cost)
	return u, err
}

// check hashes, which takes tens of milliseconds of a core, and reports whether the password is the user's.
func (u users) check(name, password string) bool {
	hash, known := u.hashes[name]
	if !known {
		hash = u.none
	}
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil && known
}
