package daemon_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/cli"
	"github.com/pullchain/pullchain/internal/simnet"
	"github.com/pullchain/pullchain/internal/traffic"
)

// why runs `pullchain why` against the rig's daemon.
func (r *rig) why(args ...string) string {
	r.t.Helper()
	var out, errs bytes.Buffer
	args = append([]string{"why", "--addr", r.Daemon.AdminAddr()}, args...)
	if code := cli.Run(r.t.Context(), cli.Program{Args: args, Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}); code != 0 {
		r.t.Errorf("why: exit code %d: %s", code, &errs)
	}
	return out.String()
}

// wantTold fails the test unless text has all of want, in that order.
func (r *rig) wantTold(text string, want ...string) {
	r.t.Helper()
	rest := text
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			r.t.Errorf("no %q (in this place) in:\n%s", w, text)
			return
		}
		rest = after
	}
}

// F06 Why tells of a failover what the client's headers, the log and the API say, and
// what to do.
func TestF06_Why(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	if said := p.why(); !strings.Contains(said, "No pull is known") {
		t.Errorf("before any pull:\n%s", said)
	}
	limit := simnet.TooManyAfter(50*time.Minute, false)
	limit.On, limit.Times = simnet.Manifests, 1
	p.a.Inject(limit)
	got := p.manifest()
	p.blob(0)
	p.wantServedBy(got, "b")

	p.eventually("the pull is known", func() bool { return strings.Contains(p.why(), "without trouble") })
	for _, args := range [][]string{nil, {"library/alpine:3"}, {"other"}, {"127.0.0.1"}} {
		p.wantTold(p.why(args...),
			"docker.io/library/alpine:3", "active", "GET manifest 3", "200 in ",
			"a  http_429_quota  a is 429 (pull quota spent); come back in 50 min", "→ b was asked",
			"b  ok", "→ served", "without trouble: 1 by a (4 KiB)",
			"What went wrong", "http_429_quota  a is 429 (pull quota spent)", "next: wait for the time that `pullchain status docker.io` shows")
	}
	p.wantTold(got.Header.Get("Warning"), "a http_429_quota, served by b")
	p.wantTold(p.log.String(), "a:http_429_quota(")
	_, body := p.admin("/api/v1/requests?degraded=true")
	var list admin.RequestList
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Requests) != 1 || list.Requests[0].Attempts[0].Code != "http_429_quota" || list.Requests[0].Upstream != "b" {
		t.Errorf("the API says %v %s", err, body)
	}
}

// Why finds the request that an error names, and tells the same codes as the error.
func TestWhyOfAnError(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.a.Break(simnet.ConnRefused)
	p.b.Inject(simnet.Fault{Status: 500})
	failed := p.get(p.image.Path())
	e := p.wantError(failed, 503, "UNAVAILABLE")
	p.wantTold(e.Errors[0].Message, "a conn_refused", "b http_5xx")
	var id string
	for _, field := range strings.Fields(p.log.String()) {
		if value, ok := strings.CutPrefix(field, "id="); ok {
			id = value
		}
	}
	p.eventually("the request is known", func() bool { return strings.Contains(p.why(id), "503 in") })
	for _, args := range [][]string{nil, {id}, {"alpine"}} {
		p.wantTold(p.why(args...), "GET manifest 3", "503 in", "a  conn_refused", "→ b was asked", "b  http_5xx", "→ the client got 503",
			"What went wrong", "conn_refused  a refuses connections", "next: see whether a runs", "http_5xx  b answers 5xx", "next: it is the server's own trouble")
	}
	if _, ok := p.pull(); !ok {
		t.Error("there is no pull")
	}
}

// pull returns the newest pull that the daemon knows.
func (r *rig) pull() (traffic.Pull, bool) {
	r.t.Helper()
	_, body := r.admin("/api/v1/pulls")
	var list admin.PullList
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		r.t.Fatal(err)
	}
	if all := append(list.Active, list.Recent...); len(all) > 0 {
		return all[0], true
	}
	return traffic.Pull{}, false
}

// A whole pull counts its layers; a reload loses nothing of it; a resume in the middle of
// a layer is told with its place.
func TestPullThatResumes(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil)
	p.probed("a", "b")
	p.manifest()
	cut := simnet.Fault{On: simnet.Blobs, Cut: simnet.EndFIN, CutAt: 100 << 10, Times: 1}
	p.blob(0)
	p.a.Inject(cut)
	p.blob(1)
	if err := p.hangup(); err != nil {
		t.Fatal(err)
	}
	p.eventually("both layers are there", func() bool { one, _ := p.pull(); return one.LayersDone == 2 && one.InFlight == 0 })
	one, _ := p.pull()
	if one.LayersTotal != 2 || one.Resumes != 1 || one.ResumedBytes == 0 || one.Degraded != 1 || one.Failures != 0 || one.Bytes < 302<<10 {
		t.Errorf("%+v", one)
	}
	p.wantTold(p.why(), "layers 2 of 2 sent", "a  ok", "→ began", "a  truncated", "→ b went on at", "b  ok", "→ served", "resumes: 1", "truncated  a cuts answers short")
}
