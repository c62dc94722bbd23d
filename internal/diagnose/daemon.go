package diagnose

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// cacheTrouble tells why nothing more is kept.
func cacheTrouble(f *findings) []Warning {
	c := f.Cache
	if c == nil || c.Trouble == "" {
		return nil
	}
	w := Warning{ID: CacheUnusable, Code: CacheUnusable, Severity: Degraded, Since: f.Now, Affects: []string{}, Values: map[string]string{"dir": c.Dir, "trouble": c.Trouble}}
	if c.Full {
		w.ID, w.Code, w.Fix = CacheFull, CacheFull, "df -h "+shellWord(c.Dir)
		if c.NoInodes {
			w.Fix = "df -i " + shellWord(c.Dir)
		}
	} else if c.Dir != "" {
		w.Fix = "ls -ld " + shellWord(c.Dir)
	}
	return []Warning{w}
}

// noDescriptors tells that nothing more can be opened: new clients wait, and no upstream
// can be asked.
func noDescriptors(f *findings) []Warning {
	o := f.OpenFiles
	if !o.Short {
		return nil
	}
	w := Warning{
		ID: NoDescriptors, Code: NoDescriptors, Severity: Critical, Since: f.Now, Affects: []string{},
		Values: map[string]string{"limit": strconv.FormatUint(o.Limit-o.Reserved, 10)},
		Fix:    "prlimit --nofile=65536 --pid $(pidof pullchain)",
	}
	if o.Since != nil {
		w.Since = *o.Since
	}
	if o.Machine {
		w.Code, w.Fix = NoDescriptorsHere, "sysctl fs.file-nr fs.file-max"
	}
	return []Warning{w}
}

// requestsRefused tells that clients are sent away, since as many are served as may be.
func requestsRefused(f *findings) []Warning {
	r := f.Refused
	if r == nil {
		return nil
	}
	return []Warning{{
		ID: RequestsRefused, Code: RequestsRefused, Severity: Degraded, Since: r.At, Affects: []string{},
		Values: map[string]string{
			"requests": strconv.Itoa(r.Lately), "client": r.Client.String(), "held": strconv.Itoa(r.Held), "taken": strconv.Itoa(r.Taken), "max": strconv.Itoa(r.Max),
		},
	}}
}

// stateTrouble tells that a restart will forget what operators did. No pull suffers from it.
func stateTrouble(f *findings) []Warning {
	s := f.State
	if s.Trouble == "" {
		return nil
	}
	w := Warning{ID: StateUnusable, Code: StateUnusable, Severity: Info, Since: f.Started, Affects: []string{}, Values: map[string]string{"dir": s.Dir, "trouble": s.Trouble}}
	switch {
	case s.InUse:
		w.ID, w.Code, w.Fix = StateInUse, StateInUse, "fuser -v "+shellWord(s.Dir)+"/*" // which process it is
	case s.Dir != "":
		w.Fix = "ls -ld " + shellWord(s.Dir)
	}
	return []Warning{w}
}

// reloadFailed tells that the file is not what is in force, which looks as if a change
// did nothing.
func reloadFailed(f *findings) []Warning {
	if f.ReloadError == "" {
		return nil
	}
	w := Warning{
		ID: ReloadFailed, Code: ReloadFailed, Severity: Degraded, Since: f.ReloadFailed, Affects: []string{},
		Values: map[string]string{"error": f.ReloadError, "at_time": f.ReloadFailed.UTC().Format(time.RFC3339)},
		Fix:    "pullchain config validate",
	}
	if f.ConfigFile != "" {
		w.Fix += " --config " + shellWord(f.ConfigFile)
	}
	return []Warning{w}
}

// unproved finds the registries of which no path has ever worked since the start, and
// which no cause explains: a mistake in the configuration looks like this.
func unproved(f *findings) []Warning {
	var affected []string
	for i := range f.Registries {
		if f.neverWorked(&f.Registries[i]) {
			affected = append(affected, f.Registries[i].Registry)
		}
	}
	if len(affected) == 0 {
		return nil
	}
	since := f.Started
	if since.IsZero() {
		since = f.Now
	}
	return []Warning{{ID: Unproved, Code: Unproved, Severity: Critical, Since: since, Affects: affected, Values: map[string]string{"registries": strings.Join(affected, ", ")}, Fix: "pullchain status"}}
}

// neverWorked reports whether all paths of a registry that nothing explains have been
// tried, and none has ever worked.
func (f *findings) neverWorked(r *Registry) bool {
	on := f.where(func(l *lane) bool { return l.registry == r })
	return len(on) > 0 && !slices.ContainsFunc(on, func(l *lane) bool { return l.LastOK != nil || l.trouble == "" })
}

// forgottenAfter is how long an override may be in force before it looks forgotten.
const forgottenAfter = 24 * time.Hour

// overridden finds the overrides that are half over, and those that look forgotten.
func overridden(f *findings) []Warning {
	var out []Warning
	for _, o := range f.Overrides {
		subject := strings.Trim(o.Registry+"/"+o.Upstream, "/")
		w := Warning{Severity: Info, Affects: []string{}, Fix: takeBack(o), Values: map[string]string{
			"kind": o.Kind, "registry": o.Registry, "upstream": o.Upstream, "actor": o.Actor, "until_at": o.ExpiresAt.UTC().Format(time.RFC3339),
		}}
		if subject != "" {
			w.Affects = append(w.Affects, subject)
		}
		switch age := f.Now.Sub(o.At); {
		case age > forgottenAfter:
			w.Code, w.Since = OverrideForgotten, o.At.Add(forgottenAfter)
		case !o.ExpiresAt.IsZero() && age > o.ExpiresAt.Sub(o.At)/2:
			w.Code, w.Since = OverrideLeft, o.At.Add(o.ExpiresAt.Sub(o.At)/2)
		default:
			continue
		}
		w.ID = id(w.Code, o.Kind+":"+subject)
		out = append(out, w)
	}
	return out
}

// takeBack is the command that ends an override.
func takeBack(o Override) string {
	switch o.Kind {
	case "pin":
		return "pullchain upstream unpin " + shellWord(o.Registry)
	case "reorder":
		return "pullchain upstream order " + shellWord(o.Registry) // no order is the configured one
	case "drain", "disable":
		return "pullchain upstream enable " + shellWord(o.Registry+"/"+o.Upstream)
	}
	return ""
}
