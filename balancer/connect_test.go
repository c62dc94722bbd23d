package balancer

import (
	"net/http/httptrace"
	"testing"
	"testing/synctest"
	"time"
)

// An idle connection that has died proves nothing of the far end: the silence of
// the dial after it is the origin's, and only behind an answer that of a place
// that a redirect led to.
func TestSilenceAfterAnIdleConnection(t *testing.T) {
	for name, answers := range map[string]bool{"it had died": false, "it answered": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fired, wasSilent, wasReached bool
				w := watchConnect(time.Second, &queue{}, func(silent, reached bool) { fired, wasSilent, wasReached = true, silent, reached })
				defer w.stop()
				trace := httptrace.ContextClientTrace(w.attach(t.Context()))
				trace.GetConn("origin:443")
				trace.GotConn(httptrace.GotConnInfo{Reused: true, WasIdle: true})
				if answers {
					trace.GotFirstResponseByte()
				}
				trace.GetConn("next:443")
				trace.ConnectStart("tcp", "192.0.2.1:443")
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if !fired || !wasSilent || wasReached != answers {
					t.Errorf("fired %t, silent %t, reached %t; want true, true, %t", fired, wasSilent, wasReached, answers)
				}
			})
		})
	}
}
