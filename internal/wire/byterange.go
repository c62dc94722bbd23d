package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/pullchain/pullchain"
)

// ParseRange reads a Range header: "bytes=0-99", "bytes=100-" or "bytes=-100".
// ok is false for no header, several ranges, another unit, or garbage: then the
// whole is served, as RFC 9110 14.2 allows.
//
// "bytes=0-" is ok and gives the zero Range: the whole, which may be answered
// with 206. A range that no size can satisfy ("bytes=-0", a start beyond int64)
// is ok too and starts at [math.MaxInt64], so that [ResolveRange] refuses it.
func ParseRange(header string) (r pullchain.Range, ok bool) {
	spec, ok := rangeSet(header)
	if !ok {
		return r, false
	}
	return parseRange(spec)
}

// ParseRanges reads a Range header that may ask for several ranges, in the order in
// which they stand. ok is false for what [ParseRange] says, and for more than most:
// then the whole is served, as RFC 9110 14.2 allows.
func ParseRanges(header string, most int) (ranges []pullchain.Range, ok bool) {
	set, ok := rangeSet(header)
	if !ok {
		return nil, false
	}
	for spec := range strings.SplitSeq(set, ",") {
		if strings.Trim(spec, " \t") == "" { // a list may have empty elements (RFC 9110 5.6.1.2)
			continue
		}
		r, ok := parseRange(spec)
		if !ok || len(ranges) == most {
			return nil, false
		}
		ranges = append(ranges, r)
	}
	return ranges, len(ranges) > 0
}

// rangeSet cuts off the unit, which has to be bytes.
func rangeSet(header string) (set string, ok bool) {
	unit, set, found := strings.Cut(header, "=")
	return set, found && strings.EqualFold(strings.TrimSpace(unit), "bytes")
}

// parseRange reads one range of a set.
func parseRange(spec string) (r pullchain.Range, ok bool) {
	first, last, found := strings.Cut(strings.Trim(spec, " \t"), "-")
	if !found {
		return r, false
	}
	if first == "" {
		return parseSuffix(last)
	}
	from, ok := parseSize(first)
	if !ok {
		return r, false
	}
	if last == "" {
		return pullchain.Range{From: from}, true
	}
	to, ok := parseSize(last)
	switch {
	case !ok || to < from:
		return r, false
	case to == math.MaxInt64: // beyond any size: to the end (RFC 9110 14.1.2)
		return pullchain.Range{From: from}, true
	}
	return pullchain.Range{From: from, To: to + 1}, true
}

func parseSuffix(length string) (pullchain.Range, bool) {
	n, ok := parseSize(length)
	if !ok {
		return pullchain.Range{}, false
	}
	if n == 0 {
		return pullchain.Range{From: math.MaxInt64}, true
	}
	return pullchain.Range{From: -n}, true
}

// parseSize reads 1*DIGIT. A number beyond int64 counts as math.MaxInt64.
func parseSize(s string) (int64, bool) {
	if !isNumber(s) {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, true // isNumber leaves only ErrRange
	}
	return n, true
}

// FormatRange returns the Range header that asks for r, as in "bytes=0-99", or
// "" for the whole, which is asked for without one.
func FormatRange(r pullchain.Range) string {
	switch {
	case r.Whole():
		return ""
	case r.From < 0:
		return "bytes=" + strconv.FormatInt(r.From, 10)
	case r.To == 0:
		return "bytes=" + strconv.FormatInt(r.From, 10) + "-"
	}
	return fmt.Sprintf("bytes=%d-%d", r.From, r.To-1)
}

// ResolveRange turns r into the absolute bytes [From, To) of content of the given
// size. ok is false if r cannot be satisfied, which is a 416, or if size is
// negative (unknown). The whole of anything is satisfiable, even of nothing.
func ResolveRange(r pullchain.Range, size int64) (abs pullchain.Range, ok bool) {
	if size < 0 {
		return abs, false
	}
	if r.Whole() {
		return pullchain.Range{To: size}, true
	}
	if r.From < 0 { // the last -From bytes, or all if there are fewer
		abs = pullchain.Range{From: max(0, size+r.From), To: size}
		return abs, r.To == 0 && size > 0
	}
	abs = pullchain.Range{From: r.From, To: size}
	if r.To != 0 {
		abs.To = min(r.To, size)
	}
	if abs.From >= abs.To {
		return pullchain.Range{}, false
	}
	return abs, true
}

// A ContentRange says which bytes of the whole a 206 carries.
type ContentRange struct {
	Range pullchain.Range // absolute and not empty
	Total int64           // size of the whole; -1 if the server wrote "*"
}

// ErrUnsatisfied is the error of [ParseContentRange] for "bytes */N", which only
// a 416 may carry.
var ErrUnsatisfied = errors.New("content-range of an unsatisfied range")

// ParseContentRange reads a Content-Range header (RFC 9110 14.4). For "bytes */N"
// it returns the Total with [ErrUnsatisfied]. A caller that appends the body to other
// bytes still has to compare Range and Total with what was asked for: a 206 may
// carry another part or another object (docs/protocol.md 4.8).
func ParseContentRange(header string) (ContentRange, error) {
	bad := func(why string) (ContentRange, error) {
		return ContentRange{Total: -1}, fmt.Errorf("content-range %s: %s", quoteShort(header), why)
	}
	unit, rest, found := strings.Cut(strings.Trim(header, " \t"), " ")
	span, size, slash := strings.Cut(rest, "/")
	if !found || !slash || !strings.EqualFold(unit, "bytes") {
		return bad("malformed")
	}
	total := int64(-1)
	if size != "*" {
		var ok bool
		if total, ok = parseSize(size); !ok || total == math.MaxInt64 {
			return bad("bad size")
		}
	}
	if span == "*" && total >= 0 {
		return ContentRange{Total: total}, ErrUnsatisfied
	}
	first, last, _ := strings.Cut(span, "-")
	from, ok1 := parseSize(first)
	to, ok2 := parseSize(last)
	if !ok1 || !ok2 || to < from || to == math.MaxInt64 || total >= 0 && to >= total {
		return bad("bad range")
	}
	return ContentRange{Range: pullchain.Range{From: from, To: to + 1}, Total: total}, nil
}

// String returns the header's value, as in "bytes 0-99/200"; for an empty Range,
// which has no such form, that of a 416.
func (c ContentRange) String() string {
	if c.Range.To <= c.Range.From {
		return UnsatisfiedRange(c.Total)
	}
	total := "*"
	if c.Total >= 0 {
		total = strconv.FormatInt(c.Total, 10)
	}
	return fmt.Sprintf("bytes %d-%d/%s", c.Range.From, c.Range.To-1, total)
}

// UnsatisfiedRange returns the Content-Range of a 416 for content of that size,
// as in "bytes */200".
func UnsatisfiedRange(size int64) string {
	return "bytes */" + strconv.FormatInt(max(size, 0), 10)
}
