package blobstore

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestProofsAreBounded keeps the latest proofs of access, and of a merge too.
func TestProofsAreBounded(t *testing.T) {
	t.Parallel()
	repo := func(i int) string { return fmt.Sprintf("docker.io/team/%05d", i) }
	var m, newer Meta
	for i := range maxRepos + 10 {
		m.Prove(repo(i), time.Unix(int64(i), 0), "login")
	}
	for i := maxRepos + 10; i < maxRepos+20; i++ {
		newer.Prove(repo(i), time.Unix(int64(i), 0), "")
	}
	for _, m := range []Meta{m, m.merged(newer)} {
		if len(m.Repos) != maxRepos || len(m.Logins) > maxRepos {
			t.Errorf("%d repositories, %d logins, want %d", len(m.Repos), len(m.Logins), maxRepos)
		}
	}
	merged := m.merged(newer)
	if _, kept := merged.Repos[repo(19)]; kept {
		t.Error("an old proof is kept")
	}
	if _, kept := merged.Repos[repo(maxRepos+19)]; !kept {
		t.Error("the last proof is not")
	}
	if len(encodeSidecar(merged, 1)) > maxSidecar {
		t.Error("the sidecar is larger than is read")
	}
}

// TestProofIsOneMetasOwn: a Meta that is copied and then changed leaves the first
// one as it was, and a newer proof takes the place of an older one's login.
func TestProofIsOneMetasOwn(t *testing.T) {
	t.Parallel()
	var before Meta
	before.Prove("a", time.Unix(1, 0), "one")
	after := before
	after.Prove("a", time.Unix(2, 0), "two")
	after.Prove("b", time.Unix(2, 0), "")
	gone := after
	gone.Disprove("a")
	for name, tt := range map[string]struct {
		got    Meta
		logins map[string]string
		repos  int
	}{
		"before": {before, map[string]string{"a": "one"}, 1},
		"after":  {after, map[string]string{"a": "two"}, 2},
		"gone":   {gone, map[string]string{}, 1},
		"merged": {before.merged(after), map[string]string{"a": "two"}, 2},
		"old":    {after.merged(before), map[string]string{"a": "two"}, 2},
	} {
		if diff := cmp.Diff(tt.logins, tt.got.Logins); diff != "" || len(tt.got.Repos) != tt.repos {
			t.Errorf("%s: %d repositories, logins (-want +got):\n%s", name, len(tt.got.Repos), diff)
		}
	}
}

// What other Metas say of repositories stays as it is.
func TestMergedLeavesSharedMaps(t *testing.T) {
	t.Parallel()
	m := Meta{Repos: map[string]time.Time{}}
	for i := range maxRepos + 5 {
		m.Repos[fmt.Sprint("docker.io/a/", i)] = time.Unix(int64(i), 0)
	}
	n := len(m.Repos)
	m.merged(Meta{Public: true})
	if len(m.Repos) != n {
		t.Errorf("the map that others read has %d of %d", len(m.Repos), n)
	}
}
