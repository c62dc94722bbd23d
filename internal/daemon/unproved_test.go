package daemon_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullchain/pullchain/internal/admin"
)

// A start without a network: no path works, and that is what people are told, with the
// cause, although each is asked all the same when a pull comes.
func TestStartWithoutANetwork(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigConfig{Net: newNet(t), Chain: []lane{
		{Name: "hub", URL: "https://127.0.0.1:1", Origin: true}, // refuses connections
		{Name: "mirror", URL: "https://127.0.0.1:1"},
	}})
	r.probed("hub", "mirror")
	s := r.Daemon.Snapshot()
	docker := s.Find("docker.io")
	if s.Summary.Level != admin.LevelOutage || !strings.Contains(s.Summary.Text, "0 of 1 registry pullable") || !strings.Contains(s.Summary.Text, "hub refuses connections") {
		t.Errorf("%s: %s", s.Summary.Level, s.Summary.Text)
	}
	if docker.Standing != admin.Unreachable || docker.Proved {
		t.Errorf("it is %s, proved: %v", docker.Standing, docker.Proved)
	}
	resp, err := http.Get("http://" + r.Daemon.AdminAddr() + "/-/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/-/readyz says %d", resp.StatusCode)
	}
}

// Once a path has answered it is proved, and a reload that keeps it keeps that.
func TestProvedOverAReload(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	if s := p.Daemon.Snapshot(); s.Summary.Level != admin.LevelOK || s.Find("docker.io").Standing != admin.Pullable {
		t.Errorf("%s: %s", s.Summary.Level, s.Summary.Text)
	}
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	if s := p.Daemon.Snapshot(); s.Find("docker.io").Standing != admin.Pullable || !p.lane("a").Proved {
		t.Errorf("after a reload: %s: %s", s.Summary.Level, s.Summary.Text)
	}
}
