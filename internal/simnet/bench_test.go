package simnet_test

import (
	"io"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

// BenchmarkBlob is the ceiling of every throughput test that uses simnet.
func BenchmarkBlob(b *testing.B) {
	for name, cfg := range map[string]simnet.Config{"plain": {Plain: true}, "tls": {}, "h2": {HTTP2: true}} {
		b.Run(name, func(b *testing.B) {
			const size = 100 << 20
			n := simnet.New(cfg)
			defer n.Close()
			img := simnet.Image{Repo: "big", Layers: []simnet.Layer{simnet.BigLayer(size, 1)}}
			m := n.AddMirror(simnet.MirrorConfig{Origin: simnet.Origin{Name: "m"}, Images: []simnet.Image{img}})
			layer, _ := n.Build(img).Layer(0)
			c, url := n.Client(), m.URL()+n.Build(img).BlobPath(layer.Digest)
			buf := make([]byte, 256<<10)
			b.SetBytes(size)
			for b.Loop() {
				resp, err := c.Get(url)
				if err != nil {
					b.Fatal(err)
				}
				if got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, buf); got != size || err != nil {
					b.Fatal(got, err)
				}
				resp.Body.Close()
			}
		})
	}
}
