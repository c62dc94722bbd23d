package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"github.com/pullchain/pullchain"
	"github.com/pullchain/pullchain/internal/admin"
	"github.com/pullchain/pullchain/internal/messages"
	"github.com/pullchain/pullchain/internal/terminal"
	"github.com/pullchain/pullchain/internal/warm"
)

// A board shows how a warming goes: on a terminal the blobs under way with a bar
// each, below the lines of what has happened; elsewhere the lines alone. Its
// methods may be called from several goroutines.
type board struct {
	out      io.Writer
	messages *messages.Catalogue
	live     bool              // out is a terminal that can move its cursor
	quiet    bool              // for programs: no lines
	dry      bool              // nothing is fetched
	size     func() (w, h int) // of the terminal

	mu     sync.Mutex
	bars   []*bar
	drawn  int // lines of the terminal that are to be drawn again
	counts counts
	begun  time.Time
}

// counts are of the whole command.
type counts struct {
	images, all int   // done, and those to do
	bytes       int64 // of the blobs that were named so far
	there       int64 // of these, what the cache had
	fetched     int64 // of these, what came; grows as it comes
}

// redrawEvery keeps a terminal over a slow line usable.
const redrawEvery = 200 * time.Millisecond

// newBoard returns a board for so many images. It draws only where a cursor can be
// moved: a log file full of bars is of no use.
func (c *warmCmd) newBoard(a *app, images int) *board {
	b := &board{out: a.Stdout, messages: a.messages, quiet: a.flags.Output == "json", dry: c.DryRun, begun: time.Now()}
	b.counts.all = images
	if f, ok := a.Stdout.(*os.File); ok && !b.quiet && isTerminal(f) && a.Getenv("TERM") != "dumb" {
		b.live = true
		b.size = func() (int, int) {
			w, h, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		}
	}
	return b
}

// show draws until stop is called, which wipes the bars.
func (b *board) show() (stop func()) {
	if !b.live {
		return func() {}
	}
	done := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		tick := time.NewTicker(redrawEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.draw()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		drawing.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		fmt.Fprint(b.out, b.wiped())
	}
}

// A bar is a blob under way.
type bar struct {
	board *board
	image warm.Image
	blob  pullchain.Descriptor
	begun time.Time
	got   atomic.Int64
}

// Add counts bytes that came.
func (r *bar) Add(n int) {
	r.got.Add(int64(n))
	r.board.mu.Lock()
	r.board.counts.fetched += int64(n)
	r.board.mu.Unlock()
}

// Expect counts a blob that will be skipped, missing, or begun and ended.
func (b *board) Expect(d pullchain.Descriptor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.bytes += d.Size
}

// Skipped counts a blob that the cache has.
func (b *board) Skipped(d pullchain.Descriptor) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts.there += d.Size
}

// Missing tells of a blob that would be fetched.
func (b *board) Missing(img warm.Image, d pullchain.Descriptor) {
	b.line(b.messages.Text("warm.would", "image", img, "blob", warm.Short(d.Digest), "size", size(d.Size)))
}

// Begin puts up the bar of a blob.
func (b *board) Begin(img warm.Image, d pullchain.Descriptor) warm.Bar {
	r := &bar{board: b, image: img, blob: d, begun: time.Now()}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bars = append(b.bars, r)
	return r
}

// End takes the bar away. On a terminal its image will be told of, elsewhere each
// blob that came is.
func (r *bar) End(word warm.Cached, took time.Duration, err error) {
	b := r.board
	b.mu.Lock()
	// Bars keep their order, so that a line does not jump when another blob ends.
	for i, other := range b.bars {
		if other == r {
			b.bars = append(b.bars[:i], b.bars[i+1:]...)
			break
		}
	}
	b.mu.Unlock()
	if err == nil && !word.There() && !b.live {
		b.line(b.messages.Text("warm.blob", "image", r.image, "blob", warm.Short(r.blob.Digest), "size", size(r.blob.Size), "speed", speed(r.got.Load(), took)))
	}
}

// Finished tells of an image.
func (b *board) Finished(one warm.Result) {
	b.mu.Lock()
	b.counts.images++
	b.mu.Unlock()
	b.line(b.sentence(one))
}

