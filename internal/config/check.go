package config

import (
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pullchain/pullchain/internal/egress"
)

// A checker looks for settings that make no sense alone or together. What one
// setting may be is judged by the room that it is for.
type checker struct {
	doc *document
	cfg *Config
}

// check goes through the tables. The order does not matter to the reader: mistakes
// are sorted by where they stand in the file.
func (c *checker) check() {
	c.room(place{}.child("server"), c.cfg.Server.Validate())
	c.listeners(place{}.child("listener"))
	c.room(place{}.child("access"), c.cfg.Access.Validate())
	c.policy(place{}.child("policy"))
	c.admin(place{}.child("admin"))
	c.cache(place{}.child("cache"))
	c.log(place{}.child("log"))
	c.egresses(place{}.child("egress"))
	c.registries(place{}.child("registry"))
	c.webhooks(place{}.child("notify"))
	c.warmth(place{}.child("warm"))
	c.traces(place{}.child("traces"))
}

// room records the errors that a room's Validate returned. Each begins with the
// key that it is about, as in "timeouts.stall: must not be negative".
func (c *checker) room(at place, err error) {
	for _, e := range flatten(err) {
		keys, message, ok := strings.Cut(e.Error(), ": ")
		if !ok || !keyList.MatchString(keys) {
			c.doc.blame(at, "%v", e)
			continue
		}
		key, _, _ := strings.Cut(keys, ",")
		below := at
		for part := range strings.SplitSeq(key, ".") {
			below = below.child(part)
		}
		c.doc.blame(place{key: below.key, words: join2(at.words, keys)}, "%s", message)
	}
}

// keyList is what a room's error begins with.
var keyList = regexp.MustCompile(`^[a-z0-9_.]+(, [a-z0-9_.]+)*$`)

// admin checks what [admin] and [server] mean together: one listener cannot be
// both. Port 0 is a new port for each.
func (c *checker) admin(at place) {
	c.room(at, c.cfg.Admin.Validate())
	c.noTilde(at.child("state_dir"), c.cfg.Admin.StateDir)
	c.noTilde(at.child("socket"), c.cfg.Admin.Socket)
	listen := c.cfg.Admin.Listen
	if listen == c.cfg.Server.Listen && !strings.HasSuffix(listen, ":0") {
		c.sameListener(at)
	}
}

// sameListener blames the listener that the file names.
func (c *checker) sameListener(admin place) {
	if server := (place{}.child("server").child("listen")); c.doc.position(admin.key) == (position{}) {
		c.doc.blame(server, "is where [admin] listens; the operator's plane has a listener of its own")
		return
	}
	c.doc.blame(admin.child("listen"), "is where [server] listens; the operator's plane has a listener of its own")
}

// cache checks [cache]. Here a 0 in the Config means "not set", for which the room
// takes its default. A 0 that stands in the file was meant, and would silently become
// that default.
func (c *checker) cache(at place) {
	c.room(at, c.cfg.Cache.Validate())
	for key, n := range map[string]int64{
		"max_size": int64(c.cfg.Cache.MaxSize), "verify_max": int64(c.cfg.Cache.VerifyMax), "stale_if_error": int64(c.cfg.Cache.StaleIfError),
	} {
		if here := at.child(key); n == 0 && c.doc.has(here) { // the room would take its default
			c.doc.blame(here, "must be more than 0")
		}
	}
	c.noTilde(at.child("dir"), c.cfg.Cache.Dir)
}

// noTilde blames a path that begins with ~: a folder of that name is never what is wanted.
func (c *checker) noTilde(at place, path string) {
	if strings.HasPrefix(path, "~") {
		c.doc.blame(at, "~ has no meaning here: write ${HOME} for your home directory")
	}
}

// log checks [log], which has no room of its own.
func (c *checker) log(at place) {
	c.oneOf(at.child("level"), c.cfg.Log.Level, "debug", "info", "warn", "error")
	c.oneOf(at.child("format"), c.cfg.Log.Format, "auto", "text", "json")
}

// oneOf records an error if word is none of words.
func (c *checker) oneOf(at place, word string, words ...string) {
	if !slices.Contains(words, word) {
		c.doc.blame(at, "%q is none of %s", word, strings.Join(words, ", "))
	}
}

// plainName is what names in metrics, logs and URLs may be.
var plainName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$`)

// egresses checks the proxies. One that nothing uses is more often a typing
// error in egress = "…" than a plan for later, so it gets a warning.
func (c *checker) egresses(at place) {
	used := map[string]bool{}
	for _, n := range c.cfg.Notify {
		used[n.Egress] = true
	}
	used[c.cfg.Traces.Egress] = true
	for _, r := range c.cfg.Registries {
		for _, u := range r.Upstreams {
			used[u.Egress] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.cfg.Egress)) {
		e, here := c.cfg.Egress[name], at.named(name)
		switch {
		case name == egress.Direct || name == egress.Environment:
			c.doc.blame(here, "%q is a name that is always there and means what it says", name)
		case !plainName.MatchString(name):
			c.doc.blame(here, "a name has letters, digits, dots and dashes only, 64 at most")
		case e.URL == "" && e.Family == "" && e.Source == "" && e.Rate == 0:
			c.doc.blame(here, "says nothing: give it a url, as in \"socks5://127.0.0.1:1080\", or a family, a source or a rate for direct connections")
			continue
		case !used[name]:
			c.doc.warn(here, "no upstream, no [[notify]] and no [traces] uses it")
		}
		e.Name = "" // or it would say its name again
		for _, err := range flatten(e.Validate()) {
			c.room(here, trimmed{err, "egress: "})
		}
	}
}

// trimmed is an error without the beginning of its text.
type trimmed struct {
	error
	prefix string
}

func (t trimmed) Error() string { return strings.TrimPrefix(t.error.Error(), t.prefix) }

// loopback reports whether only this machine can reach a listener.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback() || host == "localhost"
}

// names lists what people called, for error texts.
func names(list []string) string {
	var quoted []string
	for _, s := range list {
		quoted = append(quoted, strconv.Quote(s))
	}
	return strings.Join(quoted, ", ")
}
