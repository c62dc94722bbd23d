package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/config"
)

// Of the registries that clients named, so many are kept; those that have answered and are in use go
// last, and none for another that is in use.
func TestAskedRegistriesAreBounded(t *testing.T) {
	t.Parallel()
	cfg, err := config.Parse("test.toml", []byte("[admin]\nstate_dir = \"off\"\n[cache]\nenabled = false\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.chain.Load().close(nil) })
	name := func(i int) string { return fmt.Sprintf("registry-%d.example", i) }
	entry := func(i int) *asked { return d.chain.Load().registryNamed(name(i)).asked }
	wantAsk := func(i int, want bool) {
		t.Helper()
		if err := ask(d, name(i)); (err == nil) != want || (entry(i) != nil) != want {
			t.Errorf("%s: %v", name(i), err)
		}
	}
	named := len(d.chain.Load().registries)
	for i := range maxAsked {
		wantAsk(i, true)
		entry(i).answered.Store(i != 7)
	}
	wantAsk(3, true) // it is there
	wantAsk(maxAsked, true)
	if entry(7) != nil || len(d.chain.Load().registries) != named+maxAsked {
		t.Errorf("the one that has never answered is kept, of %d registries", len(d.chain.Load().registries))
	}
	entry(maxAsked).answered.Store(true)
	wantAsk(maxAsked+1, false)
	entry(5).used.Store(time.Now().Add(-askedBusy - time.Second).UnixNano())
	wantAsk(maxAsked+1, true)
	if entry(5) != nil {
		t.Error("the one that has been idle for long is kept")
	}
	entry(9).used.Store(time.Now().Add(-askedFor - time.Second).UnixNano())
	endAsked(d)
	if entry(9) != nil || entry(10) == nil {
		t.Error("not the one whose time is over has gone")
	}
	if d.chain.Load().known(pathID{name(9), "direct"}) != nil {
		t.Error("its path is kept")
	}
}
