package quirks

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, q := range All() {
		if !form.MatchString(q.Name) || q.About == "" || q.Source == "" || strings.Contains(q.About+q.Source, "|") {
			t.Errorf("%q: a name in lower case with hyphens, About and Source are wanted, without what ends a table's cell", q.Name)
		}
		if seen[q.Name] {
			t.Errorf("%s is there twice", q.Name)
		}
		seen[q.Name] = true
		if found, ok := Find(q.Name); !ok || found.About != q.About {
			t.Errorf("%s is not found", q.Name)
		}
	}
}

func TestPairsAreTheSameForASeed(t *testing.T) {
	t.Parallel()
	names := func(qs []Quirk) (names []string) {
		for _, q := range qs {
			names = append(names, q.Name)
		}
		return names
	}
	first := names(Pairs(7, 40))
	if again := names(Pairs(7, 40)); len(first) != 40 || !slices.Equal(first, again) {
		t.Errorf("%d pairs, then %v", len(first), again)
	}
	if slices.Equal(first, names(Pairs(8, 40))) {
		t.Error("another seed has the same pairs")
	}
	for _, name := range first {
		if _, ok := Find(name); !ok {
			t.Errorf("%s is not found", name)
		}
	}
}

// TestEachQuirkShows asks a registry with each quirk what a pull may ask, and wants
// something to be different from the good one: a quirk that cannot be seen proves
// nothing about the program that bears it.
func TestEachQuirkShows(t *testing.T) {
	t.Parallel()
	good := NewRegistry()
	blob := good.PutBlob("odd/app", []byte(strings.Repeat("layer", 20000)))
	good.PutManifest("odd/app", "1", typeManifest, []byte(`{"schemaVersion":2,"mediaType":"`+typeManifest+`"}`))
	plain := transcript(t, Quirk{}, good, blob)
	for _, q := range append(All(), Pairs(1, 40)...) {
		if q.Slow {
			continue
		}
		t.Run(q.Name, func(t *testing.T) {
			t.Parallel()
			switch got := transcript(t, q, good, blob); {
			case q.Name == "conn-dead-on-reuse":
				// The transport asks again by itself.
			case got == plain:
				t.Errorf("it answers as a registry does that has no quirk:\n%s", got)
			case got != transcript(t, q, good, blob):
				t.Error("a second handler does not begin anew")
			}
		})
	}
}

// transcript is what a client gets that asks all that a pull may ask, each twice.
func transcript(t *testing.T, q Quirk, good http.Handler, blob string) string {
	t.Helper()
	serve := func(h http.Handler) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	base := serve(q.Handler(good, serve))
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	hosts := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	var b strings.Builder
	for _, ask := range []struct{ method, path, part, accept string }{
		{"GET", "", "", "*/*"},
		{"HEAD", "odd/app/manifests/1", "", typeManifest},
		{"GET", "odd/app/manifests/1", "", typeManifest},
		{"GET", "odd/app/manifests/1", "", "text/plain"},
		{"HEAD", "odd/app/blobs/" + blob, "", "*/*"},
		{"GET", "odd/app/blobs/" + blob, "", "*/*"},
		{"GET", "odd/app/blobs/" + blob, "", "*/*"},
		{"GET", "odd/app/blobs/" + blob, "bytes=10-19", "*/*"},
		{"GET", "odd/app/referrers/" + blob, "", "*/*"},
		{"GET", "odd/app/tags/list", "", "*/*"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), ask.method, base+"/v2/"+ask.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", ask.accept)
		if ask.part != "" {
			req.Header.Set("Range", ask.part)
		}
		res, err := client.Do(req)
		if err != nil {
			fmt.Fprintf(&b, "%v: no answer\n", ask)
			continue
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		res.Header.Del("Date")
		fmt.Fprintf(&b, "%v: %d %d %t %v %s %t %s\n", ask, res.StatusCode, res.ContentLength, res.Close, res.Header, digestOf(body), err == nil, res.Request.URL.RequestURI())
	}
	// Links are numbered over all registries.
	return regexp.MustCompile(`link=\d+`).ReplaceAllString(hosts.ReplaceAllString(b.String(), "HOST"), "link=N")
}
