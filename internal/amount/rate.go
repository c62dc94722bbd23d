package amount

import (
	"fmt"
	"strings"
)

// A Rate is a number of bytes a second, as people write it: "64KiB/s", "1.5MB/s".
type Rate int64

// UnmarshalText reads a rate: a size, with or without "/s" behind it.
func (r *Rate) UnmarshalText(text []byte) error {
	var size Size
	if err := size.UnmarshalText([]byte(strings.TrimSuffix(strings.TrimSpace(string(text)), "/s"))); err != nil {
		return fmt.Errorf("%.40q is not a rate: write it like 64KiB/s or 1MB/s", text)
	}
	*r = Rate(size)
	return nil
}

// String writes a rate as UnmarshalText reads it.
func (r Rate) String() string { return Size(r).String() + "/s" }

// MarshalText writes a rate as String does.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
