package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/traffic"
)

// Which client gets a slot, by what it holds and what others do.
func TestSlotIsClosed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		max, reserve int
		taken, held  int
		want         traffic.Why
	}{
		"the first":                               {1024, 256, 0, 0, ""},
		"one client alone":                        {1024, 256, 767, 767, ""},
		"one client alone, into the reserve":      {1024, 256, 768, 768, traffic.ClientHasMany},
		"another beside it":                       {1024, 256, 768, 0, ""},
		"another beside it, with its part":        {1024, 256, 768 + 24, 24, ""},
		"another beside it, with more":            {1024, 256, 768 + 54, 54, traffic.ClientHasMany},
		"twenty that hold all but it":             {1024, 256, 900, 45, traffic.ClientHasMany},
		"one of two hundred beside twenty":        {1024, 256, 968, 3, ""},
		"one of two hundred that wants too many":  {1024, 256, 968, 12, traffic.ClientHasMany},
		"a fleet, each with all of a large image": {1024, 512, 130 * 7, 7, ""},
		"an address that many share":              {1024, 512, 520, 60, ""},
		"all are taken":                           {1024, 256, 1024, 0, traffic.AllTaken},
		"a small machine, one client":             {64, 16, 48, 48, traffic.ClientHasMany},
		"a small machine, another":                {64, 16, 50, 2, ""},
		"four requests, one client has three":     {4, 1, 3, 3, traffic.ClientHasMany},
		"four requests, another":                  {4, 1, 3, 0, ""},
		"one request, no reserve":                 {1, 0, 0, 0, ""},
		"a reserve of all but one":                {8, 7, 1, 1, traffic.ClientHasMany},
		"a reserve of all but one, for the other": {8, 7, 1, 0, ""},
	} {
		s := &slots{max: tt.max, reserve: tt.reserve, taken: tt.taken}
		if got := s.closedLocked(netip.MustParseAddr("192.0.2.7"), tt.held); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestClientKey(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "2001:db8:1:2::1": "2001:db8:1:2::", "::1": "::",
	} {
		if got := clientKey(netip.MustParseAddr(addr)); got.String() != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if got := clientKey(netip.Addr{}); got.IsValid() { // as of a Unix socket
		t.Errorf("of no address: %s", got)
	}
}

// endless is a chain whose blobs of a gigabyte come as fast as they are taken, and
// whose manifests are healthy.
func endless() *fakeFetcher { return endlessOf(copySize) }

// endlessOf is endless, in pieces of n bytes.
func endlessOf(n int) *fakeFetcher {
	piece := bytes.Repeat([]byte("x"), n)
	return &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Op != pullchain.Blob {
			return healthy(ctx, req)
		}
		resp := blobResponse(req)
		resp.Size, resp.Status, resp.Range = 1<<30, http.StatusOK, pullchain.Range{}
		resp.Body = &fakeBody{read: func(p []byte) (int, error) { return copy(p, piece), ctx.Err() }}
		return resp, nil
	}}
}

// from dials from an address of the loopback network, where a test is a client of its own.
func from(t testing.TB, addr string) *net.Dialer {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	ln, err := net.Listen("tcp", addr+":0")
	if err != nil {
		t.Skipf("this machine has no %s: %v", addr, err)
	}
	ln.Close()
	return d
}

// clientFrom is a client at an address of its own.
func clientFrom(t testing.TB, addr string, config *tls.Config) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DialContext: from(t, addr).DialContext, MaxIdleConnsPerHost: 4}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// until waits for what happens in another goroutine.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(ioPatience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (s *slots) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}

const manifestURL = "/v2/alpine/manifests/1"

// longURL is another, as long as that of an image's layer.
const longURL = "/v2/alpine/manifests/" + "tttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt"

