package balancer

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
)

// A watched error tells each time that it is looked into.
type watched struct {
	error
	look func()
}

func (w watched) Unwrap() error {
	w.look()
	return w.error
}

// A grave failure is counted while a mild one of another request is about to be:
// it trips by its own threshold, and wide, whatever is judged beside it. The
// first stops inside gobreaker, which holds its mutex, until the other waits for
// that.
func TestTwoFailuresAreJudgedApart(t *testing.T) {
	t.Parallel()
	mild := &pullchain.Error{Reason: pullchain.Unavailable, Code: pullchain.CodeServerError, Status: 500}
	for code, before := range map[pullchain.Code]int{pullchain.CodeTLSCert: 0, pullchain.CodeConnTimeout: 1} {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			b := newBreaker("a", BreakerConfig{}, func(bool) {})
			now := time.Now()
			for range before {
				p, _ := b.allow(now, subject{})
				p.end(mild)
			}
			grave, _ := b.allow(now, subject{})
			beside, _ := b.allow(now, subject{})
			inside, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			held := watched{
				error: &pullchain.Error{Reason: pullchain.Unavailable, Code: code, Reach: pullchain.ReachLane},
				look: func() {
					if stackHolds("afterRequest") {
						once.Do(func() { close(inside) })
						<-goOn
					}
				},
			}
			var ended sync.WaitGroup
			ended.Go(func() { grave.end(held) })
			<-inside
			ended.Go(func() { endBeside(beside, mild) })
			for !blockedOnMutex("balancer.endBeside") {
				runtime.Gosched()
			}
			close(goOn)
			ended.Wait()
			if v := b.view(); v.word(now) != breakerOpen || !v.wide || codeOf(v.cause) != code {
				t.Errorf("the breaker is %q, wide: %v, because of %v", v.word(now), v.wide, v.cause)
			}
		})
	}
}

//go:noinline
func endBeside(p *breakerPermit, err error) { p.end(err) }

// stackHolds reports whether the caller's stack goes through function.
func stackHolds(function string) bool {
	buf := make([]byte, 16<<10)
	return strings.Contains(string(buf[:runtime.Stack(buf, false)]), function)
}

// blockedOnMutex reports whether a goroutine in function waits for a mutex.
func blockedOnMutex(function string) bool {
	buf := make([]byte, 1<<20)
	for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, function) && strings.Contains(g, "[sync.Mutex.Lock") {
			return true
		}
	}
	return false
}
