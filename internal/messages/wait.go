package messages

import "time"

// Wait writes a duration as people say it: "12 s", "14 min", "2 h 10 min". It
// rounds up: better to come back late than too early.
func (c *Catalogue) Wait(d time.Duration) string {
	switch {
	case d <= 90*time.Second:
		return c.Text("wait.seconds", "s", max(1, int64((d+time.Second-1)/time.Second)))
	case d <= 90*time.Minute:
		return c.Text("wait.minutes", "min", int64((d+time.Minute-1)/time.Minute))
	}
	minutes := int64((d + time.Minute - 1) / time.Minute)
	if minutes%60 == 0 {
		return c.Text("wait.whole_hours", "h", minutes/60)
	}
	return c.Text("wait.hours", "h", minutes/60, "min", minutes%60)
}
