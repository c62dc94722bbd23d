package access

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// write makes a file of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hashed is a line of a user, of the lowest cost.
func hashed(t *testing.T, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(hash) + "\n"
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

// open returns the Access of c, and its log.
func open(t *testing.T, c Config) (*Access, *bytes.Buffer) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := New(c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a, &log
}

// asks has a client at addr ask with these headers ("Name: value"), and returns the status
// that it would get, 0 if it is served.
func asks(a *Access, addr string, headers ...string) int {
	r := httptest.NewRequest("GET", "/v2/", nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	from := Client{}
	if addr != "" {
		from.Addr = netip.MustParseAddr(addr)
		from.Key = from.Addr
	}
	if refused := a.Check(from, r); refused != nil {
		return refused.Status
	}
	return 0
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		allow, deny []netip.Prefix
		addr        string
		want        int
	}{
		{"nothing set", nil, nil, "203.0.113.9", 0},
		{"allowed", prefixes("10.0.0.0/8"), nil, "10.1.2.3", 0},
		{"not allowed", prefixes("10.0.0.0/8"), nil, "11.1.2.3", 403},
		{"no address", prefixes("10.0.0.0/8"), nil, "", 403},
		{"denied", nil, prefixes("10.0.0.0/8"), "10.1.2.3", 403},
		{"not denied", nil, prefixes("10.0.0.0/8"), "11.1.2.3", 0},
		{"deny wins", prefixes("10.0.0.0/8"), prefixes("10.9.0.0/16"), "10.9.1.1", 403},
		{"deny has no say", prefixes("10.0.0.0/8"), prefixes("10.9.0.0/16"), "10.8.1.1", 0},
		{"IPv6", prefixes("2001:db8::/32"), nil, "2001:db8:1::5", 0},
		{"another IPv6", prefixes("2001:db8::/32"), nil, "2001:db9::5", 403},
	} {
		a, _ := open(t, Config{AllowCIDRs: tt.allow, DenyCIDRs: tt.deny})
		if got := asks(a, tt.addr); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// The secret of a CDN may be replaced while both are sent, and each edit counts at once.
func TestOriginSecret(t *testing.T) {
	t.Parallel()
	const first, second = "0123456789abcdef", "fedcba9876543210"
	path := write(t, "secret", first+"\n")
	a, log := open(t, Config{OriginSecretHeader: "X-Origin-Secret", OriginSecretFile: path})
	want := func(secret string, status int) {
		t.Helper()
		if got := asks(a, "192.0.2.1", "x-origin-secret: "+secret); got != status {
			t.Errorf("%q: %d, want %d", secret, got, status)
		}
	}
	want(first, 0)
	want(second, 403)
	want("", 403)
	want(first+"x", 403)
	if got := asks(a, "192.0.2.1"); got != 403 {
		t.Errorf("without the header: %d", got)
	}
	rewrite(t, path, first+"\n"+second+"\n")
	want(first, 0)
	want(second, 0)
	rewrite(t, path, second)
	want(first, 403)
	rewrite(t, path, "short")
	want(second, 0)
	os.Remove(path)
	want(second, 0)
	if got := strings.Count(log.String(), "cannot be used"); got != 1 || strings.Contains(log.String(), second) {
		t.Errorf("%d complaints in %s", got, log)
	}
}

func TestLogin(t *testing.T) {
	t.Parallel()
	path := write(t, "htpasswd", "# the team\n"+hashed(t, "alice", "wonder:land")+"\n"+hashed(t, "bob", "builder"))
	a, _ := open(t, Config{HtpasswdFile: path})
	for _, tt := range []struct {
		header string
		want   int
	}{
		{basic("alice", "wonder:land"), 0},
		{basic("bob", "builder"), 0},
		{basic("bob", "wonder:land"), 401},
		{basic("alice", ""), 401},
		{basic("carol", "builder"), 401},
		{basic("# the team", ""), 401},
		{"Authorization: Bearer eyJ", 401},
		{"Authorization: Basic %%%", 401},
		{"X: y", 401},
	} {
		for range 2 { // the second time from memory
			if got := asks(a, "192.0.2.1", tt.header); got != tt.want {
				t.Errorf("%s: %d, want %d", tt.header, got, tt.want)
			}
		}
	}
	r := httptest.NewRequest("GET", "/v2/", nil)
	if refused := a.Check(Client{}, r); refused == nil || !refused.Login {
		t.Errorf("no challenge: %+v", refused)
	}
	rewrite(t, path, hashed(t, "alice", "another")+hashed(t, "carol", "singer"))
	for header, want := range map[string]int{basic("alice", "wonder:land"): 401, basic("alice", "another"): 0, basic("bob", "builder"): 401, basic("carol", "singer"): 0} {
		if got := asks(a, "192.0.2.1", header); got != want {
			t.Errorf("after the edit, %s: %d, want %d", header, got, want)
		}
	}
}

// A login is hashed once, however many requests bring it, and a client that guesses is
// stopped, while others and those that are known already go on.
func TestF63GuessesAreLimited(t *testing.T) {
	t.Parallel()
	path := write(t, "htpasswd", hashed(t, "alice", "right")+hashed(t, "bob", "right"))
	synctest.Test(t, func(t *testing.T) {
		a, _ := open(t, Config{HtpasswdFile: path})
		if got := asks(a, "192.0.2.1", basic("alice", "right")); got != 0 {
			t.Fatal(got)
		}
		for i := range 3 * GuessesAtOnce {
			want := 401
			if i >= GuessesAtOnce {
				want = 429
			}
			if got := asks(a, "192.0.2.1", basic("alice", strings.Repeat("x", i))); got != want {
				t.Errorf("guess %d: %d, want %d", i, got, want)
			}
		}
		for _, tt := range []struct {
			addr, user, password string
			want                 int
		}{
			{"192.0.2.1", "alice", "right", 0},   // is known
			{"192.0.2.1", "alice", "x", 401},     // is known to be wrong
			{"192.0.2.1", "bob", "right", 429},   // would have to be hashed
			{"192.0.2.2", "bob", "right", 0},     // from elsewhere
			{"192.0.2.1", "bob", "right", 0},     // and so it is known
			{"192.0.2.2", "bob", "wrong", 401},   // a guess of its own
			{"192.0.2.1", "carol", "right", 429}, // no user, and no way to find that out
		} {
			if got := asks(a, tt.addr, basic(tt.user, tt.password)); got != tt.want {
				t.Errorf("%s of %s from %s: %d, want %d", tt.password, tt.user, tt.addr, got, tt.want)
			}
		}
		time.Sleep(guessEvery)
		if one, two := asks(a, "192.0.2.1", basic("bob", "y")), asks(a, "192.0.2.1", basic("bob", "z")); one != 401 || two != 429 {
			t.Errorf("after a while: %d, %d", one, two)
		}
		time.Sleep(loginLasts)
		if n := a.logins.known.order.Len(); n == 0 {
			t.Error("nothing was remembered")
		}
		if got := asks(a, "192.0.2.1", basic("alice", "right")); got != 0 {
			t.Errorf("when it is forgotten: %d", got)
		}
	})
}

// The layers of an image are asked for at once.
func TestF63LoginsAtOnce(t *testing.T) {
	t.Parallel()
	a, _ := open(t, Config{HtpasswdFile: write(t, "htpasswd", hashed(t, "alice", "right"))})
	var clients sync.WaitGroup
	for range 50 {
		clients.Go(func() {
			if got := asks(a, "192.0.2.1", basic("alice", "right")); got != 0 {
				t.Errorf("%d", got)
			}
		})
	}
	clients.Wait()
	for range 3 {
		for range 50 {
			clients.Go(func() { asks(a, "192.0.2.1", basic("alice", "wrong")) })
		}
		clients.Wait()
	}
	if tokens := a.logins.guesses.wrong.getOrAdd(netip.MustParseAddr("192.0.2.1"), time.Now(), nil).Tokens(); tokens < GuessesAtOnce-2 {
		t.Errorf("one wrong login counted as %v", GuessesAtOnce-tokens)
	}
}

// F64: a client that asks faster than it may is told when to come back, and costs no other
// anything. A pause gives it what it may ask at once.
func TestF64FasterThanItMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := open(t, Config{RateLimit: 2, RateBurst: 5})
		ask := func(addr string, n int) (served int, after time.Duration) {
			from := Client{Addr: netip.MustParseAddr(addr), Key: netip.MustParseAddr(addr)}
			for range n {
				refused := a.Check(from, httptest.NewRequest("GET", "/v2/", nil))
				switch {
				case refused == nil:
					served++
				case refused.Status != 429:
					t.Fatalf("%+v", refused)
				default:
					after = refused.RetryAfter
				}
			}
			return served, after
		}
		for _, step := range []struct {
			pause  time.Duration
			addr   string
			n      int
			served int
			after  time.Duration
		}{
			{0, "192.0.2.1", 8, 5, time.Second / 2},
			{0, "192.0.2.2", 5, 5, 0},
			{200 * time.Millisecond, "192.0.2.1", 2, 0, 300 * time.Millisecond},
			{300 * time.Millisecond, "192.0.2.1", 2, 1, time.Second / 2},
			{time.Second, "192.0.2.1", 5, 2, time.Second / 2},
			{time.Hour, "192.0.2.1", 9, 5, time.Second / 2},
		} {
			time.Sleep(step.pause)
			if served, after := ask(step.addr, step.n); served != step.served || (after-step.after).Abs() > time.Millisecond {
				t.Errorf("%+v: served %d, then %v", step, served, after)
			}
		}
		many := Client{Addr: netip.MustParseAddr("10.0.0.1")} // a proxy that does not tell
		for range 50 {
			if refused := a.Check(many, httptest.NewRequest("GET", "/v2/", nil)); refused != nil {
				t.Fatalf("many clients are taken for one: %+v", refused)
			}
		}
	})
}

