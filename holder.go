package pullchain

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// holderPrefix sets a client's fingerprint apart from those of configured logins.
const holderPrefix = "client "

// Holder names the client whose own token r carries, by a fingerprint of that token; empty
// if there is none. What such a token has got is that client's: it is the Login of the
// Response, and no other request may share it unless an upstream says yes to that one too.
func (r Request) Holder() string {
	if r.Bearer == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(r.Bearer))
	return holderPrefix + hex.EncodeToString(sum[:16])
}

// IsHolder reports whether login, that of a [Response], is a client's own.
func IsHolder(login string) bool { return strings.HasPrefix(login, holderPrefix) }