// sentence says how it went with an image, in one line.
func (b *board) sentence(one warm.Result) string {
	switch {
	case one.Err != nil:
		if one.From != "" {
			return b.messages.Text("warm.failed_from", "image", one.Image, "from", one.From, "error", oneLine(one.Error))
		}
		return b.messages.Text("warm.failed", "image", one.Image, "error", oneLine(one.Error))
	case b.dry:
		return b.messages.Text("warm.dry", "image", one.Image, "fetched", one.Fetched, "new", size(one.New), "blobs", one.Blobs, "size", size(one.Bytes))
	case one.Stale:
		return b.messages.Text("warm.stale", "image", one.Image, "blobs", one.Blobs, "size", size(one.Bytes))
	case one.Fetched == 0:
		return b.messages.Text("warm.there", "image", one.Image, "blobs", one.Blobs, "size", size(one.Bytes))
	}
	return b.messages.Text("warm.done", "image", one.Image, "fetched", one.Fetched, "new", size(one.New), "blobs", one.Blobs, "size", size(one.Bytes))
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// line writes a line that stays.
func (b *board) line(text string) {
	if b.quiet {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprint(b.out, b.wiped()+text+"\n"+b.frame())
}

func (b *board) draw() {
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprint(b.out, b.wiped()+b.frame())
}

// wiped returns what takes the bars off the terminal again: to the first of their
// lines, and erase from there (ECMA-48, CPL and ED).
func (b *board) wiped() string {
	n := b.drawn
	b.drawn = 0
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("\x1b[%dF\x1b[J", n)
}

// frame returns the bars as they stand. They may be more than the terminal has
// lines; none is longer than the terminal is wide, or the cursor would not find
// back.
func (b *board) frame() string {
	if !b.live {
		return ""
	}
	width, height := b.size()
	var out strings.Builder
	for _, r := range b.bars[:min(len(b.bars), max(0, height-2))] {
		out.WriteString(terminal.Clip(r.text(time.Now(), width), width-1) + "\n")
		b.drawn++
	}
	c := b.counts
	out.WriteString(terminal.Clip(b.messages.Text("warm.total", "images", c.images, "all", c.all, "done", size(c.there+c.fetched), "size", size(c.bytes),
		"speed", speed(c.fetched, time.Since(b.begun))), width-1) + "\n")
	b.drawn++
	return out.String()
}

// The columns of a bar's line: of the name, of the bar itself, and of all else.
const (
	nameColumns = 20
	minBar      = 8
	maxBar      = 30
	restColumns = 48
)

// text returns the bar as a line for a terminal of that width.
func (r *bar) text(now time.Time, width int) string {
	// The bar gives way to a narrow terminal: the figures say more than it does.
	columns := max(minBar, min(maxBar, width-nameColumns-restColumns))
	got := r.got.Load()
	filled := columns
	if r.blob.Size > 0 {
		filled = int(min(got, r.blob.Size) * int64(columns) / r.blob.Size)
	}
	head := ">"
	if filled == columns {
		head = ""
	}
	return fmt.Sprintf("%-*s %-12s [%-*s] %-16s  %s", nameColumns, nickname(r.image, nameColumns), warm.Short(r.blob.Digest),
		columns, strings.Repeat("=", filled)+head, admin.Fraction(got, r.blob.Size), speed(got, now.Sub(r.begun)))
}

// nickname returns the end of the image's name, in so many columns.
func nickname(i warm.Image, columns int) string {
	name := i.Repo[strings.LastIndexByte(i.Repo, '/')+1:] + ":" + i.Reference
	if _, sum, ok := strings.Cut(i.Reference, ":"); ok {
		name = name[:len(name)-len(i.Reference)-1] + "@" + sum[:min(len(sum), 12)]
	}
	if len(name) > columns {
		name = "…" + name[len(name)-columns+1:]
	}
	return name
}

// speed says how fast n bytes came.
func speed(n int64, took time.Duration) string {
	if took < time.Millisecond {
		took = time.Millisecond
	}
	return size(int64(float64(n)/took.Seconds())) + "/s"
}
