package wire

import (
	"slices"
	"strings"
	"testing"
)

func TestAcceptsOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		headers []string
		want    Accepts
	}{
		{"none", nil, AcceptAll},
		{"everything", []string{"*/*"}, AcceptAll},
		{"any application", []string{"text/plain, application/*; q=0.2"}, AcceptAll},
		{"schema 2", []string{TypeDockerManifest}, AcceptDockerManifest},
		{"schema 2 and its list", []string{TypeDockerManifest, TypeDockerList}, AcceptDockerManifest | AcceptDockerList},
		{"one line", []string{TypeOCIIndex + "," + TypeOCIManifest}, AcceptOCIIndex | AcceptOCIManifest},
		{"parameters and case", []string{"Application/VND.OCI.image.index.v1+JSON ;charset=utf-8;q=0.9"}, AcceptOCIIndex},
		{"not that one", []string{TypeOCIIndex + ";q=0, " + TypeOCIManifest + "; Q=0.0, " + TypeDockerList}, AcceptDockerList},
		{"odd weight", []string{TypeOCIIndex + ";q=x"}, AcceptOCIIndex},
		{"schema 1 does not count", []string{TypeDockerSchema1, TypeDockerSigned1}, 0},
		{"unknown types do not count", []string{"application/json, text/html"}, 0},
		{"garbage", []string{",,;;q=0,", ""}, 0},
	} {
		if got := AcceptsOf(test.headers); got != test.want {
			t.Errorf("%s: %04b, want %04b", test.name, got, test.want)
		}
	}
}

// What shares a key asks the same question, and gets what the key says.
func TestQuestionOfASet(t *testing.T) {
	t.Parallel()
	for set := range AcceptAll + 1 {
		own := []string{"text/html"}
		question := set.Question(own)
		switch {
		case set == 0 && !slices.Equal(question, own), set == AcceptAll && question != nil:
			t.Errorf("%04b asks %q", set, question)
		case set != 0 && AcceptsOf(question) != set:
			t.Errorf("%04b asks %q, which is %04b", set, question, AcceptsOf(question))
		}
	}
}

func TestBoundAccept(t *testing.T) {
	t.Parallel()
	known := []string{TypeOCIIndex, TypeOCIManifest, TypeDockerList, TypeDockerManifest}
	long := strings.TrimSuffix(strings.Repeat("application/vnd.example.thing.v1+json, ", 700), ", ")
	for name, test := range map[string]struct {
		headers []string
		want    []string // nil: none
		same    bool     // they come back as they were
	}{
		"none":                      {nil, nil, true},
		"containerd":                {[]string{strings.Join(known, ", ") + ", */*"}, nil, true},
		"docker, a header a type":   {append(known, TypeDockerSchema1), nil, true},
		"one, with a weight":        {[]string{TypeOCIIndex + "; q=0.5"}, nil, true},
		"an artifact's":             {[]string{"application/vnd.oci.artifact.manifest.v1+json"}, nil, true},
		"28 KB, the known at last":  {[]string{long, TypeOCIIndex + ";q=0.9", TypeOCIIndex}, []string{TypeOCIIndex + ";q=0.9"}, false},
		"empty":                     {[]string{""}, nil, false},
		"of other letters":          {[]string{"application/j\xf6son, " + TypeOCIIndex}, []string{TypeOCIIndex}, false},
		"nothing but junk":          {[]string{"\xff\xfe", "\t"}, nil, false},
		"a type without end":        {[]string{TypeOCIManifest + ";a=" + strings.Repeat("b", 4000)}, []string{TypeOCIManifest + ";a=" + strings.Repeat("b", 128-len(TypeOCIManifest+";a="))}, false},
		"one of the others is long": {[]string{"a/" + strings.Repeat("b", 4000) + ",text/plain"}, []string{"text/plain"}, false},
	} {
		got := BoundAccept(test.headers)
		if test.same {
			test.want = test.headers
		}
		others := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "application/vnd.example.thing.v1+json" })
		if !slices.Equal(others, test.want) {
			t.Errorf("%s: %.200q, want %.200q", name, others, test.want)
		}
		if n := len(strings.Join(got, ", ")); n > maxAccept+8*maxKnown {
			t.Errorf("%s: %d bytes", name, n)
		}
		if AcceptsOf(got) != AcceptsOf(test.headers) && len(got) > 0 {
			t.Errorf("%s: the set is %04b, was %04b", name, AcceptsOf(got), AcceptsOf(test.headers))
		}
	}
}

func FuzzBoundAccept(f *testing.F) {
	f.Add(TypeOCIIndex+", */*;q=0.1", "text/plain")
	f.Add(strings.Repeat("a/b, ", 1000), "\x00")
	f.Fuzz(func(t *testing.T, one, other string) {
		got := BoundAccept([]string{one, other})
		joined := strings.Join(got, ", ")
		if len(joined) > maxAccept+8*maxKnown || !isPrintable(joined) {
			t.Errorf("%q", joined)
		}
		if again := BoundAccept(got); !slices.Equal(again, got) && len(joined) <= maxAccept {
			t.Errorf("%q is %q the second time", got, again)
		}
	})
}
