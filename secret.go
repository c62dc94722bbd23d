package pullchain

import (
	"log/slog"
	"strings"
)

// A Secret is a password, token or signed header value. However it is printed,
// logged or marshalled it shows as "***"; only Reveal returns it (docs/faults.md 5,
// CVE-2025-48374 and its kin: secrets in logs).
type Secret string

const redacted = "***"

// Reveal returns the secret itself, for the one place that sends it.
func (s Secret) Reveal() string { return string(s) }

// String returns "***", or nothing for the empty Secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from showing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps JSON and TOML encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the secret as it stands.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}

// shortestHidden is the length of a secret that is looked for in a text: what is shorter is
// also part of other words.
const shortestHidden = 6

// HideSecrets returns text, which the far end has sent, with "***" in the place of each of
// secrets that it repeats.
func HideSecrets(text string, secrets []string) string {
	for _, s := range secrets {
		if len(s) >= shortestHidden {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	return text
}
