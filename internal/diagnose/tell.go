package diagnose

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullchain/pullchain/internal/messages"
)

// Title says in the language of m what is wrong, in a sentence without its full stop:
// "the proxy home (socks5://127.0.0.1:7890) is down".
func (w Warning) Title(m *messages.Catalogue, now time.Time) string {
	key := "warning." + w.Code
	if w.Code == PullsFailing && w.Values["repositories"] == "1" {
		key += "_one" // which it is tells that others may work
	}
	if w.Unproved {
		key += "_silent"
	}
	return w.text(m, key, now)
}

// Advice says what to do about it; Fix is the command for that, if there is one.
func (w Warning) Advice(m *messages.Catalogue, now time.Time) string {
	return w.text(m, "warning."+w.Code+"_fix", now)
}

func (w Warning) text(m *messages.Catalogue, key string, now time.Time) string {
	var pairs []any
	for _, name := range slices.Sorted(maps.Keys(w.Values)) {
		value := w.Values[name]
		pairs = append(pairs, name, value)
		switch {
		case strings.HasSuffix(name, "_s"):
			if seconds, err := strconv.Atoi(value); err == nil {
				pairs = append(pairs, strings.TrimSuffix(name, "_s"), m.Wait(time.Duration(seconds)*time.Second))
			}
		case strings.HasSuffix(name, "_at"):
			if at, err := time.Parse(time.RFC3339, value); err == nil {
				pairs = append(pairs, strings.TrimSuffix(name, "_at"), m.Wait(at.Sub(now)))
			}
		}
	}
	return m.Text(key, pairs...)
}

// namedRegistries is how many registries a list names before it only counts.
const namedRegistries = 2

// List names registries in the language of m: "docker.io, ghcr.io and 3 more".
func List(m *messages.Catalogue, names []string) string {
	if extra := len(names) - namedRegistries; extra > 1 {
		return m.Text("summary.names_more", "names", strings.Join(names[:namedRegistries], m.Text("summary.comma")), "count", extra)
	}
	return strings.Join(names, m.Text("summary.comma"))
}
