package front

import (
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/wire"
)

// loop answers a request that this very process has sent: one of its upstreams leads back to
// it. No chain is asked, so that it is one answer, to the lane that it came by.
func loop(hops []string, self string) problem {
	return problem{
		status:  http.StatusLoopDetected,
		code:    wire.CodeUnavailable,
		message: "a chain of pullchains leads back to where it began: " + strings.Join(append(hops, self), " > "),
	}
}

// Another pullchain's last words on a request, without the image's name before them and the
// advice behind, which is for people at its own machine.
var (
	innerWords = regexp.MustCompile(`(?:no upstream could answer|no upstream answered in time|no upstream gave a usable answer|every upstream is rate limited): .*|a chain of pullchains leads back to where it began: .*`)
	itsAdvice  = regexp.MustCompile(`; (?:see \S+ or )?run [^ ]+pullchain status.*$`)
	innermost  = regexp.MustCompile(`\(["'](.*)["']\)$`) // quotes in quotes become single ones
)

// verdictAmong returns the verdict of the first pullchain among the upstreams that had one to
// give; empty if there is none.
func verdictAmong(attempts []pullchain.Attempt) string {
	for _, a := range attempts {
		if e, ok := errors.AsType[*pullchain.Error](a.Err); ok {
			_, text := said(e)
			if verdict, ok := verdictOf(text); ok {
				return verdict
			}
		}
	}
	return ""
}

// verdictOf returns what the innermost of the pullchains behind an upstream has said, if one
// has: those between have said no more than that they passed it on. ok is false for what
// is another server's.
func verdictOf(text string) (verdict string, ok bool) {
	for {
		verdict = itsAdvice.ReplaceAllString(innerWords.FindString(text), "")
		m := innermost.FindStringSubmatch(verdict)
		if m == nil || !innerWords.MatchString(m[1]) {
			return verdict, verdict != ""
		}
		text = m[1]
	}
}
