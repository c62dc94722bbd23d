//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// A target is where a client connects to.
type target struct {
	addr string
	tls  *tls.Config // nil is plain HTTP
}

// url is where the server is, for the clients of net/http.
func (t target) url() string {
	if t.tls != nil {
		return "https://" + t.addr
	}
	return "http://" + t.addr
}

// dial opens a connection, past the handshake.
func (t target) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	tcp, err := d.DialContext(ctx, "tcp", t.addr)
	if err != nil || t.tls == nil {
		return tcp, err
	}
	conn := tls.Client(tcp, t.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		tcp.Close()
		return nil, err
	}
	return conn, nil
}

// An answerHead is what a client that counts bytes has to know of an answer.
type answerHead struct {
	status int
	length int64 // of the body; -1 if not told
	size   int   // of the head itself, in bytes
}

var (
	errPartialHead = errors.New("the head is not complete")
	headEnd        = []byte("\r\n\r\n")
)

// parseHead reads the head of an HTTP/1.1 answer from the beginning of b. It is
// a tenth of net/http's work, which matters to a client that shares the
// machine with the server.
func parseHead(b []byte) (answerHead, error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return answerHead{}, errPartialHead
	}
	const prefix = "HTTP/1.1 "
	if end < len(prefix)+3 || string(b[:len(prefix)]) != prefix {
		return answerHead{}, fmt.Errorf("not an HTTP/1.1 answer: %.40q", b)
	}
	status, err := strconv.Atoi(string(b[len(prefix) : len(prefix)+3]))
	if err != nil {
		return answerHead{}, fmt.Errorf("status: %w", err)
	}
	h := answerHead{status: status, length: -1, size: end + len(headEnd)}
	for rest := b[:end]; ; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, headEnd[:2])
		// Only the length is looked for. A chunked answer has none, and is no
		// answer for these measures.
		if len(line) > 15 && (line[0]|0x20) == 'c' && strings.EqualFold(string(line[:15]), "content-length:") {
			h.length, err = strconv.ParseInt(string(bytes.TrimSpace(line[15:])), 10, 64)
			return h, err
		}
		if len(rest) == 0 {
			return h, nil
		}
	}
}

// readHead reads from conn into buf until the head is complete. n is how many
// bytes are in buf: the head and perhaps some of the body.
func readHead(conn net.Conn, buf []byte) (h answerHead, n int, err error) {
	for {
		m, err := conn.Read(buf[n:])
		n += m
		if err != nil {
			return h, n, err
		}
		h, err = parseHead(buf[:n])
		if !errors.Is(err, errPartialHead) {
			return h, n, err
		}
		if n == len(buf) {
			return h, n, fmt.Errorf("a head of more than %d bytes", n)
		}
	}
}

// wantOK is an error unless the answer is the whole thing.
func (h answerHead) wantOK() error {
	if h.status != http.StatusOK || h.length < 0 {
		return fmt.Errorf("status %d with Content-Length %d", h.status, h.length)
	}
	return nil
}