// F64: however many clients come, what is kept of them is bounded.
func TestF64ManyClients(t *testing.T) {
	t.Parallel()
	r := newRates(1, 2)
	now := time.Now()
	addr := netip.MustParseAddr("10.0.0.0")
	for range clientsKept + 1000 {
		r.take(addr, now)
		addr = addr.Next()
	}
	if n := len(r.buckets.at); n != clientsKept || r.buckets.order.Len() != n {
		t.Errorf("%d buckets, %d in order", n, r.buckets.order.Len())
	}
}

func TestBurst(t *testing.T) {
	t.Parallel()
	for c, want := range map[[2]float64]int{{1, 0}: 100, {50, 0}: 500, {50, 7}: 7, {10.05, 0}: 101} {
		if got := (Config{RateLimit: c[0], RateBurst: int(c[1])}).burst(); got != want {
			t.Errorf("%v: %d, want %d", c, got, want)
		}
	}
}

// This process alone passes itself.
func TestOwn(t *testing.T) {
	t.Parallel()
	a, _ := open(t, Config{AllowCIDRs: prefixes("10.0.0.0/8"), HtpasswdFile: write(t, "htpasswd", hashed(t, "alice", "right"))})
	r := httptest.NewRequest("GET", "/v2/", nil)
	Own(r.Header)
	if refused := a.Check(Client{Addr: netip.MustParseAddr("127.0.0.1")}, r); refused != nil {
		t.Errorf("%+v", refused)
	}
	for _, pass := range []string{"", "x", ownPass[1:], strings.ToUpper(ownPass)} {
		if got := asks(a, "127.0.0.1", ownHeader+": "+pass); got != 403 {
			t.Errorf("pass %q: %d", pass, got)
		}
	}
}

