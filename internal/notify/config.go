package notify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// The defaults of [Config].
const (
	DefaultOutageAfter    = 5 * time.Second
	DefaultDegradedAfter  = time.Minute
	DefaultRecoveredAfter = 30 * time.Second
	DefaultRepeatAfter    = 24 * time.Hour
)

// Config is one [[notify]] table: a webhook, and what it is told. Kind and an address
// are required.
type Config struct {
	Name string `toml:"name"` // in the status and the log; Kind if unset
	Kind string `toml:"kind"` // one of Kinds

	// URL is where messages are posted. It holds what opens the door for most
	// services, so that it is a secret; URLFile has it in a file of its own, and
	// Address is what that holds.
	URL     pullchain.Secret `toml:"url"`
	URLFile string           `toml:"url_file"`
	Address pullchain.Secret `toml:"-"`

	// TokenFile holds what the service knows us by: a Telegram bot's token, an
	// access token of ntfy, a bearer token for "json".
	TokenFile string           `toml:"token_file"`
	Token     pullchain.Secret `toml:"-"`

	// SecretFile holds what messages are signed with: DingTalk's and Feishu's
	// signing secret, and a key of your own for "json".
	SecretFile string           `toml:"secret_file"`
	Secret     pullchain.Secret `toml:"-"`

	ChatID  string                      `toml:"chat_id"` // of Telegram alone: a number, or @channel
	Headers map[string]pullchain.Secret `toml:"headers"` // go with every message
	Egress  string                      `toml:"egress"`  // a name from [egress], "direct" or "env"; direct if unset

	Lang     string   `toml:"lang"`      // "en" or "zh"; English if unset
	MinLevel string   `toml:"min_level"` // "degraded" or "outage"; degraded if unset
	Ping     []string `toml:"mention"`   // members to call, in the service's own ids; "all" where it can

	// A state is told once it has held for so long: a blink is no news. 0 means the
	// Default… above.
	OutageAfter    time.Duration `toml:"outage_after"`
	DegradedAfter  time.Duration `toml:"degraded_after"`
	RecoveredAfter time.Duration `toml:"recovered_after"`

	// RepeatAfter is when trouble that goes on is told again. nil is
	// DefaultRepeatAfter, and 0 is never.
	RepeatAfter *time.Duration `toml:"repeat_after"`
}

// address is where messages go: from the file, the configuration, or as the service
// has it for all.
func (c Config) address() string {
	return cmp.Or(c.Address.Reveal(), c.URL.Reveal(), services[c.Kind].url)
}

// Title returns what people know the webhook by.
func (c Config) Title() string { return cmp.Or(c.Name, c.Kind) }

// WithDefaults returns c with the times that it leaves open.
func (c Config) WithDefaults() Config {
	c.OutageAfter = cmp.Or(c.OutageAfter, DefaultOutageAfter)
	c.DegradedAfter = cmp.Or(c.DegradedAfter, DefaultDegradedAfter)
	c.RecoveredAfter = cmp.Or(c.RecoveredAfter, DefaultRecoveredAfter)
	if c.RepeatAfter == nil {
		every := DefaultRepeatAfter
		c.RepeatAfter = &every
	}
	return c
}

// Validate reports every field that cannot be used, by its name in the file and with
// what to do about it. It quotes no address.
func (c Config) Validate() error {
	s, known := services[c.Kind]
	if !known {
		return fmt.Errorf("kind: %q is none of %s", c.Kind, strings.Join(Kinds(), ", "))
	}
	errs := []error{c.checkAddress(s)}
	needs := func(key, value string, need need) {
		switch {
		case need == required && value == "":
			errs = append(errs, fmt.Errorf("%s: %s needs one", key, c.Kind))
		case need == refused && value != "":
			errs = append(errs, fmt.Errorf("%s: %s has no use for one: take it out", key, c.Kind))
		}
	}
	needs("token_file", cmp.Or(c.TokenFile, c.Token.Reveal()), s.token)
	needs("secret_file", cmp.Or(c.SecretFile, c.Secret.Reveal()), s.secret)
	needs("chat_id", c.ChatID, s.chat)
	errs = append(errs, c.checkWords(), c.checkPing(s), c.checkHeaders())
	for key, d := range map[string]time.Duration{"outage_after": c.OutageAfter, "degraded_after": c.DegradedAfter, "recovered_after": c.RecoveredAfter} {
		if d < 0 || d > time.Hour {
			errs = append(errs, fmt.Errorf("%s: must be between 0s and 1h", key))
		}
	}
	if c.RepeatAfter != nil && *c.RepeatAfter != 0 && *c.RepeatAfter < time.Minute {
		errs = append(errs, errors.New("repeat_after: must be 0s, for never, or 1m at least"))
	}
	return errors.Join(errs...)
}

// checkAddress judges where messages go, as far as it is known: a file that has not
// been read yet is judged when it has.
func (c Config) checkAddress(s service) error {
	key := "url"
	switch {
	case c.URL != "" && c.URLFile != "":
		return errors.New("url, url_file: one of the two is enough")
	case c.URLFile != "":
		key = "url_file"
		if c.Address == "" {
			return nil
		}
	case c.URL.Reveal() == c.URL.String() && c.URL != "":
		return errors.New("url: *** is what `config show` writes in its place: put the address back")
	case c.address() == "":
		return errors.New("url: is required, as the service shows it; url_file keeps it out of this file")
	}
	u, err := url.Parse(c.address())
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%s: should be https://host/path, as the service shows it", key)
	}
	if u.User != nil {
		return fmt.Errorf("%s: holds a login; use token_file or headers", key)
	}
	if s.check != nil {
		if err := s.check(u); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// checkWords judges what is one of few words.
func (c Config) checkWords() error {
	var errs []error
	if c.Lang != "" && c.Lang != "en" && c.Lang != "zh" {
		errs = append(errs, fmt.Errorf("lang: %q is none of en, zh", c.Lang))
	}
	if c.MinLevel != "" && c.MinLevel != Degraded.String() && c.MinLevel != Outage.String() {
		errs = append(errs, fmt.Errorf("min_level: %q is none of degraded, outage", c.MinLevel))
	}
	return errors.Join(errs...)
}

// memberID is what services call a member: no character that means something in
// the marks around it.
var memberID = regexp.MustCompile(`^[A-Za-z0-9@+][A-Za-z0-9_.@+^-]{0,127}$`)

// checkPing judges which members are called.
func (c Config) checkPing(s service) error {
	if len(c.Ping) > 0 && s.ping == nil {
		return fmt.Errorf("mention: %s calls no members: take it out", c.Kind)
	}
	for _, id := range c.Ping {
		switch {
		case id == all && !s.pingsAll:
			return fmt.Errorf("mention: %s cannot call all: name members", c.Kind)
		case !memberID.MatchString(id):
			return fmt.Errorf("mention: %q is no member's id", id)
		}
	}
	return nil
}

// headerName is what the name of a header may be (RFC 9110, 5.6.2).
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

// checkHeaders judges what net/http would refuse with each message anew.
func (c Config) checkHeaders() error {
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if !headerName.MatchString(name) {
			return fmt.Errorf("headers: %q is not a name that a header can have", name)
		}
		if strings.ContainsFunc(c.Headers[name].Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("headers: %s holds more than one line, or control characters", name)
		}
	}
	return nil
}
