package cache_test

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestHolding(t *testing.T) {
	stock(t, func(t *testing.T, s *shelf) {
		h, err := s.cache.Holding(t.Context(), "docker.io", alpine, "3.20", "")
		if err != nil || h.Digest != s.index || h.Confirmed == nil || !h.Fresh || !h.Manifest || h.Objects != 5 || h.Bytes == 0 {
			t.Errorf("the tag: %+v, %v", h, err)
		}
		time.Sleep(time.Hour)
		if h, _ = s.cache.Holding(t.Context(), "docker.io", alpine, "3.20", ""); h.Fresh || h.Digest != s.index {
			t.Errorf("an hour later: %+v", h)
		}
		if h, _ = s.cache.Holding(t.Context(), "docker.io", alpine, "", s.arm); !h.Fresh || h.Confirmed != nil || !h.Manifest || h.Objects != 3 {
			t.Errorf("by digest: %+v", h)
		}
		for name, h := range map[string]struct {
			tag string
			d   digest.Digest
		}{"another tag": {"3.21", ""}, "another digest": {"", digest.FromString("x")}} {
			if got, err := s.cache.Holding(t.Context(), "docker.io", alpine, h.tag, h.d); err != nil || got.Manifest || got.Fresh || got.Objects != 0 {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if len(s.up.asked) > 0 {
			t.Errorf("upstreams were asked: %v", s.up.asked)
		}
	})
}
