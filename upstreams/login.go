package upstreams

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pullchain/pullchain/internal/credhelper"
	"github.com/pullchain/pullchain/internal/regauth"
)

// fingerprintRounds makes it cost milliseconds to try one password against a
// fingerprint, which is kept on the disk beside what the login has fetched.
const fingerprintRounds = 50_000

// Login returns a fingerprint of the login that answers of this upstream take, or
// "" if they are public. It says nothing of the secret itself, differs when
// anything of the login does, and is the same after a restart: a cache of what a
// login has fetched can tell by it whether that login is still configured.
func (u *Upstream) Login() string { return u.login() }

// fingerprint is what Login returns; certificate is the identity of the client's, or "". It takes some time.
func (c Config) fingerprint(certificate string) string {
	if !c.private() {
		return ""
	}
	secret := fields(c.Password.Reveal(), c.Token.Reveal())
	for _, name := range c.headerNames() {
		secret += fields(strings.ToLower(name), c.Headers[name].Reveal())
	}
	if c.CredentialHelper != "" { // what it says changes by the hour, and is one login all the same
		secret += fields("credential helper", c.CredentialHelper)
	}
	if certificate != "" {
		secret += fields("client certificate", certificate)
	}
	key, err := pbkdf2.Key(sha256.New, secret, []byte(fields("pullchain login", c.Name, c.URL, c.Username)), fingerprintRounds, 16)
	if err != nil { // a mode of the Go runtime that does not let it: no two logins are told apart then
		return "login"
	}
	return hex.EncodeToString(key)
}

// helper returns the program that knows the login to origin.
func (c Config) helper(origin *url.URL) credhelper.Program {
	server := origin.Host
	if slices.Contains(hubHosts, server) {
		server = hubServer
	}
	return credhelper.Program{Name: c.CredentialHelper, Server: server}
}

// Docker Hub is known to helpers by the address of an API that is long gone
// (docker/cli, cli/config/types and registry.IndexServer).
const hubServer = "https://index.docker.io/v1/"

var hubHosts = []string{"registry-1.docker.io", "index.docker.io", "docker.io"}

// HelperInstalled returns an error that tells what to do if a helper is to be asked for
// the login and is not there.
func (c Config) HelperInstalled() error {
	if c.CredentialHelper == "" {
		return nil
	}
	return c.helper(&url.URL{}).Installed()
}

// asker returns what asks the helper for the login; nil if there is none to ask.
func (c Config) asker(origin *url.URL) func(context.Context) (regauth.Login, error) {
	if c.CredentialHelper == "" {
		return nil
	}
	helper := c.helper(origin)
	return func(ctx context.Context) (regauth.Login, error) {
		username, secret, err := helper.Get(ctx)
		return regauth.Login{Username: username, Password: secret}, err
	}
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