// F56: readers that read nothing, a hundred of one address over HTTP/1.1, take no more
// than their part of 64 slots. Another client is served, they are told why, and when their
// time is over the slots are free.
func TestF56SilentReaders(t *testing.T) {
	t.Parallel()
	c := Config{MaxInFlight: 64}
	h, logs := newHandler(t, c, endless())
	h.pace = 2 * time.Second
	addr, _ := start(t, c, h)
	attack := from(t, "127.0.0.2")
	var served atomic.Int64
	refused := make(chan got, 100)
	var readers sync.WaitGroup
	for range cap(refused) {
		conn, err := attack.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
		readers.Go(func() {
			head := make([]byte, 12)
			conn.SetReadDeadline(time.Now().Add(ioPatience))
			switch _, err := io.ReadFull(conn, head); {
			case err == nil && string(head) == "HTTP/1.1 200":
				served.Add(1)
			case err == nil && string(head) == "HTTP/1.1 503":
				resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(head), conn)), nil)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				refused <- got{resp.StatusCode, resp.Header, string(body), err}
			}
		})
	}
	until(t, "the slots are taken", func() bool { return h.slots.now() == 32 })
	if g := do(t, clientFrom(t, "127.0.0.3", nil), "GET", "http://"+addr+manifestURL); g.Status != 200 {
		t.Errorf("another client: %d %s", g.Status, g.Body)
	}
	readers.Wait()
	if served.Load() != 32 || len(refused) != 68 {
		t.Errorf("%d readers have a slot and %d were refused, want 32 and 68", served.Load(), len(refused))
	}
	close(refused)
	for g := range refused {
		if e := decodeError(t, g.Body); g.Header.Get("Retry-After") != "5" || !strings.Contains(e.Message, "32 of the 64") || !strings.Contains(e.Message, "reserve_in_flight") {
			t.Errorf("one of theirs: %v %s", g.Header, g.Body)
		}
	}
	until(t, "the slots are free", func() bool { return h.slots.now() == 0 })
	last := h.Traffic().Refusals.Last(time.Now())
	if last == nil || last.Why != traffic.ClientHasMany || last.Client.String() != "127.0.0.2" || last.Max != 64 || last.Held != 32 {
		t.Errorf("the last refusal is %+v", last)
	}
	if n := h.Traffic().Counts().Refused[traffic.ClientHasMany]; n < 68 {
		t.Errorf("%d refusals are counted", n)
	}
	if lines := logs.count("requests refused: as many are served as may be", t); lines != 1 {
		t.Errorf("%d lines in the log", lines)
	}
}

// An h2Client speaks HTTP/2 by hand (RFC 9113, sections 4 and 6).
type h2Client struct {
	conn net.Conn
	next uint32
	wg   sync.WaitGroup
	acks chan struct{} // of PING; closed when the connection is
}

// The types of frames that an h2Client writes, and the flags of a request.
const (
	h2Headers, h2Reset, h2Settings, h2Ping = 1, 3, 4, 6
	h2EndStream, h2EndHeaders              = 1, 4
)

// dialH2 connects, with windows of so many bytes.
func dialH2(t testing.TB, d *net.Dialer, addr string, window uint32) *h2Client {
	t.Helper()
	conn, err := tls.DialWithDialer(d, "tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	c := &h2Client{conn: conn, next: 1, acks: make(chan struct{}, 1)}
	setting := binary.BigEndian.AppendUint32([]byte{0, 4}, window) // SETTINGS_INITIAL_WINDOW_SIZE
	if _, err := conn.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(h2Settings, 0, 0, setting)...)); err != nil {
		t.Fatal(err)
	}
	c.wg.Go(c.read)
	t.Cleanup(c.close)
	return c
}

// read reads what comes, of which only the acknowledgement of a PING counts.
func (c *h2Client) read() {
	defer close(c.acks)
	for head := make([]byte, 9); ; {
		if _, err := io.ReadFull(c.conn, head); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c.conn, int64(head[0])<<16|int64(head[1])<<8|int64(head[2])); err != nil {
			return
		}
		if head[3] == h2Ping && head[4] == 1 {
			c.acks <- struct{}{}
		}
	}
}

