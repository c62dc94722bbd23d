package regauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A token's life (distribution's token.md: expires_in defaults to 60 seconds
// and is never less).
const (
	defaultLife = 60 * time.Second
	minLife     = 60 * time.Second
	maxLife     = 24 * time.Hour // no server's word is good for longer
)

// maxReply is ample: a reply may hold the token twice, and no server takes a
// header of more than some 16 KiB (oras-go's arithmetic).
const maxReply = 128 << 10

// A token is a header to send and the span in which to send it. The server's issued_at
// plays no part, for clocks differ (docs/faults.md F29). It ages by the clock on the wall
// too: after a machine's sleep it is over, and not every registry answers such a token with
// 401. A clock that was set costs a call at most (docs/faults.md F60).
type token struct {
	header   pullchain.Secret
	asked    time.Time // when the call for it began
	life     time.Duration
	renewing atomic.Bool // its successor has been asked for
}

// usable reports whether the token has more than a tenth of its life left.
func (t *token) usable() bool { return lapse.Age(t.asked, time.Now()) < t.life/10*9 }

// ageing reports whether it is time to ask for the next one (docs/faults.md F30).
func (t *token) ageing() bool { return lapse.Age(t.asked, time.Now()) >= t.life/10*8 }

// readToken reads a token server's reply to a call that began at asked.
func readToken(body []byte, asked time.Time) (*token, error) {
	var reply struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   seconds `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, errors.New("the reply is not a token's JSON")
	}
	value := reply.Token
	if value == "" {
		value = reply.AccessToken
	}
	if err := checkToken(value); err != nil {
		return nil, err
	}
	life := defaultLife
	if reply.ExpiresIn > 0 {
		life = time.Duration(min(max(float64(reply.ExpiresIn), minLife.Seconds()), maxLife.Seconds()) * float64(time.Second))
	}
	return &token{header: bearer(pullchain.Secret(value)), asked: asked, life: life}, nil
}

// checkToken lets through what can stand in a header as one word.
func checkToken(value string) error {
	if value == "" {
		return errors.New("the reply holds no token")
	}
	if i := strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return fmt.Errorf("the token holds a byte at %d that no header may", i)
	}
	return nil
}

// seconds reads a number of seconds, which some servers put in quotes. What
// cannot be read is 0, as if it were missing.
type seconds float64

func (s *seconds) UnmarshalJSON(text []byte) error {
	n, err := strconv.ParseFloat(strings.Trim(string(text), `"`), 64)
	if err == nil && n > 0 {
		*s = seconds(n)
	}
	return nil
}
