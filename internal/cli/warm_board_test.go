package cli

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/blobstore"
	"github.com/pullchain/pullchain/internal/cache"
	"github.com/pullchain/pullchain/internal/golden"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/warm"
)

// A screen is a terminal that understands what a board sends: text, line feeds,
// "up n lines, to their beginning" and "erase to the end".
type screen struct {
	lines []string
	row   int
}

func (s *screen) Write(p []byte) (int, error) {
	text := string(p)
	for text != "" {
		var up int
		if n, _ := fmt.Sscanf(text, "\x1b[%dF", &up); n == 1 {
			s.row -= up
			text = text[strings.Index(text, "F")+1:]
			continue
		}
		if rest, ok := strings.CutPrefix(text, "\x1b[J"); ok {
			s.lines, text = s.lines[:s.row], rest
			continue
		}
		line, rest, ok := strings.Cut(text, "\n")
		if !ok || strings.ContainsRune(line, '\x1b') || s.row != len(s.lines) {
			return 0, fmt.Errorf("the screen does not understand %q on row %d of %d", text, s.row, len(s.lines))
		}
		s.lines, s.row, text = append(s.lines, line), s.row+1, rest
	}
	return len(p), nil
}

func descriptor(name string, n int64) pullchain.Descriptor {
	return pullchain.Descriptor{Digest: digest.FromString(name), Size: n}
}

// What people see of a warming on a terminal, moment by moment.
func TestBoardOnATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &screen{}
		var film strings.Builder
		width, height := 80, 24
		b := &board{out: s, messages: messages.In("en"), live: true, begun: time.Now(), size: func() (int, int) { return width, height }}
		b.counts.all = 2
		shot := func(title string) {
			synctest.Wait()
			fmt.Fprintf(&film, "--- %s\n%s\n", title, strings.Join(s.lines, "\n"))
		}
		alpine := warm.Image{Registry: "docker.io", Repo: "library/alpine", Reference: "3.20"}
		app := warm.Image{Registry: "ghcr.io", Repo: "a-rather-long-owner/and-an-application-of-theirs", Reference: "v1"}
		stop := b.show()
		large, small, third := descriptor("large", 90<<20), descriptor("small", 400<<10), descriptor("third", 5<<30)
		for _, d := range []pullchain.Descriptor{large, small, third} {
			b.Expect(d)
		}
		one, two := b.Begin(alpine, large), b.Begin(app, small)
		one.Add(1 << 20)
		time.Sleep(time.Second + time.Millisecond)
		shot("begun")
		one.Add(44 << 20)
		two.Add(400 << 10)
		two.End(warm.Stored, time.Second, nil)
		b.Skipped(descriptor("x", 0))
		time.Sleep(time.Second)
		shot("one has ended")
		b.Begin(app, third).Add(1 << 30)
		width, height = 70, 4
		b.Begin(app, descriptor("fourth", 0))
		time.Sleep(time.Second)
		shot("a small terminal")
		width, height = 120, 24
		b.Finished(warm.Result{Image: app.String(), Err: errors.New("x"), Error: "abc: HTTP 404: no such thing\ndef: cut"})
		one.End(warm.Stored, 3*time.Second, nil)
		b.Finished(warm.Result{Image: alpine.String(), Blobs: 2, Fetched: 1, Bytes: 91 << 20, New: 90 << 20})
		shot("images have ended")
		stop()
		shot("stopped")
		golden.Compare(t, "testdata/warm/board.golden", film.String())
	})
}

// What is told of an image.
func TestBoardSentences(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, lang := range []string{"en", "zh"} {
		b := &board{out: &out, messages: messages.In(lang)}
		b.Finished(warm.Result{Image: "a:1", Blobs: 4, Bytes: 3 << 20})
		b.Finished(warm.Result{Image: "a:1", Blobs: 4, Bytes: 3 << 20, Fetched: 3, New: 2 << 20})
		b.Finished(warm.Result{Image: "a:1", Blobs: 4, Bytes: 3 << 20, Stale: true})
		b.Finished(warm.Result{Image: "a:1", Err: errors.New("no"), Error: "no"})
		b.Finished(warm.Result{Image: "a:1", From: "compose.yaml:3", Err: errors.New("no"), Error: "no"})
		b.dry = true
		b.Finished(warm.Result{Image: "a:1", Blobs: 4, Bytes: 3 << 20, Fetched: 3, New: 2 << 20})
		b.quiet = true
		b.Finished(warm.Result{Image: "not told"})
	}
	golden.Compare(t, "testdata/warm/sentences.golden", out.String())
}

