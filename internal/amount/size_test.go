package amount

import (
	"encoding/json"
	"testing"
)

func TestSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want Size
		out  string
	}{
		{"0", 0, "0"}, {"1048576", 1 << 20, "1MiB"}, {"50GiB", 50 << 30, "50GiB"}, {"50gib", 50 << 30, "50GiB"}, {"50 Gi", 50 << 30, "50GiB"},
		{"500 MB", 500e6, "500MB"}, {"500M", 500e6, "500MB"}, {" 1k ", 1000, "1KB"}, {"1TB", 1e12, "1TB"}, {"2TiB", 2 << 40, "2TiB"}, {"17B", 17, "17"},
		{"1.5GiB", 3 << 29, "1536MiB"}, {"0.5K", 500, "500"}, {"1.1KiB", 1126, "1126"}, {"1000000001", 1e9 + 1, "1000000001"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
	} {
		var s Size
		if err := s.UnmarshalText([]byte(c.text)); err != nil || s != c.want {
			t.Errorf("%q = %d, %v; want %d", c.text, s, err, c.want)
		}
		if s.String() != c.out {
			t.Errorf("%q is written %q, want %q", c.text, s, c.out)
		}
	}
	for _, text := range []string{
		"", " ", "GiB", "-1", "+1", "1.GiB", ".5GiB", "1,5GiB", "50GiBB", "50XB", "50 G B", "1e9", "0x10", "1_000",
		"9223372036854775808", "9999999TiB", "1.1234567GiB", "1.2.3G", "5 0GiB",
	} {
		s := Size(7)
		if err := s.UnmarshalText([]byte(text)); err == nil || s != 7 {
			t.Errorf("%q is read as %d, %v", text, s, err)
		}
	}
	if text, err := json.Marshal(Size(1 << 30)); err != nil || string(text) != `"1GiB"` {
		t.Errorf("JSON %s, %v", text, err)
	}
}