// ping waits until the server has read all that was sent, and reports whether it has.
func (c *h2Client) ping() bool {
	if _, err := c.conn.Write(frame(h2Ping, 0, 0, make([]byte, 8))); err != nil {
		return false
	}
	_, ok := <-c.acks
	return ok
}

func (c *h2Client) close() {
	c.conn.Close()
	c.wg.Wait()
}

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// get begins a request, and resets it in the same breath if reset is set. Its fields go by their numbers in the table of RFC 7541, appendix A: GET,
// https, and the names of :authority and :path.
func (c *h2Client) get(path string, reset bool) error {
	fields := append([]byte{0x82, 0x87, 0x01, byte(len("localhost"))}, "localhost"...)
	fields = append(append(fields, 0x04), lengthOf(path)...)
	out := frame(h2Headers, h2EndStream|h2EndHeaders, c.next, append(fields, path...))
	if reset {
		out = append(out, frame(h2Reset, 0, c.next, []byte{0, 0, 0, 8})...) // CANCEL
	}
	c.next += 2
	_, err := c.conn.Write(out)
	return err
}

// lengthOf is the length of s in seven bits, or in these and what follows (RFC 7541 5.1).
func lengthOf(s string) []byte {
	if len(s) < 127 {
		return []byte{byte(len(s))}
	}
	return binary.AppendUvarint([]byte{127}, uint64(len(s)-127))
}

// F56: the streams of one address that have no window, as many as there may be on two dozen
// connections, leave others their slots; and theirs are free when their time is over.
func TestF56StreamsWithoutAWindow(t *testing.T) {
	t.Parallel()
	for _, piece := range []int{copySize, 1000} { // the small ones are flushed
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			t.Parallel()
			streamsWithoutAWindow(t, piece)
		})
	}
}

func streamsWithoutAWindow(t *testing.T, piece int) {
	c := writeCert(t, t.TempDir(), "h2")
	c.HTTP2 = true
	h, _ := newHandler(t, c, endlessOf(piece))
	h.pace = 10 * time.Second
	addr, _ := start(t, c, h)
	attack := from(t, "127.0.0.2")
	for range 24 {
		cl := dialH2(t, attack, addr, 0)
		for range maxStreams {
			if err := cl.get(blobPath, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "the slots are taken", func() bool { return h.slots.now() == 512 })
	other := clientFrom(t, "127.0.0.3", &tls.Config{InsecureSkipVerify: true})
	for range 20 {
		if g := do(t, other, "GET", "https://"+addr+manifestURL); g.Status != 200 {
			t.Fatalf("another client: %d %s", g.Status, g.Body)
		}
	}
	until(t, "the slots are free", func() bool { return h.slots.now() == 0 })
}

// F56: a client that resets each request as soon as it has made it loses its connection
// after some hundred; one that reads an answer in between goes on.
func TestF56Resets(t *testing.T) {
	t.Parallel()
	c := writeCert(t, t.TempDir(), "h2")
	c.HTTP2 = true
	slow := &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		if req.Op != pullchain.Manifest {
			return endless().fetch(ctx, req)
		}
		<-ctx.Done()
		return pullchain.Response{}, context.Cause(ctx)
	}}
	h, logs := newHandler(t, c, slow)
	addr, _ := start(t, c, h)
	cl := dialH2(t, &net.Dialer{}, addr, 1<<16)
	made := 0
	for cl.ping() && made < 20*maxResets {
		for range maxStreams / 2 { // fewer than net/http itself takes for too many
			made++
			_ = cl.get(longURL, true) // whether the connection is there the ping says
		}
		until(t, "they are over", func() bool { return h.InFlight() == 0 })
	}
	if made <= maxResets || made == 20*maxResets {
		t.Errorf("closed after %d resets", made)
	}
	if n := logs.count("connection closed: the client resets its requests", t); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
	until(t, "nothing is under way", func() bool { return h.InFlight() == 0 })

	// One that ends requests of which it has had bytes, as containerd does, keeps its connection.
	var dials atomic.Int64
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
	t.Cleanup(transport.CloseIdleConnections)
	chunks := &http.Client{Transport: transport}
	for range 2 * maxResets {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr+blobPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := chunks.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		cancel()
		resp.Body.Close()
	}
	until(t, "nothing is under way", func() bool { return h.InFlight() == 0 })
	if n := logs.count("connection closed: the client resets its requests", t); dials.Load() != 1 || n != 1 {
		t.Errorf("it took %d connections, and there are %d lines in the log", dials.Load(), n)
	}
}

