package otlp

import (
	"math/rand/v2"
	"strings"
)

// A parent is the span of a client that a request belongs to. The zero parent is none.
type parent struct {
	trace   string // 32 digits
	span    string // 16 digits
	sampled bool   // the client records it
}

// parseParent reads a traceparent header (W3C Trace Context, 3.2.2); the zero parent if
// it is none that can be used. Of a version that we do not know the fields of version
// 00 are read, as 3.2.3 has it.
func parseParent(s string) parent {
	const length = 55
	if len(s) != length || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return parent{}
	}
	version, trace, span, flags := s[:2], s[3:35], s[36:52], s[53:]
	if !isHex(version) || !isHex(trace) || !isHex(span) || !isHex(flags) || version == "ff" || isZero(trace) || isZero(span) {
		return parent{}
	}
	return parent{trace: trace, span: span, sampled: unhex(flags[1])&1 == 1}
}

// isHex reports whether s is of hexadecimal digits, and those that are letters are small.
func isHex(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }) < 0
}

// isZero reports whether an ID is the one that is none.
func isZero(s string) bool { return strings.Trim(s, "0") == "" }

// unhex is the value of a small hexadecimal digit.
func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

const digits = "0123456789abcdef"

// newID returns a random ID of n digits, never the one that is none.
func newID(n int) string {
	id := make([]byte, n)
	for {
		for i := range id {
			id[i] = digits[rand.N(len(digits))]
		}
		if !isZero(string(id)) {
			return string(id)
		}
	}
}

// newInstance returns a random UUID (RFC 9562, 5.4), as service.instance.id is to be.
func newInstance() string {
	id := []byte(newID(32))
	id[12], id[16] = '4', digits[8+rand.N(4)]
	return string(id[:8]) + "-" + string(id[8:12]) + "-" + string(id[12:16]) + "-" + string(id[16:20]) + "-" + string(id[20:])
}

// samples decides whether a request is traced: as its client decided for the trace that
// it belongs to, or one of so many (the SDKs call it parentbased_traceidratio).
func (c Config) samples(p parent) bool {
	if p.trace != "" {
		return p.sampled
	}
	return rand.Float64() < c.Sample
}
