package egress

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// mustTransport returns a transport for c. Limits that c does not set are of no
// matter on however slow a machine.
func mustTransport(t *testing.T, c TransportConfig) *http.Transport {
	t.Helper()
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Minute)
	c.TLSTimeout = cmp.Or(c.TLSTimeout, 10*time.Minute)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Minute)
	transport, err := NewTransport(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// get returns the body of an answer to GET url.
func get(t *testing.T, transport *http.Transport, url string) string {
	t.Helper()
	body, err := tryGet(t.Context(), transport, url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	return body
}

func tryGet(ctx context.Context, transport *http.Transport, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
