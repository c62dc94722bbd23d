package wire

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/pullchain/pullchain"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	const beyond = math.MaxInt64
	tests := []struct {
		header string
		want   pullchain.Range
		ok     bool
	}{
		{"bytes=0-99", pullchain.Range{From: 0, To: 100}, true},
		{"bytes=0-0", pullchain.Range{From: 0, To: 1}, true},
		{"bytes=100-", pullchain.Range{From: 100}, true},
		{"bytes=0-", pullchain.Range{}, true},
		{"bytes=-500", pullchain.Range{From: -500}, true},
		{"bytes=-0", pullchain.Range{From: beyond}, true},
		{"Bytes=1-2", pullchain.Range{From: 1, To: 3}, true},
		{"bytes= 1-2 ", pullchain.Range{From: 1, To: 3}, true},
		{"bytes=007-010", pullchain.Range{From: 7, To: 11}, true},
		{"bytes=5-9223372036854775806", pullchain.Range{From: 5, To: beyond}, true},
		{"bytes=5-9223372036854775807", pullchain.Range{From: 5}, true},
		{"bytes=5-99999999999999999999", pullchain.Range{From: 5}, true},
		{"bytes=99999999999999999999-", pullchain.Range{From: beyond}, true},
		{"bytes=-99999999999999999999", pullchain.Range{From: -beyond}, true},

		{"", pullchain.Range{}, false},
		{"bytes", pullchain.Range{}, false},
		{"bytes=", pullchain.Range{}, false},
		{"bytes=-", pullchain.Range{}, false},
		{"bytes=5-3", pullchain.Range{}, false},
		{"bytes=99999999999999999999-5", pullchain.Range{}, false},
		{"bytes=0-1,3-4", pullchain.Range{}, false},
		{"bytes=0-1,", pullchain.Range{}, false},
		{"bytes=--5", pullchain.Range{}, false},
		{"bytes=+1-2", pullchain.Range{}, false},
		{"bytes=1-+2", pullchain.Range{}, false},
		{"bytes=0x1-2", pullchain.Range{}, false},
		{"bytes=1 - 2", pullchain.Range{}, false},
		{"bytes=٣-٤", pullchain.Range{}, false},
		{"items=0-1", pullchain.Range{}, false},
		{"bytes:0-1", pullchain.Range{}, false},
	}
	for _, tt := range tests {
		got, ok := ParseRange(tt.header)
		if got != tt.want || ok != tt.ok {
			t.Errorf("ParseRange(%q) = %v, %t; want %v, %t", tt.header, got, ok, tt.want, tt.ok)
		}
	}
}

func TestParseRanges(t *testing.T) {
	t.Parallel()
	a, b, tail := pullchain.Range{From: 0, To: 100}, pullchain.Range{From: 200}, pullchain.Range{From: -5}
	many := "bytes=0-99" + strings.Repeat(",200-", 99)
	tests := []struct {
		header string
		want   []pullchain.Range // nil: refused
	}{
		{"bytes=0-99", []pullchain.Range{a}},
		{"bytes=0-99,200-,-5", []pullchain.Range{a, b, tail}},
		{"bytes=-5, 200- ,\t0-99", []pullchain.Range{tail, b, a}}, // the order is the client's
		{"Bytes=0-99,,200-,", []pullchain.Range{a, b}},
		{"bytes=0-99,0-99", []pullchain.Range{a, a}},
		{"bytes=0-,200-", []pullchain.Range{{}, b}},
		{many, append([]pullchain.Range{a}, slices.Repeat([]pullchain.Range{b}, 99)...)},
		{many + ",0-1", nil},
		{"bytes=0-99,5-3", nil},
		{"bytes=0-99,x", nil},
		{"bytes=0-99;200-", nil},
		{"items=0-1,2-3", nil},
		{"bytes=,", nil},
		{"bytes=", nil},
		{"", nil},
	}
	for _, tt := range tests {
		got, ok := ParseRanges(tt.header, 100)
		if !slices.Equal(got, tt.want) || ok != (tt.want != nil) {
			t.Errorf("ParseRanges(%.40q) = %v, %t; want %v", tt.header, got, ok, tt.want)
		}
	}
}

