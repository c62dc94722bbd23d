//go:build e2e

package e2e

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
)

// wantShutIn proves that a program in the namespace has no way but the
// mirror's address: no default route, no resolver, no service of this machine
// on loopback, and, with nothing listening on the mirror's address, no image.
func wantShutIn(t *testing.T, ns *namespace, c client, o *origin, img *image) {
	t.Helper()
	routes, err := exec.Command("ip", "-n", ns.name, "-oneline", "route", "show").CombinedOutput()
	if err != nil {
		t.Fatalf("ip route: %v\n%s", err, routes)
	}
	if lines := strings.Split(strings.TrimSpace(string(routes)), "\n"); len(lines) != 1 || !strings.HasPrefix(lines[0], "10.213.") {
		t.Errorf("the namespace has other routes than to the mirror:\n%s", routes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(o.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	mirror, err := net.Listen("tcp", ns.mirror())
	if err != nil {
		t.Fatal(err)
	}
	if !connects(ctx, ns, ns.host.String(), "5151") {
		t.Error("the mirror's address cannot be reached, so what follows would prove nothing")
	}
	if err := mirror.Close(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{host, "127.0.0.1", ns.host.String()} {
		if connects(ctx, ns, host, port) {
			t.Errorf("the origin can be reached at %s", host)
		}
	}
	if out, err := run(ns.command(ctx, clientEnv("/"), systemProgram(t, "getent"), "hosts", "registry-1.docker.io")); err == nil {
		t.Errorf("the namespace has a resolver: %s", out)
	}
	if got, output, err := c.Pull(ctx, img); err == nil {
		t.Errorf("with no mirror %s pulled %s:\n%s", c.Name(), got, output)
	}
}

// connects reports whether a program in the namespace can connect to an
// address.
func connects(ctx context.Context, ns *namespace, host, port string) bool {
	_, err := run(ns.command(ctx, clientEnv("/"), "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port))
	return err == nil
}
