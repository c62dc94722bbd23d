package wire

import (
	"net/url"
	"strings"
	"testing"
)

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseLink(t *testing.T) {
	t.Parallel()
	const base = "https://quay.io/v2/o/app/tags/list?n=2"
	tests := []struct {
		values []string
		want   string // "" for not ok
	}{
		{[]string{`</v2/o/app/tags/list?n=2&last=b>; rel="next"`}, "https://quay.io/v2/o/app/tags/list?n=2&last=b"},
		{[]string{`<?n=2&last=b>; rel=next`}, "https://quay.io/v2/o/app/tags/list?n=2&last=b"},
		{[]string{`<https://quay.io/v2/x?next_page=g==>;rel="next"`}, "https://quay.io/v2/x?next_page=g=="},
		{[]string{`<http://other.example/x>; rel="next"`}, "http://other.example/x"}, // the caller's guard decides
		{[]string{`</a>; rel="prev", </b>; rel="next"`}, "https://quay.io/b"},
		{[]string{`</a>; rel="prev"`, `</b>; rel="next"`}, "https://quay.io/b"},
		{[]string{`</a>; title="x, <y>; rel=next"; rel=prev,</b>;REL=NEXT`}, "https://quay.io/b"},
		{[]string{`</a>; title="q\"; rel=next"; rel="last next"`}, "https://quay.io/a"},
		{[]string{`</a> ; foo ; rel = "next" ; bar`}, "https://quay.io/a"},
		{[]string{`</a#frag>; rel="next"`}, "https://quay.io/a"},
		{[]string{`, , </a>; rel="next"`}, "https://quay.io/a"},

		{nil, ""},
		{[]string{""}, ""},
		{[]string{`/a; rel="next"`}, ""},
		{[]string{`</a>`}, ""},
		{[]string{`</a; rel="next"`}, ""},
		{[]string{`</a>; rel="nextish"`}, ""},
		{[]string{`</a>; rel=prev; rel=next`}, ""},
		{[]string{`</a>; rel=next; anchor="/b"`}, ""},
		{[]string{`</a>; rel=next; anchor="/b", </c>; rel=prev`}, ""},
		{[]string{`</a>; title="rel=next`}, ""},
		{[]string{`<file:///etc/passwd>; rel="next"`}, ""},
		{[]string{`<javascript:alert(1)>; rel="next"`}, ""},
		{[]string{`<mailto:a@b.example>; rel="next"`}, ""},
		{[]string{`<https://user:pw@quay.io/x>; rel="next"`}, ""},
		{[]string{`<https:///x>; rel="next"`}, ""},
		{[]string{`<\\evil.example\x>; rel="next"`}, ""},
		{[]string{"</a\r\nX: y>; rel=next"}, ""},
		{[]string{`</a b>; rel="next"`}, ""},
		{[]string{`<` + strings.Repeat("a", maxLink) + `>; rel="next"`}, ""},
	}
	for _, tt := range tests {
		next, ok := ParseLink(tt.values, mustURL(t, base))
		got := ""
		if ok {
			got = next.String()
		}
		if got != tt.want {
			t.Errorf("ParseLink(%.80q) = %q, want %q", tt.values, got, tt.want)
		}
	}
	if next, ok := ParseLink([]string{`</a>; rel="next"`}, nil); ok {
		t.Errorf("a relative link without a base is %v", next)
	}
}

