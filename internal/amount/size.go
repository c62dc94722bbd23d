// Package amount reads and writes amounts of bytes, and of bytes a second, as people do.
package amount

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Size is a number of bytes, as people write it: "50GiB", "500 MB", "1.5GiB",
// "1048576".
type Size int64

// units are the units a Size is read and written in, by their lower-case names
// without the B.
var units = []struct {
	name  string
	bytes int64
}{
	{"Ti", 1 << 40}, {"T", 1e12},
	{"Gi", 1 << 30}, {"G", 1e9},
	{"Mi", 1 << 20}, {"M", 1e6},
	{"Ki", 1 << 10}, {"K", 1e3},
}

// UnmarshalText reads a size. K, M, G and T are powers of 1000, Ki, Mi, Gi and Ti
// of 1024; the B is optional, and so is the case. A fraction is rounded down to
// whole bytes.
func (s *Size) UnmarshalText(text []byte) error {
	number := strings.TrimSpace(string(text))
	end := strings.IndexFunc(number, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	unit := int64(1)
	if end >= 0 {
		var ok bool
		if unit, ok = unitBytes(strings.TrimSpace(number[end:])); !ok {
			return fmt.Errorf("%.40q is not a size: write it like 50GiB or 500MB", text)
		}
		number = number[:end]
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || (dotted && fraction == "") {
		return fmt.Errorf("%.40q is not a size: write it like 50GiB or 500MB", text)
	}
	part, err := fractionOf(fraction, unit)
	if err != nil {
		return fmt.Errorf("%.40q is not a size: %w", text, err)
	}
	if n > (math.MaxInt64-part)/unit {
		return fmt.Errorf("%.40q is more than any disk holds", text)
	}
	*s = Size(n*unit + part)
	return nil
}

// unitBytes returns what a unit is worth: "GiB", "gi", "GB", "G", "B".
func unitBytes(name string) (int64, bool) {
	short := strings.TrimSuffix(strings.ToLower(name), "b")
	if short == "" {
		return 1, true
	}
	for _, u := range units {
		if strings.ToLower(u.name) == short {
			return u.bytes, true
		}
	}
	return 0, false
}

// fractionOf returns the bytes of the digits after the point.
func fractionOf(digits string, unit int64) (int64, error) {
	if digits == "" {
		return 0, nil
	}
	if len(digits) > 6 {
		return 0, fmt.Errorf("more than 6 digits after the point")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	scale := int64(math.Pow10(len(digits)))
	return n*(unit/scale) + n*(unit%scale)/scale, nil
}

// String writes a size as UnmarshalText reads it, exactly, in the unit that
// needs the fewest digits.
func (s Size) String() string {
	best, name := int64(s), ""
	for _, u := range units {
		if n := int64(s) / u.bytes; int64(s)%u.bytes == 0 && n != 0 && n < best {
			best, name = n, u.name+"B"
		}
	}
	return strconv.FormatInt(best, 10) + name
}

// MarshalText writes a size as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
