package balancer_test

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/balancer"
)

// A mirror is an upstream that has one layer, or is limited.
type mirror struct {
	name    string
	layer   string
	limited bool
}

func (m mirror) Name() string                      { return m.name }
func (m mirror) Ping(context.Context) error        { return nil }
func (m mirror) NeedsToken(pullchain.Request) bool { return false }
func (m mirror) Facts() pullchain.Facts            { return pullchain.Facts{} }
func (m mirror) Login() string                     { return "" }

func (m mirror) Fetch(context.Context, pullchain.Request) (pullchain.Response, error) {
	if m.limited {
		return pullchain.Response{}, &pullchain.Error{Reason: pullchain.Limited, Code: pullchain.CodeQuota, Status: 429}
	}
	return pullchain.Response{Status: 200, Size: int64(len(m.layer)), Body: pullchain.BytesBody([]byte(m.layer))}, nil
}

// A chain answers from the next upstream when the first is limited, and records it.
func Example() {
	const layer = "the bytes of a layer"
	chain := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{
		balancer.NewLane(mirror{name: "hub", limited: true}, balancer.LaneConfig{Authoritative: true, Resolve: true}),
		balancer.NewLane(mirror{name: "mirror", layer: layer}, balancer.LaneConfig{}),
	}})
	resp, err := chain.Fetch(context.Background(), pullchain.Request{
		Op: pullchain.Blob, Registry: "docker.io", Repo: "library/alpine", Digest: digest.FromString(layer),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	fmt.Printf("%s, %v, served by %s\n", content, err, pullchain.ServedBy(resp.Trace()))
	for _, lane := range chain.Snapshot().Lanes {
		fmt.Println(lane.Upstream, lane.State, lane.Code)
	}
	// Output:
	// the bytes of a layer, <nil>, served by mirror
	// hub degraded http_429_quota
	// mirror standby
}

// A reader of events goes on from the number that it has, and waits for more.
func ExampleEvents() {
	lane := balancer.NewLane(mirror{name: "hub"}, balancer.LaneConfig{Resolve: true})
	chain := balancer.New(balancer.Config{Registry: "docker.io", Lanes: []*balancer.Lane{lane}})
	events := chain.Events()
	_, seq, _ := events.Since(0)

	lane.SetProbeResult(true, nil)
	lane.SetAdminState(balancer.Drained, time.Time{})
	if err := events.Wait(context.Background(), seq); err != nil {
		return
	}
	happened, _, lost := events.Since(seq)
	for _, e := range happened {
		fmt.Printf("%s %s: %s -> %s %q\n", e.Registry, e.Upstream, e.From, e.To, e.Code)
	}
	fmt.Println("lost:", lost)
	// Output:
	// docker.io hub: unknown -> serving ""
	// docker.io hub: serving -> drained "admin"
	// lost: false
}
