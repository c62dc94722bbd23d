//go:build !race

package fill

// defaultSchedules is how many schedules TestFillProperty runs where nobody says.
const defaultSchedules = 200
