package regauth

import "strings"

// A Challenge is one way to log in that a 401 offers (RFC 9110, section 11.6.1).
type Challenge struct {
	Scheme string            // in lower case: "bearer", "basic"
	Params map[string]string // names in lower case, values unquoted; the first of a repeated name
	Scopes []string          // every scope of every "scope" parameter, in order
}

// What a peer may make us parse. Registries send one challenge of some 200
// bytes with three parameters.
const (
	maxChallengeBytes = 8 << 10
	maxChallenges     = 16
	maxParams         = 32
)

// ParseChallenges reads the values of a WWW-Authenticate header, each of which
// may hold several challenges. It takes what can be understood and ignores the
// rest: quoted commas, several "scope" parameters and unquoted URLs are fine,
// a token68 is skipped.
func ParseChallenges(values []string) []Challenge {
	var found []Challenge
	for _, value := range values {
		if len(value) > maxChallengeBytes {
			continue
		}
		p := challengeParser{rest: value}
		for len(found) < maxChallenges {
			c, ok := p.next()
			if !ok {
				break
			}
			found = append(found, c)
		}
	}
	return found
}

// A challengeParser walks over one header value.
type challengeParser struct{ rest string }

// next returns the next challenge, or false at the end or at what is no
// challenge at all.
func (p *challengeParser) next() (Challenge, bool) {
	p.skip(" \t,")
	scheme := p.token()
	if scheme == "" {
		return Challenge{}, false
	}
	p.skipToken68()
	c := Challenge{Scheme: strings.ToLower(scheme), Params: make(map[string]string)}
	for range maxParams {
		name, value, ok := p.param()
		if !ok {
			break
		}
		if name == "scope" {
			c.Scopes = append(c.Scopes, strings.Fields(value)...)
		}
		if _, repeated := c.Params[name]; !repeated {
			c.Params[name] = value
		}
	}
	return c, true
}

// skipToken68 steps over the blob that some schemes carry instead of
// parameters, as in "Negotiate YII/a==, Basic …": one word and its padding,
// followed by a comma or the end.
func (p *challengeParser) skipToken68() {
	rest := strings.TrimLeft(p.rest, " \t")
	blob := strings.TrimLeftFunc(rest, func(r rune) bool { return r == '/' || r < 128 && isTokenByte(byte(r)) })
	if len(rest) == len(p.rest) || len(blob) == len(rest) {
		return // no space before it, or nothing there
	}
	blob = strings.TrimLeft(strings.TrimLeft(blob, "="), " \t")
	if blob == "" || blob[0] == ',' {
		p.rest = blob
	}
}

// param reads one name=value and reports false, having read nothing, where the
// next challenge or the end begins.
func (p *challengeParser) param() (name, value string, ok bool) {
	start := p.rest
	p.skip(" \t,")
	name = p.token()
	p.skip(" \t")
	if name == "" || !strings.HasPrefix(p.rest, "=") {
		p.rest = start
		return "", "", false
	}
	p.rest = p.rest[1:]
	p.skip(" \t")
	return strings.ToLower(name), p.value(), true
}

// value reads a quoted-string, or whatever stands before the next comma or
// space: some servers do not quote their realm.
func (p *challengeParser) value() string {
	if !strings.HasPrefix(p.rest, `"`) {
		end := strings.IndexAny(p.rest, ", \t")
		if end < 0 {
			end = len(p.rest)
		}
		v := p.rest[:end]
		p.rest = p.rest[end:]
		return v
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	p.rest = "" // the quote is never closed: nothing after it can be trusted
	return ""
}

func (p *challengeParser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

// token reads a token of RFC 9110, section 5.6.2.
func (p *challengeParser) token() string {
	end := 0
	for end < len(p.rest) && isTokenByte(p.rest[end]) {
		end++
	}
	t := p.rest[:end]
	p.rest = p.rest[end:]
	return t
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
