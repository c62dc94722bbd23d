package access

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// maxFile is how long a file of users or secrets may be.
const maxFile = 1 << 20

// A watched is what a file says, read anew when the file has changed. It is safe for
// concurrent use.
type watched[T any] struct {
	path  string
	parse func([]byte) (T, error)
	log   *slog.Logger

	mu    sync.Mutex
	value T
	info  fs.FileInfo // of the file when it was last read, successfully or not
	edit  uint64      // of value: another number for each
}

// watch reads the file for the first time.
func watch[T any](path string, parse func([]byte) (T, error), log *slog.Logger) (*watched[T], error) {
	w := &watched[T]{path: path, parse: parse, log: log}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return w, w.readLocked(info)
}

// get returns what the file says, and which edit of it that is. A look at the file costs a
// microsecond, which is nothing beside a request.
func (w *watched[T]) get() (T, uint64) {
	info, err := os.Stat(w.path)
	w.mu.Lock()
	defer w.mu.Unlock()
	// One that is missing is about to be replaced.
	if err == nil && !w.knowsLocked(info) {
		if err := w.readLocked(info); err != nil {
			w.log.Warn("a changed file of [access] cannot be used; what it said before stays in force", "error", err.Error())
		} else {
			w.log.Info("a file of [access] has changed", "file", w.path)
		}
	}
	return w.value, w.edit
}

// knowsLocked reports whether info is of the file as it was read. The size is part of it, for a file
// may be written twice within one tick of the file system's clock.
func (w *watched[T]) knowsLocked(info fs.FileInfo) bool {
	return os.SameFile(info, w.info) && info.ModTime().Equal(w.info.ModTime()) && info.Size() == w.info.Size()
}

// readLocked reads the file, of which info was true before: one that is written meanwhile
// has another, and is read again at the next request.
func (w *watched[T]) readLocked(info fs.FileInfo) error {
	w.info = info
	f, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("is longer than %d bytes", maxFile)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	value, err := w.parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	w.value = value
	w.edit++
	return nil
}
