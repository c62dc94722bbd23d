//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// newClient is a client such as container engines have, of Go's net/http, for
// everything that is not about the most that a server can do.
func newClient(trust *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: trust, DisableCompression: true, MaxIdleConnsPerHost: 256, ReadBufferSize: 64 << 10,
			ForceAttemptHTTP2: false,
		},
		CheckRedirect: func(req *http.Request, _ []*http.Request) error {
			// On loopback every host has one name, so net/http takes the CDN for the registry.
			req.Header.Del("Authorization")
			return nil
		},
	}
}

// A pull is how one GET went.
type pull struct {
	took, ttfb time.Duration
	gap        time.Duration // the longest time without a byte, after the first
	bytes      int64
	digest     string // sha256:... of what came, if that was asked for
}

// get pulls a URL to its end. An answer other than 200, or one that ends too
// early, is an error.
func get(ctx context.Context, client *http.Client, url, token string, hash bool) (pull, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return pull{}, err
	}
	req.Header.Set("Accept", acceptAll)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return pull{}, err
	}
	defer resp.Body.Close()
	p := pull{ttfb: time.Since(began)}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return p, fmt.Errorf("GET %s: %s: %s", url, resp.Status, text)
	}
	err = p.read(resp.Body, hash)
	p.took = time.Since(began)
	if err != nil {
		return p, fmt.Errorf("GET %s after %d bytes: %w", url, p.bytes, err)
	}
	return p, nil
}

// read reads to the end and notes the longest silence, which a person sees as a
// pull that hangs. Before the first byte it is the time to the first byte.
func (p *pull) read(body io.Reader, hash bool) error {
	buf := make([]byte, 64<<10)
	sum := sha256.New()
	for last := time.Now(); ; {
		n, err := body.Read(buf)
		now := time.Now()
		if p.bytes > 0 || n == 0 {
			p.gap = max(p.gap, now.Sub(last))
		}
		last = now
		p.bytes += int64(n)
		if hash {
			sum.Write(buf[:n])
		}
		switch {
		case err == io.EOF:
			if hash {
				p.digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
			}
			return nil
		case err != nil:
			return err
		}
	}
}

// login gets a token for pulls of repo, as a client without an account does.
func login(ctx context.Context, client *http.Client, realm, service, repo string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm+"?service="+service+"&scope=repository:"+repo+":pull", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return "", fmt.Errorf("token: %s: %w", resp.Status, err)
	}
	return answer.Token, nil
}
