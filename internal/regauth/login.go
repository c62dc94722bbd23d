package regauth

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/lapse"
)

// A Login is a username and its password, as docker's client keeps them.
type Login struct {
	Username string           // empty for none; IdentityUser
	Password pullchain.Secret // or an identity token
}

// IdentityUser is the username of a login whose password is an identity token: that opens
// nothing itself, and a token server gives tokens for it (distribution, docs/spec/auth/oauth.md).
const IdentityUser = "<token>"

// basic returns l as a Basic header; empty if there is none, as of an identity token.
func (l Login) basic() pullchain.Secret {
	if l.Username == "" || l.Username == IdentityUser {
		return ""
	}
	return pullchain.Secret("Basic " + base64.StdEncoding.EncodeToString([]byte(l.Username+":"+l.Password.Reveal())))
}

// askAgain is how old a login may be that a program has given. The protocol tells no
// lifetime. Tokens of clouds live for an hour or for twelve, the programs keep them and
// renew them in time, and being asked again costs them next to nothing. A login that ends
// before is found out by a 401.
const askAgain = 30 * time.Minute

// askPause is how long a program that has failed is left alone, so that not every request
// starts another.
const askPause = 10 * time.Second

// logins know the login of a Source: the configured one, or what a program says. They are
// safe for concurrent use.
type logins struct {
	ask     func(context.Context) (Login, error) // nil: last is the configured one
	changed func()                               // another login than before has come
	calls   singleflight.Group

	mu     sync.Mutex
	last   Login
	asked  time.Time // when last came; zero: there is none yet
	failed time.Time // when a call failed last
	err    error     // of that call
}

// can reports whether there is a login, or a program to ask for one.
func (l *logins) can() bool { return l.ask != nil || l.last.Username != "" }

// waits reports whether get would have to wait for a program.
func (l *logins) waits() bool {
	if l.ask == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked.IsZero() && time.Since(l.failed) >= askPause
}

// known returns the login as it was last heard of.
func (l *logins) known() Login {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// get returns the login. The first caller waits for the program; later ones get what it
// said last while it is asked again.
func (l *logins) get(ctx context.Context) (Login, error) {
	if l.ask == nil {
		return l.last, nil
	}
	l.mu.Lock()
	login, asked, rests, err := l.last, l.asked, time.Since(l.failed) < askPause, l.err
	l.mu.Unlock()
	switch {
	case asked.IsZero() && rests:
		return Login{}, err
	case asked.IsZero():
		return l.wait(ctx)
	case lapse.Age(asked, time.Now()) >= askAgain && !rests:
		l.call()
	}
	return login, nil
}

// after returns the login that comes after refused, which a server has not taken: what
// another request has found out since, or what the program says now. It is refused itself
// where there is no other.
func (l *logins) after(ctx context.Context, refused Login) (Login, error) {
	if known := l.known(); l.ask == nil || known != refused {
		return known, nil
	}
	return l.wait(ctx)
}

// call asks the program, or joins the call that already does.
func (l *logins) call() <-chan singleflight.Result {
	return l.calls.DoChan("", func() (any, error) {
		login, err := l.ask(context.Background()) // which has a limit of its own, and outlives the request that asked first
		l.mu.Lock()
		before, had := l.last, !l.asked.IsZero()
		if err != nil {
			l.failed, l.err = time.Now(), err
		} else {
			l.last, l.asked, l.failed = login, time.Now(), time.Time{}
		}
		l.mu.Unlock()
		if err == nil && had && login != before {
			l.changed()
		}
		return login, err
	})
}

// wait waits for a call as long as ctx lets it.
func (l *logins) wait(ctx context.Context) (Login, error) {
	select {
	case r := <-l.call():
		return r.Val.(Login), r.Err
	case <-ctx.Done():
		return Login{}, context.Cause(ctx)
	}
}

// login returns the login to send.
func (s *Source) login(ctx context.Context) (Login, error) {
	login, err := s.logins.get(ctx)
	if err != nil {
		return Login{}, s.failLogin(ctx, err)
	}
	return login, nil
}

// relogin is asked when the registry has answered 401 to sent, a Basic login for repo. It
// returns nil if there is another login to try by now.
func (s *Source) relogin(ctx context.Context, repo string, sent pullchain.Secret) error {
	known := s.logins.known()
	if sent != known.basic() {
		return nil
	}
	next, err := s.logins.after(ctx, known)
	switch {
	case err != nil:
		return s.failLogin(ctx, err)
	case next != known:
		return nil
	}
	err = s.errLogin(http.StatusUnauthorized)
	s.refuse(basicKey(repo), refusedLogin, err)
	return err
}

// failLogin says that a program gave no login. It is in the way of requests that need one.
func (s *Source) failLogin(ctx context.Context, err error) *pullchain.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return s.fail(pullchain.Canceled, pullchain.CodeCanceled, 0, err)
	}
	return s.fail(pullchain.Unavailable, pullchain.CodeCredentialHelper, 0, err)
}
