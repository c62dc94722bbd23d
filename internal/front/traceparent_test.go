package front

import (
	"net/http/httptest"
	"testing"

	"github.com/pullchain/pullchain/internal/traffic"
)

// The header that says of which span a request is a part is looked for only while a
// reader of the journal wants it, and believed only if there is one.
func TestTraceparent(t *testing.T) {
	t.Parallel()
	const word = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: healthy})
	for _, tt := range []struct {
		name   string
		wanted bool
		said   []string
		want   string
	}{
		{"not wanted", false, []string{word}, ""},
		{"wanted", true, []string{word}, word},
		{"none", true, nil, ""},
		{"two", true, []string{word, word}, ""},
		{"not wanted any more", false, []string{word}, ""},
	} {
		h.Traffic().Traceparents.Store(tt.wanted)
		r := httptest.NewRequest("GET", "http://localhost"+manifestPath, nil)
		for _, s := range tt.said {
			r.Header.Add("traceparent", s)
		}
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got := h.Traffic().Requests(traffic.RequestFilter{})[0].Traceparent; got != tt.want {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
