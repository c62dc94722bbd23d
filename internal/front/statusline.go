package front

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxStatusText bounds the text of a status line: it shares a line of a terminal
// with what the client says around it.
const maxStatusText = 200

// A statusLineWriter writes one answer by hand, because net/http gives its handlers
// no say over the text of the status line. Of a 5xx, docker, containerd, podman and
// skopeo throw the body away and print the status line alone: what stands there is
// all that their user learns. RFC 9112, 4, leaves that text (its "reason-phrase")
// to the server. HTTP/2 has none.
type statusLineWriter struct {
	*recorder
	text string
	conn net.Conn
	out  *bufio.ReadWriter
}

// takeOver returns a writer whose status line says text, or false if the
// connection is not one to take over. The writer must be closed, and the
// connection with it: it is no longer net/http's.
func (x *exchange) takeOver(text string) (*statusLineWriter, bool) {
	if text == "" || x.r.ProtoMajor != 1 {
		return nil, false
	}
	conn, out, err := http.NewResponseController(x.rec.ResponseWriter).Hijack()
	if err != nil {
		return nil, false
	}
	return &statusLineWriter{recorder: &x.rec, text: text, conn: conn, out: out}, true
}

// WriteHeader sends the status line and the headers.
func (w *statusLineWriter) WriteHeader(status int) {
	w.status, w.ttfb = status, time.Since(w.flight.At)
	// A new deadline: the one in force may be for reading what comes next.
	_ = w.conn.SetDeadline(time.Now().Add(paceTime))
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	fmt.Fprintf(w.out, "HTTP/1.1 %03d %s\r\n", status, oneLine(w.text))
	_ = h.Write(w.out)
	_, _ = w.out.WriteString("\r\n")
}

// Write sends a part of the body.
func (w *statusLineWriter) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.sent(int64(n))
	return n, err
}

// close ends the answer. A client that has gone misses nothing.
func (w *statusLineWriter) close() {
	_ = w.out.Flush()
	_ = w.conn.Close()
}

// oneLine makes s fit for a status line: printable ASCII on one line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, clip(s, maxStatusText))
}
