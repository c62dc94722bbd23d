package traffic

import (
	"slices"

	"github.com/pullchain/pullchain"
)

// hasTrouble reports whether any of attempts tells of something wrong.
func hasTrouble(attempts []Attempt) bool {
	for i := range attempts {
		if attempts[i].Trouble {
			return true
		}
	}
	return false
}

// resumesOf counts the times that another attempt went on in the middle of the content,
// and says how much of it had gone through by the last of them.
func resumesOf(attempts []Attempt, req *pullchain.Request) (n int, bytes int64) {
	for i := range attempts {
		a := &attempts[i]
		if a.Outcome != "ok" {
			continue
		}
		for j := range i {
			if b := &attempts[j]; b.Cut && b.Offset == a.Offset {
				n++
				bytes = max(bytes, a.Offset-max(0, req.Range.From))
				break
			}
		}
	}
	return n, bytes
}

// attemptsKept is how many attempts of a request are remembered. A lane that cuts a large
// layer again and again makes a hundred.
const attemptsKept = 24

// firstAndLast leaves out what is in the middle where there is too much: how it began and
// where it ended is what people ask.
func firstAndLast(attempts []Attempt) []Attempt {
	if extra := len(attempts) - attemptsKept; extra > 0 {
		return slices.Clip(slices.Delete(attempts, attemptsKept/2, attemptsKept/2+extra))
	}
	return attempts
}
