package blobstore

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
)

// A journal says what a Spool has: JSON lines, the first with the version, each
// appended after the bytes that it speaks of have been written. After a kill it
// is therefore right. After a power cut it may promise bytes that the disk never
// got; the digest finds them out when the blob is whole.
type journal struct {
	disk disk
	file *os.File
	end  int64 // of what was written in whole lines
}

// journalVersion is in the first line. A journal with another one is not read,
// and its blob begins anew.
const journalVersion = 1

// maxJournal limits a journal that is read: 64 GiB in lines of 1 MiB each.
const maxJournal = 8 << 20

// A line is one line of a journal.
type line struct {
	Version int    `json:"v,omitempty"`    // in the first line
	Size    *int64 `json:"size,omitempty"` // of the whole blob, once it is known
	From    int64  `json:"from,omitempty"`
	To      int64  `json:"to,omitempty"`
	Source  string `json:"source,omitempty"`
}

// encode returns the line as it is written.
func (l line) encode() []byte {
	text, _ := json.Marshal(l) // numbers and a string: it cannot fail
	return append(text, '\n')
}

// encodeJournal returns a whole journal.
func encodeJournal(size int64, extents []Extent) []byte {
	head := line{Version: journalVersion}
	if size >= 0 {
		head.Size = &size
	}
	text := head.encode()
	for _, e := range extents {
		text = append(text, line{From: e.From, To: e.To, Source: e.Source}.encode()...)
	}
	return text
}

// decodeJournal reads a journal up to its first line that is not whole and
// sound: nothing after that one can be relied on. size is -1 when no line knows
// it; ok tells whether there was a first line at all.
func decodeJournal(text []byte) (size int64, extents []Extent, ok bool) {
	size = -1
	for first := true; ; first = false {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return size, fit(extents, size), !first
		}
		var l line
		err := json.Unmarshal(text[:end], &l)
		sound := err == nil && 0 <= l.From && l.From <= l.To && (l.Size == nil || *l.Size >= 0)
		if !sound || first != (l.Version == journalVersion) {
			return size, fit(extents, size), !first
		}
		if l.Size != nil {
			size = *l.Size
		}
		extents = overlay(extents, Extent{l.From, l.To, l.Source})
		text = text[end+1:]
	}
}

// fit cuts extents to a size that is known.
func fit(extents []Extent, size int64) []Extent {
	if size < 0 {
		return extents
	}
	return clip(extents, size)
}

// readJournal reads the journal at path; one that is not there, or is none, is
// empty.
func (r *rooted) readJournal(path string) (size int64, extents []Extent) {
	f, err := r.open(path)
	if err != nil {
		return -1, nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return -1, nil
	}
	size, extents, ok := decodeJournal(text)
	if !ok {
		return -1, nil
	}
	return size, extents
}

// startJournal writes a new journal in place of what was at path, whole or not at
// all.
func (t *tree) startJournal(path string, size int64, extents []Extent) (*journal, error) {
	text := encodeJournal(size, extents)
	temp := t.temp(path)
	f, err := t.disk.create(temp, os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if _, err = t.disk.writeAt(f, text, 0); err == nil {
		err = t.disk.rename(temp, path)
	}
	if err != nil {
		_ = f.Close()
		_ = t.disk.rooted.remove(temp)
		return nil, err
	}
	return &journal{t.disk, f, int64(len(text))}, nil
}

// append writes one more line. Half a line that a full disk left is written over
// by the next.
func (j *journal) append(l line) error {
	text := l.encode()
	if _, err := j.disk.writeAt(j.file, text, j.end); err != nil {
		_ = j.file.Truncate(j.end)
		return err
	}
	j.end += int64(len(text))
	return nil
}
