package admin_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/messages"
)

func TestTable(t *testing.T) {
	t.Parallel()
	tests := []struct {
		golden string
		o      admin.TableOptions
		change func(*admin.Snapshot)
	}{
		{"all.txt", admin.TableOptions{}, nil},
		{"all.zh.txt", admin.TableOptions{Messages: messages.In("zh")}, nil},
		{"color.txt", admin.TableOptions{Color: true}, nil},
		{"one.txt", admin.TableOptions{Registry: "ghcr.io"}, nil},
		{"draining.txt", admin.TableOptions{}, func(s *admin.Snapshot) { s.Draining = true; s.Registries = s.Registries[1:2] }},
		{"cacheless.txt", admin.TableOptions{}, func(s *admin.Snapshot) { s.Registries = s.Registries[1:2]; s.Cache = nil }},
		{"unopened.txt", admin.TableOptions{}, func(s *admin.Snapshot) {
			s.Registries = s.Registries[1:2]
			s.Cache = &cache.Snapshot{Stats: blobstore.Stats{Dir: "/srv", Trouble: blobstore.ErrLocked.Error()}}
		}},
		{"warm.txt", admin.TableOptions{}, func(s *admin.Snapshot) { s.Registries = s.Registries[1:2]; s.Cache.Trouble = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.golden, func(t *testing.T) {
			t.Parallel()
			s := snapshot()
			if tt.change != nil {
				tt.change(&s)
			}
			tt.o.Zone = time.UTC
			var b strings.Builder
			if err := admin.WriteTable(&b, s, tt.o); err != nil {
				t.Fatal(err)
			}
			golden.Compare(t, filepath.Join("testdata", tt.golden), b.String())
		})
	}
}

// A name or an error from elsewhere must not steer the terminal.
func TestTableIsPlain(t *testing.T) {
	t.Parallel()
	s := snapshot()
	s.Registries[0].Lanes[0].Upstream = "hub\x1b[31m\nFAKE"
	s.Registries[0].Lanes[0].Code = "\x1b]0;title\a"
	s.Registries[0].Failovers[0].Image = "x\x1b[2J"
	s.Warnings[1].Values["error"] = "line\x1b[1A"
	s.Warnings[0].Fix = "rm\a\nFAKE"
	var b strings.Builder
	if err := admin.WriteTable(&b, s, admin.TableOptions{}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\a") || strings.Contains(b.String(), "\nFAKE") {
		t.Errorf("control characters in the table:\n%q", b.String())
	}
}
