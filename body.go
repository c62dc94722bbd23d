package pullchain

import (
	"bytes"
	"io"
	"net/http"
)

// A Body is the content of a Response, and what can be told of it while it is
// read. It must be closed. Read and the Sections belong to one goroutine; Attempts
// may be called from any, and after Close.
//
// A link of the chain that wraps a Body embeds it, and so loses nothing: it
// overrides only what it changes. One that changes the bytes has to override
// Sections too.
type Body interface {
	io.ReadCloser

	// Attempts returns every attempt behind the content so far, those of
	// Response.Attempts first: a body may go on from another upstream long after
	// the headers. It is nil where Response.Attempts stays the whole story.
	Attempts() []Attempt

	// Source tells where the bytes come from. It is the zero Source where that is not known.
	Source() Source

	// Sections returns the content as bytes that can be read at offsets, or nil
	// if it can only be read in order. A caller that uses them does not call Read.
	Sections() Sections
}

// A Source says where the bytes of a Body come from.
type Source struct {
	Upstream string // sent the bytes that the last Read returned
	Private  bool   // an upstream that has sent, or is about to, took a login: Response.Private spoke of the first one only
	Login    string // the fingerprint of the last such login; empty if there was none, or that is not known

	// Unproved says that no byte is to be shown before the digest of the whole is
	// right: an upstream that has sent some has lied of late, or is not trusted.
	Unproved bool
}

// Sections hand out content that lies somewhere already, so that it can go to a
// socket without a copy in this process.
type Sections interface {
	// Next waits until bytes may be sent, and returns where they lie. At the
	// right end it returns io.EOF; any other error means that the rest will never
	// come.
	Next() (Section, error)

	// Sent says that the first n bytes of the last Section have been sent.
	Sent(n int64)
}

// A Section is Size bytes of Content from Offset on; Size is more than 0. Where
// Content is an *os.File, no other body uses it, so that the sender may move its
// offset.
type Section struct {
	Content io.ReaderAt
	Offset  int64 // in Content
	Size    int64 // in bytes
}

// NoBody is the Body of an answer without content.
var NoBody = PlainBody(http.NoBody)

// PlainBody returns rc as a Body that has nothing to tell.
func PlainBody(rc io.ReadCloser) Body {
	return struct {
		io.ReadCloser
		silent
	}{rc, silent{}}
}

// BytesBody returns content that is at hand as a Body, which is an io.WriterTo.
func BytesBody(content []byte) Body {
	b := &bytesBody{}
	b.Reset(content)
	return b
}

type bytesBody struct {
	bytes.Reader
	silent
}

// Close does nothing: the bytes are no connection's.
func (*bytesBody) Close() error { return nil }

// silent is what a body has to tell that knows nothing of itself.
type silent struct{}

func (silent) Attempts() []Attempt { return nil }
func (silent) Source() Source      { return Source{} }
func (silent) Sections() Sections  { return nil }
