package cache

import (
	"slices"
	"testing"

	"github.com/pullchain/pullchain/internal/wire"
)

func TestAcceptOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		headers []string
		want    accepts
	}{
		{"none", nil, acceptAll},
		{"everything", []string{"*/*"}, acceptAll},
		{"any application", []string{"text/plain, application/*; q=0.2"}, acceptAll},
		{"schema 2", []string{wire.TypeDockerManifest}, acceptDockerManifest},
		{"schema 2 and its list", []string{wire.TypeDockerManifest, wire.TypeDockerList}, acceptDockerManifest | acceptDockerList},
		{"one line", []string{wire.TypeOCIIndex + "," + wire.TypeOCIManifest}, acceptOCIIndex | acceptOCIManifest},
		{"parameters and case", []string{"Application/VND.OCI.image.index.v1+JSON ;charset=utf-8;q=0.9"}, acceptOCIIndex},
		{"not that one", []string{wire.TypeOCIIndex + ";q=0, " + wire.TypeOCIManifest + "; Q=0.0, " + wire.TypeDockerList}, acceptDockerList},
		{"odd weight", []string{wire.TypeOCIIndex + ";q=x"}, acceptOCIIndex},
		{"schema 1 does not count", []string{wire.TypeDockerSchema1, wire.TypeDockerSigned1}, 0},
		{"unknown types do not count", []string{"application/json, text/html"}, 0},
		{"garbage", []string{",,;;q=0,", ""}, 0},
	} {
		if got := acceptOf(test.headers); got != test.want {
			t.Errorf("%s: %04b, want %04b", test.name, got, test.want)
		}
	}
}

// What shares a key asks the same question, and gets what the key says.
func TestQuestionOfASet(t *testing.T) {
	t.Parallel()
	for set := range acceptAll + 1 {
		own := []string{"text/html"}
		question := set.question(own)
		switch {
		case set == 0 && !slices.Equal(question, own), set == acceptAll && question != nil:
			t.Errorf("%04b asks %q", set, question)
		case set != 0 && acceptOf(question) != set:
			t.Errorf("%04b asks %q, which is %04b", set, question, acceptOf(question))
		}
	}
}
