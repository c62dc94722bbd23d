package regauth

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseChallenges(t *testing.T) {
	t.Parallel()
	type params = map[string]string
	for _, tt := range []struct {
		name   string
		values []string
		want   []Challenge
	}{
		{"none", nil, nil},
		{"Docker Hub", []string{`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`}, []Challenge{
			{"bearer", params{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/alpine:pull"}, []string{"repository:library/alpine:pull"}},
		}},
		{"quoted comma and escapes", []string{`BEARER realm="https://a/?x=1,2" , error="in\"val\\id, really"`}, []Challenge{
			{"bearer", params{"realm": "https://a/?x=1,2", "error": `in"val\id, really`}, nil},
		}},
		{"several in one value", []string{`Basic realm="a, b", Bearer realm="https://t/",service=s`}, []Challenge{
			{"basic", params{"realm": "a, b"}, nil},
			{"bearer", params{"realm": "https://t/", "service": "s"}, nil},
		}},
		{"several values", []string{`Bearer realm="https://t/"`, `Basic`}, []Challenge{
			{"bearer", params{"realm": "https://t/"}, nil},
			{"basic", params{}, nil},
		}},
		{"several scopes", []string{`Bearer realm="r",scope="repository:a:pull repository:b:pull",scope="repository:c:pull"`}, []Challenge{
			{"bearer", params{"realm": "r", "scope": "repository:a:pull repository:b:pull"}, []string{"repository:a:pull", "repository:b:pull", "repository:c:pull"}},
		}},
		{"first of a repeated name", []string{`Bearer realm="https://good/",realm="https://evil/"`}, []Challenge{
			{"bearer", params{"realm": "https://good/"}, nil},
		}},
		{"unquoted URL and odd spacing", []string{"\tBearer  realm = https://auth.example/token ,,  service=\"x\" , "}, []Challenge{
			{"bearer", params{"realm": "https://auth.example/token", "service": "x"}, nil},
		}},
		{"missing comma between parameters", []string{`Bearer realm="r" service="s"`}, []Challenge{
			{"bearer", params{"realm": "r", "service": "s"}, nil},
		}},
		{"schemes without parameters", []string{`Negotiate, Basic realm="x"`}, []Challenge{
			{"negotiate", params{}, nil},
			{"basic", params{"realm": "x"}, nil},
		}},
		{"token68", []string{`Negotiate YII/abc+==, Basic realm="x"`, `NTLM TlRM`}, []Challenge{
			{"negotiate", params{}, nil},
			{"basic", params{"realm": "x"}, nil},
			{"ntlm", params{}, nil},
		}},
		{"open quote", []string{`Bearer service="s",realm="https://auth`}, []Challenge{
			{"bearer", params{"service": "s", "realm": ""}, nil},
		}},
		{"garbage", []string{`"Bearer" realm=x`, "", ",,,", "\x00"}, nil},
		{"garbage after a challenge", []string{`Bearer realm="r", "oops", Basic realm="x"`}, []Challenge{
			{"bearer", params{"realm": "r"}, nil},
		}},
		{"too long", []string{"Bearer realm=" + strings.Repeat("x", maxChallengeBytes), "Basic"}, []Challenge{
			{"basic", params{}, nil},
		}},
	} {
		if diff := cmp.Diff(tt.want, ParseChallenges(tt.values)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestParseChallengesIsBounded(t *testing.T) {
	t.Parallel()
	if n := len(ParseChallenges([]string{strings.Repeat("Basic,", 1000), "Basic"})); n != maxChallenges {
		t.Errorf("%d challenges; want %d at most", n, maxChallenges)
	}
	many := ParseChallenges([]string{"Bearer " + strings.Repeat("scope=x,", 900)})
	if len(many[0].Scopes) != maxParams {
		t.Errorf("%d scopes; want %d at most", len(many[0].Scopes), maxParams)
	}
}

// FuzzChallenge holds what every caller relies on, whatever a peer sends.
func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"`,
		`Basic realm="Registry \"x\", y", Bearer realm=https://t/?a=b,scope="a b",scope=c`,
		`Negotiate YIIabc==, NTLM, Digest nonce="x",qop="auth,auth-int"`,
		`Bearer realm="`, `Bearer =,=,="`, "Bearer\trealm = x , ", `Bearer a b c="\`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		found := ParseChallenges([]string{value, value})
		if len(found) > maxChallenges {
			t.Fatalf("%d challenges", len(found))
		}
		for _, c := range found {
			if c.Scheme == "" || c.Scheme != strings.ToLower(c.Scheme) || !strings.Contains(strings.ToLower(value), c.Scheme) {
				t.Errorf("scheme %q of %q", c.Scheme, value)
			}
			for name, v := range c.Params {
				if name == "" || strings.ContainsAny(name, " \t,=\"") || len(v) > len(value) {
					t.Errorf("parameter %q=%q of %q", name, v, value)
				}
			}
			for _, scope := range c.Scopes {
				if scope == "" || strings.ContainsAny(scope, " \t") {
					t.Errorf("scope %q of %q", scope, value)
				}
			}
		}
		// What was parsed and is written again parses to the same.
		if once := ParseChallenges([]string{value}); len(once) > 0 {
			again := ParseChallenges([]string{write(once)})
			if diff := cmp.Diff(once, again, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Scopes" }, cmp.Ignore())); diff != "" && len(write(once)) <= maxChallengeBytes {
				t.Errorf("%q is not stable (-once +again):\n%s", value, diff)
			}
		}
	})
}

// write spells challenges in RFC 9110's own form.
func write(challenges []Challenge) string {
	var b strings.Builder
	for i, c := range challenges {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.Scheme)
		sep := " "
		for name, v := range c.Params {
			b.WriteString(sep + name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"`)
			sep = ", "
		}
	}
	return b.String()
}