func TestFormatRange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r    pullchain.Range
		want string
	}{
		{pullchain.Range{}, ""},
		{pullchain.Range{From: 0, To: 100}, "bytes=0-99"},
		{pullchain.Range{From: 7}, "bytes=7-"},
		{pullchain.Range{From: -7}, "bytes=-7"},
	}
	for _, tt := range tests {
		if got := FormatRange(tt.r); got != tt.want {
			t.Errorf("FormatRange(%v) = %q, want %q", tt.r, got, tt.want)
		}
	}
}

func TestResolveRange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		r    pullchain.Range
		size int64
		want pullchain.Range
		ok   bool
	}{
		{pullchain.Range{}, 10, pullchain.Range{To: 10}, true},
		{pullchain.Range{}, 0, pullchain.Range{}, true},
		{pullchain.Range{From: 2, To: 5}, 10, pullchain.Range{From: 2, To: 5}, true},
		{pullchain.Range{From: 2, To: 50}, 10, pullchain.Range{From: 2, To: 10}, true},
		{pullchain.Range{From: 9}, 10, pullchain.Range{From: 9, To: 10}, true},
		{pullchain.Range{From: -3}, 10, pullchain.Range{From: 7, To: 10}, true},
		{pullchain.Range{From: -30}, 10, pullchain.Range{From: 0, To: 10}, true},
		{pullchain.Range{From: -math.MaxInt64}, 10, pullchain.Range{From: 0, To: 10}, true},
		{pullchain.Range{From: 10}, 10, pullchain.Range{}, false},
		{pullchain.Range{From: math.MaxInt64}, 10, pullchain.Range{}, false},
		{pullchain.Range{From: 10, To: 12}, 10, pullchain.Range{}, false},
		{pullchain.Range{From: -3}, 0, pullchain.Range{}, false},
		{pullchain.Range{From: 1}, 0, pullchain.Range{}, false},
		{pullchain.Range{From: 1, To: 2}, -1, pullchain.Range{}, false},
	}
	for _, tt := range tests {
		got, ok := ResolveRange(tt.r, tt.size)
		if got != tt.want || ok != tt.ok {
			t.Errorf("ResolveRange(%v, %d) = %v, %t; want %v, %t", tt.r, tt.size, got, ok, tt.want, tt.ok)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	t.Parallel()
	tests := []struct {
		header string
		want   ContentRange
		err    error // nil, ErrUnsatisfied, or errAny
	}{
		{"bytes 0-99/200", ContentRange{pullchain.Range{From: 0, To: 100}, 200}, nil},
		{"bytes 199-199/200", ContentRange{pullchain.Range{From: 199, To: 200}, 200}, nil},
		{"bytes 0-99/*", ContentRange{pullchain.Range{From: 0, To: 100}, -1}, nil},
		{"Bytes 0-0/1", ContentRange{pullchain.Range{From: 0, To: 1}, 1}, nil},
		{"bytes */200", ContentRange{Total: 200}, ErrUnsatisfied},
		{"bytes */0", ContentRange{Total: 0}, ErrUnsatisfied},
		{"", ContentRange{Total: -1}, errAny},
		{"bytes", ContentRange{Total: -1}, errAny},
		{"bytes */*", ContentRange{Total: -1}, errAny},
		{"bytes 0-200/200", ContentRange{Total: -1}, errAny},
		{"bytes 5-3/200", ContentRange{Total: -1}, errAny},
		{"bytes -5-3/200", ContentRange{Total: -1}, errAny},
		{"bytes 0-99", ContentRange{Total: -1}, errAny},
		{"bytes=0-99/200", ContentRange{Total: -1}, errAny},
		{"bytes 0-99/-1", ContentRange{Total: -1}, errAny},
		{"bytes 0-99/+200", ContentRange{Total: -1}, errAny},
		{"bytes 0-99/200, bytes 0-1/2", ContentRange{Total: -1}, errAny},
		{"bytes 0-99/99999999999999999999", ContentRange{Total: -1}, errAny},
		{"bytes 0-9223372036854775807/*", ContentRange{Total: -1}, errAny},
	}
	for _, tt := range tests {
		got, err := ParseContentRange(tt.header)
		matches := errors.Is(err, tt.err)
		if tt.err == errAny {
			matches = err != nil && !errors.Is(err, ErrUnsatisfied)
		}
		if got != tt.want || !matches {
			t.Errorf("ParseContentRange(%q) = %v, %v; want %v, %v", tt.header, got, err, tt.want, tt.err)
		}
	}
}

var errAny = errors.New("any other error")

func TestContentRangeString(t *testing.T) {
	t.Parallel()
	tests := []struct {
		c    ContentRange
		want string
	}{
		{ContentRange{pullchain.Range{From: 0, To: 100}, 200}, "bytes 0-99/200"},
		{ContentRange{pullchain.Range{From: 5, To: 6}, -1}, "bytes 5-5/*"},
		{ContentRange{Total: 200}, "bytes */200"},
		{ContentRange{Total: -1}, "bytes */0"},
	}
	for _, tt := range tests {
		if got := tt.c.String(); got != tt.want {
			t.Errorf("%+v prints %q, want %q", tt.c, got, tt.want)
		}
	}
}

func FuzzRange(f *testing.F) {
	for _, header := range []string{"bytes=0-99", "bytes=5-", "bytes=-5", "bytes=-0", "bytes=0-1,2-3", "bytes=9223372036854775807-", "bytes=1-99999999999999999999", "x"} {
		f.Add(header, int64(10))
		f.Add(header, int64(math.MaxInt64))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		r, ok := ParseRange(header)
		if !ok {
			if !r.Whole() {
				t.Fatalf("not ok, but %v", r)
			}
			return
		}
		if r.To != 0 && r.From >= r.To || r.From < 0 && r.To != 0 {
			t.Fatalf("ParseRange(%q) = %v", header, r)
		}
		if again, ok := ParseRange(FormatRange(r)); !r.Whole() && (!ok || again != r) {
			t.Fatalf("%q -> %v -> %q -> %v", header, r, FormatRange(r), again)
		}
		abs, ok := ResolveRange(r, size)
		if !ok || r.Whole() {
			return
		}
		if abs.From < 0 || abs.From >= abs.To || abs.To > size || r.From >= 0 && abs.From != r.From {
			t.Fatalf("ResolveRange(%v, %d) = %v", r, size, abs)
		}
		back, err := ParseContentRange(ContentRange{abs, size}.String())
		if size < math.MaxInt64 && (err != nil || back != ContentRange{abs, size}) {
			t.Fatalf("content range of %v of %d comes back as %v, %v", abs, size, back, err)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	for _, header := range []string{"bytes 0-99/200", "bytes 0-99/*", "bytes */200", "bytes 5-3/9", "bytes 0-0/1 ", "bytes 0-9223372036854775807/*"} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, err := ParseContentRange(header)
		if err != nil {
			if !c.Range.Whole() || c.Total >= 0 && !errors.Is(err, ErrUnsatisfied) {
				t.Fatalf("%v, %v", c, err)
			}
			return
		}
		if c.Range.From < 0 || c.Range.From >= c.Range.To || c.Total >= 0 && c.Range.To > c.Total || c.Total < -1 {
			t.Fatalf("ParseContentRange(%q) = %v", header, c)
		}
		if again, err := ParseContentRange(c.String()); err != nil || again != c {
			t.Fatalf("%q -> %v -> %q -> %v, %v", header, c, c.String(), again, err)
		}
	})
}
