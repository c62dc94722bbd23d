//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
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
	self netip.Addr // a loopback address of this machine that nobody else uses
}

// namespacePrefix begins the name of every namespace made here; the process id
// of the test follows, so that a later run can tell which are left over.
const namespacePrefix = "pce2e-"

// slots hands out the /30 networks of one test process.
var slots struct {
	mu   sync.Mutex
	next int
}

// newNamespace makes a namespace that ends with the test, when every program
// in it is killed.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	slots.mu.Lock()
	defer slots.mu.Unlock()
	slot := freeSlot(t)
	slots.next = slot + 1
	ns := &namespace{
		name: fmt.Sprintf("%s%d-%d", namespacePrefix, os.Getpid(), slot),
		host: netip.AddrFrom4([4]byte{10, 213, byte(slot), 1}),
		peer: netip.AddrFrom4([4]byte{10, 213, byte(slot), 2}),
		self: netip.AddrFrom4([4]byte{127, 213, byte(slot), 1}),
	}
	link := fmt.Sprintf("pce2e%d", slot)
	t.Cleanup(func() { removeNamespace(ns.name) })
	for _, args := range [][]string{
		{"netns", "add", ns.name},
		{"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", ns.name},
		{"addr", "add", ns.host.String() + "/30", "dev", link},
		{"link", "set", link, "up"},
		{"-n", ns.name, "addr", "add", ns.peer.String() + "/30", "dev", "eth0"},
		{"-n", ns.name, "link", "set", "eth0", "up"},
		{"-n", ns.name, "link", "set", "lo", "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v (needs root and iproute2)\n%s", strings.Join(args, " "), err, out)
		}
	}
	return ns
}

// freeSlot finds a /30 that no interface of this machine uses: two runs may go
// side by side.
func freeSlot(t *testing.T) int {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, a := range addrs {
		used[a.String()] = true
	}
	for slot := slots.next; slot < 256; slot++ {
		if !used[fmt.Sprintf("10.213.%d.1/30", slot)] {
			return slot
		}
	}
	t.Fatal("no free network under 10.213.0.0/16")
	return 0
}

// mirror is where pullchain listens for the programs of this namespace.
func (ns *namespace) mirror() string { return net.JoinHostPort(ns.host.String(), "5151") }

// admin is where that pullchain has its operator's plane, out of the client's
// reach.
func (ns *namespace) admin() string { return net.JoinHostPort(ns.self.String(), "5152") }

// command prepares a program that will run inside. It inherits nothing of the
// test's environment: a proxy variable, a login or a HOME of this machine would
// make the answer depend on who runs the test.
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

// reapNamespaces removes what runs that were killed left behind: namespaces
// whose test process is gone.
func reapNamespaces() {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), namespacePrefix)
		owner, _, _ := strings.Cut(rest, "-")
		pid, err := strconv.Atoi(owner)
		if !ours || err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		removeNamespace(e.Name())
	}
}
