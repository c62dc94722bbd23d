package cli

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/pullchain/pullchain/internal/config"
)

// openTerminal returns both ends of a pseudo-terminal: what a person sees, and what a
// program writes to.
func openTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { screen.Close() })
	var n, unlocked int32
	for request, value := range map[uintptr]*int32{syscall.TIOCGPTN: &n, syscall.TIOCSPTLCK: &unlocked} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(int(n)), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	return screen, tty
}

// A person at a terminal sees each line as it comes, in colour. The clock stands
// still while this test reads, so that a line that waits never comes.
func TestLogAtTerminal(t *testing.T) {
	screen, tty := openTerminal(t)
	synctest.Test(t, func(t *testing.T) {
		a := &app{Program: Program{Stderr: tty, Getenv: func(string) string { return "" }}}
		sink := a.openLog(config.Log{}, slog.LevelInfo)
		defer sink.Close()
		log := slog.New(sink.Handler())
		seen := bufio.NewReader(screen)
		for _, message := range []string{"one", "two", "three"} {
			log.Info(message, slog.Group("", slog.Int("n", 1)))
			line, err := seen.ReadString('\n')
			if err != nil || !strings.Contains(line, message+" \x1b[2mn=\x1b[0m1") {
				t.Errorf("%q, %v", line, err)
			}
		}
	})
}

// Elsewhere a log is JSON, or text without colours when that is asked for, and its
// lines are gathered.
func TestLogElsewhere(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"": `{"time":"2000-01-01T`, "auto": `{"time":"2000-01-01T`, "json": `{"time":"2000-01-01T`, "text": "Jan  1 ",
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{Program: Program{Stderr: io.Writer(&out), Getenv: func(string) string { return "" }}}
			sink := a.openLog(config.Log{Format: format}, slog.LevelInfo)
			log := slog.New(sink.Handler())
			log.Debug("zero")
			log.Info("one")
			log.Info("two")
			if got := out.String(); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
				t.Errorf("format %q, at once: %q", format, got)
			}
			sink.Close()
			if got := out.String(); strings.Count(got, "\n") != 2 || strings.Contains(got, "zero") || !strings.Contains(got, "two") {
				t.Errorf("format %q: %q", format, got)
			}
		})
	}
}
