package dashboard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
)

// A speaker writes values for people: in one language, and at one moment.
type speaker struct {
	messages *messages.Catalogue
	moment   time.Time
}

// now is the moment that the page shows.
func (v *speaker) now() time.Time { return v.moment }

// A moment is a time as a page shows it: for programs, in full, and from now.
type moment struct {
	ISO  string // RFC 3339
	Full string // in this machine's time zone
	Text string // "3 min ago", "in 14 min"
	Span string // "3 min"
}

// at makes a moment. The zero time makes none, which a template shows as nothing.
func (v *speaker) at(t time.Time) *moment {
	if t.IsZero() {
		return nil
	}
	m := &moment{ISO: t.UTC().Format(time.RFC3339), Full: t.Local().Format("2006-01-02 15:04:05 MST")}
	d := v.now().Sub(t)
	m.Span = v.spent(d.Abs())
	switch {
	case d <= -48*time.Hour:
		m.Text = v.messages.Text("dash.in", "wait", m.Span)
	case d < -time.Second:
		m.Text = v.messages.Text("dash.in", "wait", admin.Wait(v.messages, -d))
	case d < 2*time.Second:
		m.Text = v.messages.Text("dash.just_now")
	default:
		m.Text = v.messages.Text("dash.ago", "wait", m.Span)
	}
	return m
}

func (v *speaker) atOf(t *time.Time) *moment {
	if t == nil {
		return nil
	}
	return v.at(*t)
}

// spent writes how long something has lasted. It rounds down, and says days of what
// is long past.
func (v *speaker) spent(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return v.messages.Text("dash.days", "n", int(d/(24*time.Hour)))
	case d >= 90*time.Minute:
		return v.messages.Text("wait.whole_hours", "h", int(d/time.Hour))
	case d >= 90*time.Second:
		return v.messages.Text("wait.minutes", "min", int(d/time.Minute))
	}
	return v.messages.Text("wait.seconds", "s", max(1, int(d/time.Second)))
}

// millis writes a duration for a column of figures: "38 ms", "4.1 s".
func millis(ms float64) string {
	switch {
	case ms <= 0:
		return ""
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// percent never rounds a failure away: 100 % is all of it.
func percent(part, all uint64) string {
	if all == 0 {
		return ""
	}
	p := 100 * float64(min(part, all)) / float64(all)
	if part < all && p > 99.9 {
		p = 99.9
	}
	return strings.TrimSuffix(strconv.FormatFloat(p, 'f', 1, 64), ".0") + " %"
}

// count writes a number with its thousands apart.
func count[T ~int | ~int64 | ~uint64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "\u2009" + digits[i:]
	}
	return digits
}

// contains reports whether one of texts has what in it, whatever the case.
func contains(what string, texts ...string) bool {
	what = strings.ToLower(what)
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), what) })
}
