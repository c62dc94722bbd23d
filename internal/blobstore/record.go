package blobstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"iter"
	"path/filepath"
	"strings"
)

// MaxRecord is how large a record may be, in bytes.
const MaxRecord = 64 << 10

// A recordHeader is the first line of a record's file; the content follows.
type recordHeader struct {
	Name string `json:"name"`
	Sum  uint32 `json:"crc32"` // of the content, which a power cut may have torn
}

// recordPath returns where a record is kept.
func (t *tree) recordPath(kind, name string) (string, error) {
	if kind == "" || len(kind) > 40 || strings.Trim(kind, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", fmt.Errorf("%.60q is not a kind of record", kind)
	}
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return filepath.Join(t.dir, recordsDir, kind, hex.EncodeToString(sum[:])), nil
}

// Record returns a small document that was kept under a name, or ErrNotFound.
// Names are free text; records are not counted towards the limit, and go when
// they have not been written for recordAge. A kind is a word of a-z, 0-9 and "-".
func (s *Store) Record(kind, name string) ([]byte, error) {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return nil, err
	}
	text, err := s.disk.readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	_, content, ok := decodeRecord(text)
	if !ok {
		return nil, ErrNotFound
	}
	return content, nil
}

// PutRecord keeps a small document (64 KiB at most) under a name, atomically, but
// without a sync: a power cut may take it. ctx is as for Put.
func (s *Store) PutRecord(ctx context.Context, kind, name string, content []byte) error {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return err
	}
	if len(content) > MaxRecord {
		return fmt.Errorf("a record of %d bytes is larger than %d", len(content), MaxRecord)
	}
	if err := s.ready(); err != nil {
		return err
	}
	text := encodeRecord(name, content)
	return s.retry(ctx, int64(len(text)), func() error { return s.replace(path, text, false) })
}

// DeleteRecord removes a document; one that is not there is no error.
func (s *Store) DeleteRecord(kind, name string) error {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return err
	}
	if err := s.disk.remove(path); err != nil {
		return s.health.failed(err)
	}
	return nil
}

// Records returns every document of a kind by its name, as stored in it.
func (s *Store) Records(kind string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		any, err := s.recordPath(kind, "")
		if err != nil {
			return
		}
		files, _ := s.disk.readDir(filepath.Dir(any))
		for _, f := range files {
			path := filepath.Join(filepath.Dir(any), f.Name())
			if !isRecord(f) {
				continue
			}
			text, err := s.disk.readFile(path)
			if err != nil {
				continue
			}
			name, content, ok := decodeRecord(text)
			if own, _ := s.recordPath(kind, name); ok && own == path && !yield(name, content) {
				return
			}
		}
	}
}

// isRecord reports whether a file of a records folder is named like a record.
func isRecord(f fs.DirEntry) bool {
	return f.Type().IsRegular() && len(f.Name()) == 2*sha256.Size && isHex(f.Name())
}

// encodeRecord returns a record's file.
func encodeRecord(name string, content []byte) []byte {
	head, _ := json.Marshal(recordHeader{name, crc32.ChecksumIEEE(content)}) // cannot fail
	return append(append(head, '\n'), content...)
}

// decodeRecord reads a record's file.
func decodeRecord(text []byte) (name string, content []byte, ok bool) {
	head, content, found := bytes.Cut(text, []byte("\n"))
	var h recordHeader
	if !found || json.Unmarshal(head, &h) != nil || crc32.ChecksumIEEE(content) != h.Sum {
		return "", nil, false
	}
	return h.Name, content, true
}