// Behind a proxy that is trusted a client is what the proxy says, and of IPv6 its network.
func TestF56ForwardedClients(t *testing.T) {
	t.Parallel()
	proxy := netip.MustParsePrefix("10.0.0.0/8")
	c := Config{MaxInFlight: 8, TrustedProxies: []netip.Prefix{proxy}} // of which 4 are the reserve
	release := make(chan struct{})
	h, _ := newHandler(t, c, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		<-release
		return healthy(ctx, req)
	}})
	var all sync.WaitGroup
	ask := func(client string) int {
		w := newStatusWriter()
		r, err := http.NewRequestWithContext(t.Context(), "GET", manifestURL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr, r.Host = "10.0.0.9:1000", "localhost"
		r.Header.Set("X-Forwarded-For", client)
		before := h.slots.now()
		all.Go(func() { h.ServeHTTP(w, r) })
		until(t, "it is served or refused", func() bool { return h.slots.now() > before || w.status.Load() != 0 })
		return int(w.status.Load())
	}
	for i := range 4 {
		if status := ask(fmt.Sprintf("2001:db8:0:1::%d", i)); status != 0 {
			t.Fatalf("request %d: %d", i, status)
		}
	}
	for client, want := range map[string]int{"2001:db8:0:1::99": 503, "2001:db8:0:2::1": 0, "192.0.2.1": 0} {
		if status := ask(client); status != want {
			t.Errorf("%s: %d, want %d", client, status, want)
		}
	}
	close(release)
	all.Wait()
	if n := h.slots.now(); n != 0 || len(h.slots.clients) != 0 {
		t.Errorf("%d slots are taken at the end, by %v", n, h.slots.clients)
	}
}

// A statusWriter keeps the status alone.
type statusWriter struct {
	status atomic.Int64
	header http.Header
}

func newStatusWriter() *statusWriter                     { return &statusWriter{header: http.Header{}} }
func (w *statusWriter) Header() http.Header              { return w.header }
func (w *statusWriter) Write(p []byte) (int, error)      { return len(p), nil }
func (w *statusWriter) WriteHeader(status int)           { w.status.Store(int64(status)) }
func (w *statusWriter) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkSlowReaders asks for manifests as 200 clients, once alone and once beside 2000
// readers of 20 addresses that take next to nothing of a blob, and ask again when they are
// dropped, and when they were told to where they are refused. beside/alone is the part of the throughput that is left.
func BenchmarkSlowReaders(b *testing.B) {
	c := Config{AllowedHosts: []string{"*.test"}}
	h, _ := newHandler(b, c, endless())
	addr, _ := start(b, c, h)
	var ordinary []*http.Client
	for i := range 200 {
		ordinary = append(ordinary, clientFrom(b, fmt.Sprintf("127.0.1.%d", i+1), nil))
	}
	measure := func(n int) (perSecond float64, failed int64) {
		var bad atomic.Int64
		var all sync.WaitGroup
		began := time.Now()
		for _, cl := range ordinary {
			all.Go(func() {
				for range n {
					resp, err := cl.Get("http://" + addr + manifestURL)
					if err != nil {
						bad.Add(1)
						continue
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
						bad.Add(1)
					}
					resp.Body.Close()
				}
			})
		}
		all.Wait()
		return float64(200*n) / time.Since(began).Seconds(), bad.Load()
	}
	const asks, rounds = 300, 6
	measure(asks) // connections are made
	for b.Loop() {
		var alone, beside float64
		var failed int64
		for range rounds { // in turns: the machine is not the same all the time
			one, _ := measure(asks)
			alone += one
			stop := slowReaders(b, addr, 20, 100)
			rate, bad := measure(asks)
			beside, failed = beside+rate, failed+bad
			b.Logf("alone %.0f/s, beside %.0f/s; %d slots are taken", one, rate, h.slots.now())
			stop()
			until(b, "all is free", func() bool { return h.slots.now() == 0 })
		}
		b.ReportMetric(alone/rounds, "alone/s")
		b.ReportMetric(beside/rounds, "beside/s")
		b.ReportMetric(beside/alone, "beside/alone")
		b.ReportMetric(float64(failed), "failed")
		b.ReportMetric(0, "ns/op")
	}
}

