package notify

import "github.com/pullchain/pullchain/internal/admin"

// A Level is how bad something is, in the words of [admin.Summary].
type Level int

// The levels, from good to bad.
const (
	OK Level = iota
	Degraded
	Outage
)

var levelWords = [...]string{admin.LevelOK, admin.LevelDegraded, admin.LevelOutage}

// String returns the word for l.
func (l Level) String() string { return levelWords[l] }

// levelOf returns the Level for a word of [admin.Summary].
func levelOf(word string) Level {
	switch word {
	case admin.LevelOutage:
		return Outage
	case admin.LevelDegraded:
		return Degraded
	}
	return OK
}
