package upstreams

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// minSecret is the shortest secret that is looked for in text: "no" as a
// header's value would blacken half of every sentence.
const minSecret = 5

// redact replaces, in text that a far end wrote, what this attempt has told it in
// confidence. Some repeat in their error the header that they did not like (S3's
// ArgumentValue does), and errors go to logs, to the dashboard and to clients
// (docs/faults.md 5, CVE-2025-48374).
func (a *attempt) redact(text string) string {
	for _, s := range a.secrets() {
		if len(s) < minSecret {
			continue
		}
		redacted := pullchain.Secret(s).String()
		text = strings.ReplaceAll(text, s, redacted)
		if quoted := strconv.Quote(s); quoted[1:len(quoted)-1] != s {
			text = strings.ReplaceAll(text, quoted[1:len(quoted)-1], redacted)
		}
	}
	return text
}

// secrets are what the far ends have been told: the logins of this attempt in the
// form that was sent, and what the configuration holds.
func (a *attempt) secrets() []string {
	cfg := &a.u.cfg
	out := []string{a.u.auth.Password().Reveal(), cfg.Token.Reveal()}
	for _, login := range a.told {
		_, value, _ := strings.Cut(login.Reveal(), " ") // without "Basic" or "Bearer"
		out = append(out, value)
	}
	for _, value := range cfg.Headers {
		out = append(out, value.Reveal())
	}
	return out
}

// maxText is how much an error may say: net/http repeats a malformed header
// whole, and an upstream may make that 64 KiB long (docs/faults.md 5).
const maxText = 512

// redactError returns err, or what it says without secrets and in short.
func (a *attempt) redactError(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	clean := a.redact(text)
	if len(clean) > maxText {
		clean = strings.ToValidUTF8(clean[:maxText], "") + "…"
	}
	if clean == text {
		return err
	}
	return errors.New(clean)
}

// quota reads the quota that an answer tells, without a Source that repeats a
// secret: parsing has cut it to a length where redact would not know it again.
func (a *attempt) quota(h http.Header, now time.Time) *pullchain.Quota {
	if a.u.passes(a.req) { // the account's is the client's business, and says nothing of ours
		return nil
	}
	q := wire.ParseQuota(h, now)
	if source := h.Get("Docker-Ratelimit-Source"); q != nil && a.redact(source) != source {
		q.Source = pullchain.Secret(source).String()
	}
	return q
}
