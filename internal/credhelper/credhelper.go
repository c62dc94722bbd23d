// Package credhelper asks a docker-credential-* program for a login, by the protocol that
// docker's own client speaks (github.com/docker/docker-credential-helpers): "get" as its
// argument, the server on its standard input, JSON on its standard output. Any installed
// one serves.
//
// No login is in an argument, a log or an error. What a helper costs is bounded: its time,
// what is read of it, and what it is told of our environment.
package credhelper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// Bounds of one call. Helpers of clouds ask a server of theirs, and take a second or two.
const (
	timeLimit = 30 * time.Second
	maxReply  = 64 << 10 // the longest tokens have some KiB
)

// exitTime is how long the output of a helper is waited for that has ended, or was ended:
// what it has started itself may still hold it.
const exitTime = time.Second

// A Program is a helper that is asked for the login to one server.
type Program struct {
	Name   string // as in "ecr-login", whose program is docker-credential-ecr-login
	Server string // as the helper knows it: host, or host:port
}

var word = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$`)

// IsName reports whether s can be the name of a helper: one plain word.
func IsName(s string) bool { return word.MatchString(s) }

// file is what the program is called.
func (p Program) file() string { return "docker-credential-" + p.Name }

// Installed returns an error that tells what to do if the program is not there.
func (p Program) Installed() error {
	if _, err := exec.LookPath(p.file()); err != nil {
		return fmt.Errorf("%s is not in PATH: install it there", p.file())
	}
	return nil
}

// Get runs the helper. Both results are empty where it has no login for the server, which
// is how docker's client takes it, too. A username of "<token>" says that the secret is an
// identity token. The error names the program, and is the context's where that ended.
func (p Program) Get(ctx context.Context) (username string, secret pullchain.Secret, err error) {
	if err := p.Installed(); err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.file(), "get")
	cmd.Env = environment(os.Environ())
	cmd.Stdin = strings.NewReader(p.Server)
	out, complaint := reply{end: cancel}, reply{end: cancel}
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = exitTime
	switch err := cmd.Run(); {
	case out.tooLong || complaint.tooLong:
		return "", "", fmt.Errorf("%s wrote more than %d bytes", p.file(), maxReply)
	case ctx.Err() != nil:
		return "", "", fmt.Errorf("%s gave no answer in time: %w", p.file(), context.Cause(ctx))
	case err != nil && noLogin(string(out.text)):
		return "", "", nil
	case err != nil:
		return "", "", fmt.Errorf("%s failed (%w)%s", p.file(), err, said(string(out.text), string(complaint.text)))
	}
	return p.read(out.text)
}

// read takes a login out of what a helper wrote.
func (p Program) read(text []byte) (username string, secret pullchain.Secret, err error) {
	var login struct{ Username, Secret string }
	switch err := json.Unmarshal(text, &login); {
	case err != nil: // which may quote the text
		return "", "", fmt.Errorf("%s wrote something else than the JSON of a login", p.file())
	case login.Username == "" || login.Secret == "":
		return "", "", fmt.Errorf("%s gave a login without a username or without a secret", p.file())
	case strings.ContainsFunc(login.Username+login.Secret, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", "", fmt.Errorf("%s gave a login with control characters", p.file())
	}
	return login.Username, pullchain.Secret(login.Secret), nil
}

// noLogin reports whether a helper that has failed says that it knows of no login. These
// are the words of the library that the helpers are made with.
func noLogin(out string) bool {
	return strings.TrimSpace(out) == "credentials not found in native keychain"
}

// said quotes what a helper complained of: by the protocol on its standard output. What
// looks like a login in spite of that is left out.
func said(texts ...string) string {
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" && !strings.Contains(strings.ToLower(text), "secret") {
			return ": " + wire.Quote(text)
		}
	}
	return ""
}

// A reply keeps the first maxReply bytes that a helper writes, and ends what writes more.
type reply struct {
	text    []byte
	end     func()
	tooLong bool
}

var errTooLong = errors.New("too long")

func (r *reply) Write(p []byte) (int, error) {
	if len(r.text)+len(p) > maxReply {
		r.tooLong = true
		r.end()
		return 0, errTooLong
	}
	r.text = append(r.text, p...)
	return len(p), nil
}
