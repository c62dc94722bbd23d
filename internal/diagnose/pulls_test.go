package diagnose_test

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Clients that get nothing are told of where nothing else says so.
func TestPullsFailing(t *testing.T) {
	t.Parallel()
	failing := func(r diagnose.Registry, repositories int) diagnose.Registry {
		r.Failures = &traffic.Failures{Requests: 25, Repositories: repositories, Repository: "library/alpine", First: *ago(2 * time.Minute), Last: now, Code: "auth_token", Status: 503}
		return r
	}
	in := func(r ...diagnose.Registry) diagnose.Input { return diagnose.Input{Registries: r} }
	fine := registry("ghcr.io", well("ghcr"))

	got := want(t, in(fine, failing(registry("docker.io", well("hub")), 3)),
		"critical pulls_failing:docker.io Pulls from docker.io fail: all of the last 25 requests, for 3 different images; the last one: auth_token: docker.io")
	if !got[0].Since.Equal(*ago(2 * time.Minute)) || got[0].Fix != "pullchain why" || got[0].Root() {
		t.Errorf("got %+v", got[0])
	}
	want(t, in(failing(registry("docker.io", well("hub")), 20)),
		"critical pulls_failing:docker.io Pulls from docker.io fail: all of the last 25 requests, for 20+ different images; the last one: auth_token: docker.io")
	want(t, in(failing(registry("docker.io", well("hub")), 1)),
		"warning pulls_failing:docker.io Pulls of docker.io/library/alpine fail: all of the last 25 requests; the last one: auth_token. No other image of docker.io was asked for: docker.io")
	noCode := failing(registry("docker.io", well("hub")), 1)
	noCode.Failures.Code = ""
	want(t, in(noCode),
		"warning pulls_failing:docker.io Pulls of docker.io/library/alpine fail: all of the last 25 requests; the last one: 503. No other image of docker.io was asked for: docker.io")

	// What says that there is no path says it all.
	want(t, in(failing(registry("docker.io", ill("hub", pullchain.CodeConnRefused)), 3)))
	a, b := ill("a", pullchain.CodeDNS), ill("b", pullchain.CodeDNS)
	want(t, in(failing(registry("docker.io", a), 3), registry("quay.io", b)), "critical dns_down The name service answers nothing: a.example.com and all other names have no address: docker.io/a quay.io/b")
	never := with(well("hub"), func(l *balancer.LaneSnapshot) {
		l.LastOK, l.LastError = nil, &balancer.ErrorSnapshot{At: *ago(time.Minute), Code: pullchain.CodeForbidden}
	})
	want(t, in(failing(registry("docker.io", never), 3)), "critical unproved Nothing has worked since the start: docker.io: docker.io")
}
