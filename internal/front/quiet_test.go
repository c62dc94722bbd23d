package front

import (
	"context"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullchain/pullchain"
)

// A handler is quiet when no request has been under way for so long: at once where
// there was none, and not in the gaps of a pull.
func TestQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const moment = time.Second
		h, _ := newHandler(t, Config{}, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
			time.Sleep(3 * time.Second)
			return healthy(ctx, req)
		}})
		took := func(ctx context.Context) time.Duration {
			start := time.Now()
			h.Quiet(ctx, moment)
			return time.Since(start)
		}
		if d := took(t.Context()); d != 0 {
			t.Errorf("quiet after %v, want at once", d)
		}
		go func() { // three requests of 3 s each, with gaps
			for range 3 {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/v2/alpine/manifests/1", nil))
				time.Sleep(900 * time.Millisecond)
			}
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if d := took(ctx); d != 5*time.Second {
			t.Errorf("gave up after %v, want what the context gives", d)
		}
		if d := took(t.Context()); d < 5800*time.Millisecond+moment || d > 5800*time.Millisecond+moment+moment/20 {
			t.Errorf("quiet after %v, want a second after the last request", d)
		}
		if d := took(t.Context()); d != 0 {
			t.Errorf("still quiet: %v, want at once", d)
		}
	})
}
