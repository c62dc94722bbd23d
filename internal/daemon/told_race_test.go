//go:build race

package daemon_test

// underRace says that the race detector looks on.
const underRace = true