func TestNothingToCheck(t *testing.T) {
	t.Parallel()
	a, _ := open(t, Config{})
	if a != nil || a.Check(Client{}, &http.Request{}) != nil {
		t.Error("an empty [access] refuses")
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	ok := hashed(t, "alice", "right")
	costly := strings.Replace(ok, "$2a$04$", "$2a$15$", 1)
	for _, tt := range []struct {
		name  string
		check func([]byte) error
		text  string
		want  string // "" is none
	}{
		{"a user", CheckHtpasswd, ok, ""},
		{"Apache's mark", CheckHtpasswd, strings.Replace(ok, "$2a$", "$2y$", 1), ""},
		{"no user", CheckHtpasswd, "# none\n\n", "has no user"},
		{"no colon", CheckHtpasswd, "\nalice\n", "line 2: is not name:hash"},
		{"no name", CheckHtpasswd, strings.TrimPrefix(ok, "alice"), "line 1: is not name:hash"},
		{"plain", CheckHtpasswd, "alice:right", `line 1: the hash of "alice" is not bcrypt's`},
		{"SHA-1", CheckHtpasswd, ok + "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", `line 2: the hash of "bob" is not bcrypt's`},
		{"MD5", CheckHtpasswd, "bob:$apr1$7sJ5.N0X$2fQ0aYvB5ZqL0m3t0V8n1/", `line 1: the hash of "bob" is not bcrypt's`},
		{"cut short", CheckHtpasswd, ok[:40], "is not bcrypt's"},
		{"costly", CheckHtpasswd, costly, "the cost 15"},
		{"twice", CheckHtpasswd, ok + ok, `line 2: "alice" stands there twice`},
		{"a secret", CheckSecrets, "0123456789abcdef", ""},
		{"no secret", CheckSecrets, "\n\r\n", "is empty"},
		{"a short one", CheckSecrets, "0123456789abcdef\nshort\n", "line 2: a secret has 16 bytes at least"},
		{"a space", CheckSecrets, "0123456789 abcdef\n", "line 1: has what no header can carry"},
	} {
		err := tt.check([]byte(tt.text))
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "right") {
			t.Errorf("%s: %v has a secret", tt.name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		want string
	}{
		{Config{OriginSecretHeader: "X-Origin-Secret"}, "origin_secret_header, origin_secret_file"},
		{Config{OriginSecretFile: "f"}, "origin_secret_header, origin_secret_file"},
		{Config{OriginSecretHeader: "Authorization", OriginSecretFile: "f"}, "not a header of its own"},
		{Config{OriginSecretHeader: "x forwarded", OriginSecretFile: "f"}, "not a header of its own"},
		{Config{AllowCIDRs: []netip.Prefix{{}}}, "allow_cidrs"},
		{Config{DenyCIDRs: []netip.Prefix{{}}}, "deny_cidrs"},
		{Config{RateLimit: -1}, "rate_limit"},
		{Config{RateLimit: 0.01}, "rate_limit"},
		{Config{RateLimit: 1, RateBurst: -1}, "rate_burst"},
		{Config{RateBurst: 5}, "rate_burst"},
	} {
		if err := tt.cfg.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

// What is remembered is bounded, and what was used last stays.
func TestRecent(t *testing.T) {
	t.Parallel()
	r := newRecent[int, string](2, time.Minute)
	at := time.Unix(0, 0)
	r.put(1, "one", at)
	r.put(2, "two", at)
	r.get(1, at)
	r.put(3, "three", at)
	for key, want := range map[int]bool{1: true, 2: false, 3: true} {
		if _, ok := r.get(key, at); ok != want {
			t.Errorf("%d is there: %t", key, ok)
		}
	}
	r.put(3, "more", at.Add(time.Second))
	if v, _ := r.get(3, at.Add(time.Minute)); v != "more" || len(r.at) != 2 || r.order.Len() != 2 {
		t.Errorf("%q, %d, %d", v, len(r.at), r.order.Len())
	}
	if _, ok := r.get(1, at.Add(time.Minute)); ok || len(r.at) != 1 {
		t.Error("what is old stays")
	}
}
