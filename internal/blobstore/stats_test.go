package blobstore

import "testing"

func TestStatsCountManifests(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Dir: t.TempDir()})
	<-s.scanned
	put(t, s, 1, 1000, Meta{})
	d := put(t, s, 2, 100, Meta{MediaType: "application/vnd.oci.image.manifest.v1+json"})
	if got := s.Stats(); got.Objects != 2 || got.Manifests != 1 || got.Oldest == nil {
		t.Errorf("%+v", got)
	}
	if err := s.Remove(d); err != nil {
		t.Fatal(err)
	}
	if got := s.Stats(); got.Objects != 1 || got.Manifests != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}
