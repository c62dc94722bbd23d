//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// A process is a server that was started here.
type process struct {
	cmd   *exec.Cmd
	log   string // its output
	ended chan struct{}
}

// startProcess runs a program with its output in the file log. It gets a
// SIGTERM when this process ends, even by SIGKILL: nginx's workers would
// survive their master's SIGKILL.
func startProcess(log string, env []string, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(name, args...), log: log, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = out, out, env
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread that forked ends (prctl(2)), so
		// this thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer out.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// pid is the process's number, which is that of its group too.
func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process and all of its group, gently for two seconds.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(2 * time.Second):
	}
	// The whole group, also after an orderly end: a worker that outlives its master
	// would keep the port, and the cores, in the next measure.
	_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
	<-p.ended
}

// said is the end of what the process has printed, for error messages.
func (p *process) said() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	return strings.TrimSpace(string(text[max(0, len(text)-most):]))
}

// answers waits until the server at t answers GET /v2/. nginx passes on the
// registry's 401, and is as ready then.
func (p *process) answers(ctx context.Context, t target) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := t.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at its start: %s", p.cmd.Path, p.said())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w: %s", p.cmd.Path, err, p.said())
		// A millisecond, for the time of the start is a figure of the table.
		case <-time.After(time.Millisecond):
		}
	}
}

// ping asks for /v2/ on a connection of its own, as cheaply as can be: it is
// part of what the start of a server is measured by.
func (t target) ping(ctx context.Context) error {
	conn, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: "+t.addr+"\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	line := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, line); err != nil {
		return err
	}
	switch string(line) {
	case "HTTP/1.1 200", "HTTP/1.1 401":
		return nil
	}
	return errors.New(string(line))
}

// freeAddr returns a port that nothing listens on right now.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// cleanEnv is the environment of the servers: nothing of this one's proxies.
func cleanEnv(dir string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}, more...)
}
