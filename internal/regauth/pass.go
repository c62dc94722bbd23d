package regauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// A Grant is what a token server has given for a client's own login.
type Grant struct {
	Token pullchain.Secret // empty where the registry wants none
	Life  time.Duration    // of which some has passed already
}

// refusedClient is how long a client's login is not shown again to the token server that
// has refused it: its pods and its people try again, and failed logins get addresses banned
// (docs/protocol.md 4.1).
const refusedClient = 30 * time.Second

// ErrAgain is in the error for a login that has just been refused, and was not shown again.
var ErrAgain = errors.New("and is not asked again for a while")

// Pass asks the registry's token server for a token to read repos by a client's own login.
// Nothing of it is kept or shared: the caller gets what the server gives for this login. It
// goes to a realm alone that a configured login might go to.
//
// How the registry is logged in to has to be known, by Learn: see Learnt. Errors are as those
// of Header.
func (s *Source) Pass(ctx context.Context, login Login, repos []string) (Grant, error) {
	w := s.known()
	switch {
	case w.basic:
		return Grant{}, s.fail(pullchain.Refused, pullchain.CodeUnauthorized, 0, errors.New("the registry has no token server, and is asked by configured logins only"))
	case w.realm == nil:
		return Grant{}, nil
	case !s.trusts(w.realm):
		return Grant{}, s.fail(pullchain.Refused, pullchain.CodeAuthRealm, 0, fmt.Errorf("clients' logins are not for %s unless auth_hosts names it", wire.Quote(w.realm.Host)))
	}
	var scopes []string
	for _, repo := range repos {
		scopes = append(scopes, s.key(w, repo).scope)
	}
	w.login, w.client = true, true
	refusal := key{realm: w.realm.String(), service: w.service, scope: refusalScope(login)}
	if err := s.refused(refusal); err != nil {
		return Grant{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	t, err := s.fetch(ctx, w, key{scope: strings.Join(scopes, " ")}, login)
	if err != nil {
		var e *pullchain.Error
		if errors.As(err, &e) && e.Status == http.StatusUnauthorized {
			again := *e
			again.Err = fmt.Errorf("%w, %w", e.Err, ErrAgain)
			s.refuse(refusal, refusedClient, &again)
		}
		return Grant{}, err
	}
	return Grant{Token: pullchain.Secret(strings.TrimPrefix(t.header.Reveal(), "Bearer ")), Life: t.life}, nil
}

// refusalScope is what a login's refusal is remembered by, which tells nothing of it.
func refusalScope(login Login) string {
	return fmt.Sprintf("client %x", sha256.Sum256([]byte(login.Username+"\x00"+login.Password.Reveal())))
}

// Learnt reports whether Learn has told how the registry is logged in to.
func (s *Source) Learnt() bool {
	w := s.known()
	return w.basic || w.realm != nil
}
