//go:build !race

package fill

// defaultSchedules is how many schedules TestFillProperty runs where none is asked for.
const defaultSchedules = 200
