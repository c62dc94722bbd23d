package front

import (
	"fmt"
	"net/http"
	"time"
)

// Every paceBytes of an answer have paceTime to leave: a client slower than
// 17 KiB/s for a minute is dropped (docs/faults.md F32).
const (
	paceBytes = 1 << 20
	paceTime  = 60 * time.Second
)

// A pacer gives a client its time to take each paceBytes. Only time spent in
// writing counts: a slow upstream is not the client's fault.
type pacer struct {
	rc    http.ResponseController
	time  time.Duration // for each paceBytes; paceTime but in tests
	http2 bool

	bytes int64         // of the paceBytes under way
	spent time.Duration // on them
	until time.Time     // the deadline in force
}

func newPacer(w http.ResponseWriter, r *http.Request, perPiece time.Duration) pacer {
	return pacer{rc: *http.NewResponseController(w), time: perPiece, http2: r.ProtoMajor == 2}
}

// room returns how many bytes are left of the paceBytes under way: no more than
// that may be sent at once, or the client would have too little time for them.
func (p *pacer) room() int64 { return paceBytes - p.bytes }

// allow lets what is written from now on take what the client has left of its
// time. A deadline costs more than all else that front does for a small answer,
// so each is set a little late, and moved only when the client would have too
// little.
func (p *pacer) allow(now time.Time) {
	until := now.Add(p.time - p.spent)
	if !until.After(p.until) {
		return
	}
	p.until = until.Add(p.time / 60)
	_ = p.rc.SetWriteDeadline(p.until) // what has no deadlines has no slow clients
}

// send does what sends bytes to the client, within the time that it has. An
// error is the client's, and wraps errClient.
func (p *pacer) send(write func() (int64, error)) (int64, error) {
	start := time.Now()
	p.allow(start)
	n, err := write()
	if err != nil {
		return n, fmt.Errorf("%w: %w", errClient, err)
	}
	if p.http2 {
		// There (and only there) the deadline would reset the stream while we wait for the upstream.
		p.until = time.Time{}
		_ = p.rc.SetWriteDeadline(p.until)
	}
	p.spent += time.Since(start)
	if p.bytes += n; p.bytes >= paceBytes {
		p.bytes, p.spent = 0, 0
	}
	return n, nil
}

// finish gives the client its time for what net/http still holds.
func (p *pacer) finish() {
	p.bytes, p.spent = 0, 0
	p.allow(time.Now())
}
