//go:build race

package fill

// defaultSchedules is how many schedules TestFillProperty runs where none is asked for.
// Under the race detector each takes many times as long.
const defaultSchedules = 40
