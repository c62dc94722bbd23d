//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// namespace is a network namespace with a single neighbour: one end of a veth
// pair is inside, the other is on the host and carries the address on which
// pullchain listens. There is no default route and nothing is forwarded, so a
// program in it reaches only what listens on that one address.
type namespace struct {
	name string
	host netip.Addr // the mirror's address, on this side
	peer netip.Addr // the client's own address, inside
	self netip.Addr // a loopback address of this machine that no other process uses
}

// namespaces counts those of this process.
var namespaces atomic.Int64

// newNamespace makes a namespace that ends with the test, when every program
// in it is killed.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	name := fmt.Sprint(ownPrefix(), namespaces.Add(1))
	t.Cleanup(func() { removeNamespace(name) })
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add: %v (needs root and iproute2)\n%s", err, out)
	}
	link, slot := addLink(t, name)
	ns := &namespace{
		name: name,
		host: netip.AddrFrom4([4]byte{10, 213, slot, 1}),
		peer: netip.AddrFrom4([4]byte{10, 213, slot, 2}),
		self: netip.AddrFrom4([4]byte{127, 213, slot, 1}),
	}
	for _, args := range [][]string{
		{"addr", "add", ns.host.String() + "/30", "dev", link},
		{"link", "set", link, "up"},
		{"-n", ns.name, "addr", "add", ns.peer.String() + "/30", "dev", "eth0"},
		{"-n", ns.name, "link", "set", "eth0", "up"},
		{"-n", ns.name, "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return ns
}

// addLink makes the veth pair of a namespace. Its name stands for a /30 that no
// interface of this machine uses and is taken at once, so that tests and whole
// runs may go side by side.
func addLink(t *testing.T, namespace string) (link string, slot byte) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, a := range addrs {
		used[a.String()] = true
	}
	for slot := range 256 {
		if used[fmt.Sprintf("10.213.%d.1/30", slot)] {
			continue
		}
		link := fmt.Sprintf("pce2e%d", slot)
		out, err := exec.Command("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace).CombinedOutput()
		switch {
		case err == nil:
			return link, byte(slot)
		case !strings.Contains(string(out), "File exists"):
			t.Fatalf("ip link add: %v\n%s", err, out)
		}
	}
	t.Fatal("no free network under 10.213.0.0/16")
	return "", 0
}

// mirror is where pullchain listens for the programs of this namespace.
func (ns *namespace) mirror() string { return net.JoinHostPort(ns.host.String(), "5151") }

// admin is where that pullchain has its operator's plane, out of the client's
// reach.
func (ns *namespace) admin() string { return net.JoinHostPort(ns.self.String(), "5152") }

// command prepares a program that will run inside. It inherits nothing of the
// test's environment: a proxy variable, a login or a HOME of this machine would
// make the answer depend on the user that runs the test.
func (ns *namespace) command(ctx context.Context, env []string, name string, args ...string) *exec.Cmd {
	args = append([]string{"--net=/run/netns/" + ns.name, "--", name}, args...)
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// removeNamespace kills the programs inside and removes the namespace, which
// takes both ends of the veth pair with it.
func removeNamespace(name string) {
	out, err := exec.Command("ip", "netns", "pids", name).Output()
	if err == nil {
		for field := range strings.FieldsSeq(string(out)) {
			if pid, err := strconv.Atoi(field); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	_ = exec.Command("ip", "netns", "del", name).Run()
}