func TestWriteStatAndEntries(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	used := time.Date(2026, 11, 21, 10, 42, 0, 0, time.Local)
	for _, lang := range []string{"en", "zh"} {
		a := &app{Program: Program{Stdout: &out, Getenv: func(string) string { return "" }}, messages: messages.In(lang)}
		a.writeStat(cache.Snapshot{
			Stats: blobstore.Stats{Dir: "/var/cache/pullchain", Bytes: 18 << 30, Limit: 50 << 30, Free: 400 << 30, Objects: 1234, Partial: 2, PartialBytes: 5 << 20,
				PinnedBytes: 1 << 30, Evictions: 7, Oldest: &used, Trouble: "disk full\x1b[31m"},
			Hits: 71, Misses: 29, HitRatio: 0.71, SavedBytes: 9 << 30, Coalesced: 12, StaleServed: 3, Tags: 40, VerifyFailures: 1,
		}, "here")
		a.writeEntries([]cache.Entry{
			{Digest: digest.FromString("a"), Kind: "manifest", Size: 1234, Here: 1234, Images: []string{"docker.io/library/alpine:3.20"}, Public: true, Used: used},
			{Digest: digest.FromString("b"), Kind: "blob", Size: 5 << 20, Here: 5 << 20, Images: []string{"ghcr.io/a/b:1", "ghcr.io/a/b:2", "ghcr.io/a/c:1", "x\ny"}, Pinned: true},
			{Digest: "odd", Kind: "blob"},
			{Digest: digest.FromString("c"), Kind: "partial", Size: 9 << 20, Here: 1 << 20, Images: []string{"ghcr.io/a/b:1"}, Used: used},
			{Digest: digest.FromString("d"), Kind: "partial", Size: -1, Here: 3 << 10, Used: used},
		}, 6)
	}
	golden.Compare(t, "testdata/cache.golden", out.String())
}

func TestNickname(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"alpine":                        "alpine:latest",
		"ghcr.io/a/b/the-app:v1":        "the-app:v1",
		"pause@" + pauseDigest:          "pause@4cb2b9019f17",
		"a-name-that-is-very-long:1.20": "…t-is-very-long:1.20",
	} {
		img, err := warm.ParseImage(name)
		if got := nickname(img, 20); got != want || err != nil {
			t.Errorf("%s is %q, want %q; %v", name, got, want, err)
		}
	}
}

func TestDataAddress(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ listen, base, want string }{
		{"127.0.0.1:5151", "http://127.0.0.1:5152", "127.0.0.1:5151"},
		{"127.0.0.1:5151", "http://localhost:5152", "127.0.0.1:5151"},
		{"[::1]:5151", "http://[::1]:5152", "[::1]:5151"},
		{"[::]:5151", "http://10.0.0.5:5152", "10.0.0.5:5151"},
		{"0.0.0.0:5151", "https://node7:5152", "node7:5151"},
		{"10.0.0.5:5151", "http://10.0.0.6:5152", "10.0.0.5:5151"},
		{"127.0.0.1:5151", "http://10.0.0.5:5152", ""},
		{"", "http://10.0.0.5:5152", ""},
	} {
		got, ok := dataAddress(tt.listen, tt.base)
		if !ok {
			got = ""
		}
		if got != tt.want {
			t.Errorf("%s beside %s is %q, want %q", tt.listen, tt.base, got, tt.want)
		}
	}
}

// A verification whose answer is cut, or that ended early, is none.
func TestVerifyOfADaemonThatStops(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"objects":1,"bytes":5}`: "unexpected EOF",
		`{"objects":1,"bytes":5}` + "\n" + `{"objects":2,"bytes":9,"error":"disk gone","done":true}`: "disk gone",
		`<html>`: "another version of it",
	} {
		s := &daemonCache{admin: &adminClient{base: "http://daemon", http: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: readCloser{strings.NewReader(answer)}}, nil
		})}}}
		if _, err := s.verify(t.Context(), func(verified) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
