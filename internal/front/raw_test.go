package front

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ioPatience bounds what would else wait for ever.
const ioPatience = 2 * time.Minute

// rawRequest writes bytes to addr and reads what comes back until the end of the
// connection. Err is what ended it: nil for an orderly close (FIN).
func rawRequest(t testing.TB, addr, request string) got {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(ioPatience))
	// A server that has read enough answers and closes; what it says of that counts.
	_, _ = io.WriteString(conn, request)
	return readRaw(t, conn)
}

// rawBlobOverTLS asks s, which speaks TLS, for the layer.
func rawBlobOverTLS(t testing.TB, s *httptest.Server) got {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), s.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(ioPatience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", blobPath)
	return readRaw(t, conn)
}

// readRaw reads one answer and all bytes after its headers, chunk framing and
// all.
func readRaw(t testing.TB, conn net.Conn) got {
	t.Helper()
	raw, err := io.ReadAll(conn)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	head, body, found := strings.Cut(string(raw), "\r\n\r\n")
	if !found {
		return got{Err: errors.Join(err, errors.New("no headers came"))}
	}
	resp, perr := http.ReadResponse(bufio.NewReader(strings.NewReader(head+"\r\n\r\n")), nil)
	if perr != nil {
		t.Fatalf("answer %q: %v", raw, perr)
	}
	resp.Body.Close()
	return got{resp.StatusCode, resp.Header, body, err}
}
