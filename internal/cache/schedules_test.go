//go:build !race

package cache

// defaultSchedules is how many schedules TestFillProperty runs where nobody says.
const defaultSchedules = 200
