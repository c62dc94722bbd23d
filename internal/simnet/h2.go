package simnet

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// The parts of HTTP/2 that its faults need (RFC 9113, sections 6 and 7).
const (
	h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	frameData      = 0x0
	frameHeaders   = 0x1
	frameRSTStream = 0x3
	frameSettings  = 0x4
	framePing      = 0x6
	frameGoAway    = 0x7

	flagAck        = 0x1
	flagEndHeaders = 0x4

	codeNoError          = 0x0
	codeInternalError    = 0x2
	codeRefusedStream    = 0x7
	codeEnhanceYourCalm  = 0xb
	h2MaxFrame           = 16384
	hpackStatus200       = 0x88 // RFC 7541, appendix A: index 8, ":status: 200"
	framedHeaderBytes    = 9
	h2MidwayBytesOfABody = 1024
)

// writeFrame writes one HTTP/2 frame.
func writeFrame(w io.Writer, kind, flags byte, stream uint32, payload []byte) error {
	b := make([]byte, framedHeaderBytes, framedHeaderBytes+len(payload))
	b[0], b[1], b[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	b[3], b[4] = kind, flags
	binary.BigEndian.PutUint32(b[5:], stream)
	_, err := w.Write(append(b, payload...))
	return err
}

// readFrame reads one frame and drops its payload, which no fault looks at.
func readFrame(r io.Reader) (kind, flags byte, stream uint32, err error) {
	var h [framedHeaderBytes]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, 0, err
	}
	size := int64(h[0])<<16 | int64(h[1])<<8 | int64(h[2])
	if size > h2MaxFrame {
		return 0, 0, 0, errors.New("frame too large")
	}
	_, err = io.CopyN(io.Discard, r, size)
	return h[3], h[4], binary.BigEndian.Uint32(h[5:]) & (1<<31 - 1), err
}

// speakH2 is an HTTP/2 server that answers each request with the fault f. It
// returns when the client leaves.
func speakH2(c net.Conn, f ConnFault) error {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len(h2Preface))); err != nil {
		return err
	}
	if err := writeFrame(c, frameSettings, 0, 0, nil); err != nil {
		return err
	}
	for {
		kind, flags, stream, err := readFrame(c)
		if err != nil {
			return err
		}
		switch {
		case kind == frameSettings && flags&flagAck == 0:
			err = writeFrame(c, frameSettings, flagAck, 0, nil)
		case kind == framePing && flags&flagAck == 0:
			err = writeFrame(c, framePing, flagAck, 0, make([]byte, 8))
		case kind == frameHeaders:
			err = failStream(c, f, stream)
		}
		if err != nil {
			return err
		}
	}
}

// failStream answers the request on stream.
func failStream(c net.Conn, f ConnFault, stream uint32) error {
	switch f {
	case ConnH2Refused:
		return writeFrame(c, frameRSTStream, 0, stream, code(codeRefusedStream))
	case ConnH2ResetMidway:
		if err := writeFrame(c, frameHeaders, flagEndHeaders, stream, []byte{hpackStatus200}); err != nil {
			return err
		}
		if err := writeFrame(c, frameData, 0, stream, make([]byte, h2MidwayBytesOfABody)); err != nil {
			return err
		}
		return writeFrame(c, frameRSTStream, 0, stream, code(codeInternalError))
	}
	why := uint32(codeNoError)
	if f == ConnH2Calm {
		why = codeEnhanceYourCalm
	}
	last := make([]byte, 4) // stream 0: nothing was processed
	return writeFrame(c, frameGoAway, 0, 0, append(last, code(why)...))
}

func code(c uint32) []byte { return binary.BigEndian.AppendUint32(nil, c) }
