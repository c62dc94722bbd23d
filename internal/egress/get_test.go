package egress

import (
	"context"
	"io"
	"net/http"
	"testing"
)

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