// slowReaders begins so many readers of each of so many addresses, which have all been
// answered when it returns. stop ends them.
func slowReaders(b *testing.B, addr string, addrs, each int) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var all, asked sync.WaitGroup
	asked.Add(addrs * each)
	for i := range addrs {
		d := from(b, fmt.Sprintf("127.0.2.%d", i+1))
		for range each {
			all.Go(func() {
				for once := asked.Done; ctx.Err() == nil; once = func() {} {
					readSlowly(ctx, d, addr, once)
				}
			})
		}
	}
	asked.Wait()
	return func() {
		cancel()
		all.Wait()
	}
}

// readSlowly takes a kilobyte of a blob each second until it is dropped. Where it is
// refused it asks again when it was told to.
func readSlowly(ctx context.Context, d *net.Dialer, addr string, answered func()) {
	defer func() { answered() }()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	in := bufio.NewReaderSize(conn, 1<<10)
	for {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
		resp, err := http.ReadResponse(in, nil)
		answered()
		answered = func() {}
		pause := time.Second
		for err == nil {
			if _, err = io.CopyN(io.Discard, resp.Body, 1<<10); err != nil && err != io.EOF {
				return
			}
			if again, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil {
				pause = time.Duration(again) * time.Second
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
		if err != io.EOF {
			return
		}
	}
}

// BenchmarkResets makes requests over HTTP/2 and resets each at once, on twelve connections,
// again and again until 941,000 are made. peak-MiB is the most that the process had from
// the system above what it had before, the client's part with it.
func BenchmarkResets(b *testing.B) {
	c := writeCert(b, b.TempDir(), "h2")
	c.HTTP2 = true
	h, _ := newHandler(b, c, &fakeFetcher{fetch: func(ctx context.Context, req pullchain.Request) (pullchain.Response, error) {
		<-ctx.Done()
		return pullchain.Response{}, context.Cause(ctx)
	}})
	addr, _ := start(b, c, h)
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	for b.Loop() {
		runtime.GC()
		before, peak := inUse(), uint64(0)
		var made, conns atomic.Int64
		var all sync.WaitGroup
		for range 12 {
			all.Go(func() {
				for made.Load() < 941_000 {
					cl := dialH2(b, &net.Dialer{}, addr, 1<<16)
					conns.Add(1)
					for made.Load() < 941_000 {
						if cl.get(longURL, true) != nil {
							break
						}
						made.Add(1)
					}
					cl.close()
				}
			})
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			all.Wait()
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			case <-time.After(5 * time.Millisecond):
				peak = max(peak, inUse())
			}
		}
		b.ReportMetric(float64(peak-before)/(1<<20), "peak-MiB")
		b.ReportMetric(float64(conns.Load()), "connections")
	}
}

// count counts the lines of the log with a message.
func (l *logLines) count(msg string, t *testing.T) (n int) {
	for _, line := range l.all(t) {
		if line["msg"] == msg {
			n++
		}
	}
	return n
}