func TestNextLink(t *testing.T) {
	t.Parallel()
	tests := []struct{ uri, next, want string }{
		{"/v2/o/app/tags/list", "https://quay.io/v2/o/app/tags/list?n=2&last=b", `</v2/o/app/tags/list?last=b&n=2>; rel="next"`},
		{"/v2/quay.io/o/app/tags/list?n=2", "https://quay.io/v2/o/app/tags/list?n=2&last=b", `</v2/quay.io/o/app/tags/list?last=b&n=2>; rel="next"`},
		{"/v2/o/app/tags/list?ns=quay.io&n=2&last=a", "https://m.example/p/v2/o/app/tags/list?next_page=g%3D%3D", `</v2/o/app/tags/list?next_page=g%3D%3D&ns=quay.io>; rel="next"`},
		{"/v2/a/tags/list?ns=quay.io", "https://m.example/x?ns=evil.example&last=b", `</v2/a/tags/list?last=b&ns=quay.io>; rel="next"`},
		{"/v2/a/tags/list", "https://m.example/x", `</v2/a/tags/list>; rel="next"`},
		{"/v2/a/tags/list", "https://m.example/x?last=%3E%3B%0Ab", ""},
		{"/v2/a/tags/list", "https://m.example/x?last=%3E%22", `</v2/a/tags/list?last=%3E%22>; rel="next"`},
		{"/v2/a/tags/list", "https://m.example/x?a;b", ""},
		{"/v2/a>/tags/list", "https://m.example/x?last=b", `</v2/a%3E/tags/list?last=b>; rel="next"`},
		{"//evil.example/v2/a/tags/list", "https://m.example/x?last=b", `</v2/a/tags/list?last=b>; rel="next"`},
		{"////evil.example/v2/a", "https://m.example/x?last=b", ""},
		{"v2/a", "https://m.example/x?last=b", ""},
		{"", "https://m.example/x?last=b", ""},
		{"/v2/\x00", "https://m.example/x?last=b", ""},
	}
	for _, tt := range tests {
		if got := NextLink(tt.uri, mustURL(t, tt.next)); got != tt.want {
			t.Errorf("NextLink(%q, %q) = %q, want %q", tt.uri, tt.next, got, tt.want)
		}
	}
	if got := NextLink("/v2/a/tags/list", nil); got != "" {
		t.Errorf("NextLink without a next = %q", got)
	}
}

func FuzzLink(f *testing.F) {
	for _, value := range []string{
		`</v2/a/tags/list?n=2&last=b>; rel="next"`, `<?last=b>;rel=next`, `<https://u:p@h/x>; rel="next"`, `</a>; title="x, <y>"; rel="a next", </b>;rel=next`,
		`<//h/x?next_page=%41>; rel = "next"`, `<`, `<>;`, `<>;rel="`, `<a>;rel="\`,
	} {
		f.Add(value, "/v2/a/tags/list?ns=quay.io")
		f.Add(value, "//h/v2/<>")
		f.Add(value, "/././/h")
	}
	base := mustURL(f, "https://up.example/v2/a/tags/list")
	client := mustURL(f, "http://127.0.0.1:5151/v2/a/tags/list")
	f.Fuzz(func(t *testing.T, value, requestURI string) {
		next, ok := ParseLink([]string{value}, base)
		if !ok {
			return
		}
		if next.Scheme != "https" && next.Scheme != "http" || next.Host == "" || next.User != nil || next.Fragment != "" {
			t.Fatalf("ParseLink(%q) = %v", value, next)
		}
		link := NextLink(requestURI, next)
		if link == "" {
			return
		}
		// Our client stays with us, and each round of rewriting is like the first
		// (but for dot segments, which resolving removes and Parse lets none of in).
		checkHeader(t, link)
		again, ok := ParseLink([]string{link}, client)
		if !ok || again.Host != client.Host || again.Scheme != client.Scheme {
			t.Fatalf("NextLink(%q, %v) = %q, which reads as %v", requestURI, next, link, again)
		}
		if twice := NextLink(again.RequestURI(), again); twice != link && !strings.Contains(link, "/.") {
			t.Fatalf("%q becomes %q", link, twice)
		}
	})
}

func checkHeader(t *testing.T, value string) {
	t.Helper()
	for i := range len(value) {
		if value[i] < ' ' || value[i] > '~' {
			t.Fatalf("header %q holds byte %#x", value, value[i])
		}
	}
}

func TestVia(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []string
		hops   int
	}{
		{nil, 0},
		{[]string{"ab12cd34ef"}, 1},
		{[]string{"ab12cd34ef, gh56ij78kl"}, 2},
		{[]string{"ab12cd34ef", "gh56ij78kl"}, 0},
		{[]string{"ab12cd34ef,gh56ij78kl"}, 0},
		{[]string{"<script>"}, 0},
		{[]string{"AB12CD34EF"}, 0},
		{[]string{""}, 0},
		{[]string{strings.Repeat("ab12cd34ef, ", 40) + "ab12cd34ef"}, 0},
	} {
		if got := ParseVia(tt.values); len(got) != tt.hops {
			t.Errorf("%q: %q, want %d", tt.values, got, tt.hops)
		}
	}
	hops := ""
	for i, name := range []string{"aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"} {
		if i > 0 && (LeadsBack(ParseVia([]string{hops}), name) || !LeadsBack(ParseVia([]string{hops}), "aaaa")) {
			t.Errorf("%s before %s", hops, name)
		}
		hops = AddHop(hops, name)
	}
	if !LeadsBack(ParseVia([]string{hops}), "iiii") {
		t.Errorf("there is no end to %s", hops)
	}
}
