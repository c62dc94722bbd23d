package traffic

import (
	"slices"
	"strings"
	"time"

	"github.com/pullchain/pullchain"
)

// How many requests have to fail, and in what time, before a registry counts as failing.
const (
	failuresTell  = 3
	failuresSince = 5 * time.Minute
)

// maxFailingRepos is how many repositories are told apart in a row of failures.
const maxFailingRepos = 20

// Failures are a registry's manifests and blobs that clients asked for and did not get,
// in an unbroken row up to the last one.
type Failures struct {
	Requests     int       `json:"requests"`
	Repositories int       `json:"repositories"` // different ones among them; it counts no further than 20
	Repository   string    `json:"repository"`   // of the last one
	First        time.Time `json:"first"`
	Last         time.Time `json:"last"`
	Code         string    `json:"code"` // of the last one; empty if none is known
	Status       int       `json:"status"`
}

// Many reports whether there are more repositories than were counted.
func (f *Failures) Many() bool { return f.Repositories >= maxFailingRepos }

// failures is the row that a registry's last requests are.
type failures struct {
	shown Failures
	repos []string
	last  [failuresTell]time.Time // of the last ones, each at its number's place
}

// judge takes note of how a request for content went. A success ends the row; what says
// nothing of the registry's state, such as a name that does not exist or a client that
// left, neither ends it nor belongs to it.
func (r *registry) judge(f *Flight, o *Outcome, now time.Time) {
	switch {
	case f.kind != kind(pullchain.Manifest) && f.kind != kind(pullchain.Blob) || o.Gone:
	case !o.Failed:
		if o.Status < 400 {
			r.failures = nil
		}
	case o.Status < 400 || o.Status >= 500 || o.Status == 401 || o.Status == 403: // below 400: it was cut
		if r.failures == nil {
			r.failures = &failures{shown: Failures{First: now}}
		}
		r.failures.add(f.Request.Repo, o, now)
	}
}

// add takes one more failure into the row.
func (s *failures) add(repo string, o *Outcome, now time.Time) {
	s.last[s.shown.Requests%failuresTell] = now
	s.shown.Requests++
	s.shown.Last, s.shown.Code, s.shown.Status = now, string(o.Code), o.Status
	if s.shown.Repository != repo {
		s.shown.Repository = strings.Clone(repo)
		if len(s.repos) < maxFailingRepos && !slices.Contains(s.repos, repo) {
			s.repos = append(s.repos, s.shown.Repository)
		}
	}
	s.shown.Repositories = len(s.repos)
}

// Failures returns the row of failures that the last requests for a registry are; nil
// unless three of them, at least, were in the last five minutes.
func (j *Journal) Failures(name string, now time.Time) *Failures {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.registries[name]
	if r == nil || r.failures == nil {
		return nil
	}
	s := r.failures
	// The third last one is where the next one would be put.
	if s.shown.Requests < failuresTell || now.Sub(s.last[s.shown.Requests%failuresTell]) > failuresSince {
		return nil
	}
	shown := s.shown
	return &shown
}
