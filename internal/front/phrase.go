package front

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxPhrase bounds a reason phrase: it shares a line of a terminal with what the
// client says around it.
const maxPhrase = 200

// A phrased writes one answer by hand, because net/http has no say over the
// reason phrase. Of a 5xx, docker, containerd, podman and skopeo throw the body
// away and print the status line alone: what stands there is all that their user
// learns. RFC 9112, 4, leaves the phrase to the server. HTTP/2 has none.
type phrased struct {
	*recorder
	phrase string
	conn   net.Conn
	out    *bufio.ReadWriter
}

// phrase returns a writer whose status line says phrase, or false if the
// connection is not one to take over. The writer must be closed, and the
// connection with it: it is no longer net/http's.
func (x *exchange) phrase(phrase string) (*phrased, bool) {
	if phrase == "" || x.r.ProtoMajor != 1 {
		return nil, false
	}
	conn, out, err := http.NewResponseController(x.rec.ResponseWriter).Hijack()
	if err != nil {
		return nil, false
	}
	return &phrased{recorder: &x.rec, phrase: phrase, conn: conn, out: out}, true
}

// WriteHeader sends the status line and the headers.
func (w *phrased) WriteHeader(status int) {
	w.status, w.ttfb = status, time.Since(w.start)
	// A new deadline: the one in force may be for reading what comes next.
	_ = w.conn.SetDeadline(time.Now().Add(paceTime))
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	fmt.Fprintf(w.out, "HTTP/1.1 %03d %s\r\n", status, onePhrase(w.phrase))
	_ = h.Write(w.out)
	_, _ = w.out.WriteString("\r\n")
}

// Write sends a part of the body.
func (w *phrased) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	w.bytes += int64(n)
	return n, err
}

// close ends the answer. A client that has gone misses nothing.
func (w *phrased) close() {
	_ = w.out.Flush()
	_ = w.conn.Close()
}

// onePhrase makes s fit for a status line: printable ASCII on one line.
func onePhrase(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, clip(s, maxPhrase))
}
