//go:build linux

package main

import (
	"testing"
	"time"

	"github.com/pullchain/pullchain/internal/golden"
)

func TestNginxConfig(t *testing.T) {
	t.Parallel()
	golden.Compare(t, "testdata/nginx.conf", nginxConfig(nginxValues{
		Dir: "/tmp/d", Host: "127.0.0.1:5000", Scheme: "https", Listen: "127.0.0.1:8080",
	}))
	golden.Compare(t, "testdata/nginx-tls.conf", nginxConfig(nginxValues{
		User: "root", Dir: "/tmp/d", Host: "127.0.0.1:5000", Scheme: "https", Listen: "127.0.0.1:8080", Cert: "/tmp/cert.pem", Key: "/tmp/key.pem",
	}))
}

func TestOtherConfigs(t *testing.T) {
	t.Parallel()
	s := &server{dir: "/tmp/d", target: target{addr: "127.0.0.1:8080"}}
	up := setup{
		upstreams: []upstream{{"hub", "https://127.0.0.1:5000"}, {"second", "https://127.0.0.1:5001"}}, ca: "/tmp/ca.pem",
		cert: &certificate{cert: "/tmp/cert.pem", key: "/tmp/key.pem"}, stall: 2 * time.Second,
	}
	golden.Compare(t, "testdata/distribution.yml", distributionConfig(s, up))
	golden.Compare(t, "testdata/pullchain.toml", pullchainConfig(s, "127.0.0.1:8081", up))
}
