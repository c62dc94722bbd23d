//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/pullchain/pullchain/internal/simnet"
)

const annsPassword = "correct-horse-battery"

// A private is a pullchain that passes clients' logins on to a hub, whose only image is for
// those who have one.
type private struct {
	ns  *namespace
	net *simnet.Net
	img *image
}

func newPrivate(t *testing.T, program string) *private {
	t.Helper()
	p := &private{ns: newNamespace(t), img: newImage(t, "private")}
	origin := startOrigin(t)
	origin.push(t, p.img)
	backend, err := url.Parse(origin.url)
	if err != nil {
		t.Fatal(err)
	}
	p.net = simnet.New(simnet.Config{})
	t.Cleanup(p.net.Close)
	hub := p.net.AddHub(simnet.HubConfig{
		Origin: simnet.Origin{Name: "hub"}, Backend: backend,
		Auth: simnet.AuthConfig{Users: map[string]string{"ann": annsPassword}, Private: []string{p.img.repository}},
	})
	ca := filepath.Join(tempDir(t), "ca.pem")
	writeFile(t, ca, string(p.net.CAPEM()))
	startConfigured(t, program, p.ns, fmt.Sprintf("\n[[registry]]\nname = \"docker.io\"\nclient_auth = \"passthrough\"\n\n[[registry.upstream]]\nname = \"hub\"\nurl = %q\nca_file = %q\n"+
		"authoritative = true\ntrust = \"resolve\"\nallow_private = true\n%s", hub.URL(), ca, upstream{}.times())).ready(t)
	return p
}

// name is what a person types who takes the mirror for the registry.
func (p *private) name() string { return p.ns.mirror() + "/" + p.img.name() }

// A loginPull pulls the private image by the name of the mirror; with a login if user is not empty.
type loginPull func(ctx context.Context, user string) (output string, err error)

// loginPulls are the real programs, each as its manual says how to log in.
var loginPulls = []struct {
	name  string
	start func(p *private, t *testing.T) loginPull
}{
	{"dockerd", func(p *private, t *testing.T) loginPull { return p.docker(t, startDockerd(t, p.ns).(*dockerd)) }},
	{"dockerd-29", func(p *private, t *testing.T) loginPull {
		d, _ := startDockerd29(t, p.ns)
		return p.docker(t, d)
	}},
	{"containerd-2", (*private).containerd},
	{"containerd-2 by ns", (*private).byNamespace},
	{"podman", (*private).podman},
	{"skopeo", (*private).skopeo},
	{"crane", (*private).crane},
}

// docker logs in by "docker login", which its own daemon makes the requests of. The two users
// of one daemon have folders of their own.
func (p *private) docker(t *testing.T, d *dockerd) loginPull {
	homes := map[string]string{"": tempDir(t), "ann": tempDir(t)}
	return func(ctx context.Context, user string) (string, error) {
		command := func(args ...string) *exec.Cmd {
			return d.command(ctx, append([]string{"--config", homes[user]}, args...)...)
		}
		if user != "" {
			if out, err := run(command("login", "-u", user, "-p", "wrong", p.ns.mirror())); err == nil {
				return out, fmt.Errorf("docker login took a wrong password")
			}
			if out, err := run(command("login", "-u", user, "-p", annsPassword, p.ns.mirror())); err != nil {
				return out, err
			}
		}
		return run(command("pull", p.name()))
	}
}

func (p *private) containerd(t *testing.T) loginPull {
	c := startContainerd2(t, p.ns).(*containerd)
	return func(ctx context.Context, user string) (string, error) {
		args := []string{"images", "pull", "--plain-http"}
		if user != "" {
			args = append(args, "--user", user+":"+annsPassword)
		}
		return run(c.command(ctx, append(args, p.name())...))
	}
}

// byNamespace asks for the registry's own name, with the mirror in a hosts.toml.
func (p *private) byNamespace(t *testing.T) loginPull {
	c := startContainerd2(t, p.ns).(*containerd)
	return func(ctx context.Context, user string) (string, error) {
		args := []string{"images", "pull", "--hosts-dir", filepath.Join(c.dir, "certs.d")}
		if user != "" {
			args = append(args, "--user", user+":"+annsPassword)
		}
		return run(c.command(ctx, append(args, "docker.io/"+p.img.name())...))
	}
}

func (p *private) podman(t *testing.T) loginPull {
	c := startPodman(t, p.ns).(*podman)
	return func(ctx context.Context, user string) (string, error) {
		if user == "" {
			return run(c.command(ctx, "pull", "--tls-verify=false", p.name()))
		}
		if out, err := run(c.command(ctx, "login", "--tls-verify=false", "-u", user, "-p", annsPassword, p.ns.mirror())); err != nil {
			return out, err
		}
		out, err := run(c.command(ctx, "pull", "--tls-verify=false", p.name()))
		_, _ = run(c.command(ctx, "logout", p.ns.mirror()))
		return out, err
	}
}

func (p *private) skopeo(t *testing.T) loginPull {
	c := startSkopeo(t, p.ns).(*skopeo)
	return func(ctx context.Context, user string) (string, error) {
		args := []string{"copy", "--src-tls-verify=false"}
		if user != "" {
			args = append(args, "--src-creds", user+":"+annsPassword)
		}
		return run(c.command(ctx, append(args, "docker://"+p.name(), "dir:"+tempDir(t))...))
	}
}

func (p *private) crane(t *testing.T) loginPull {
	c := startCrane(t, p.ns).(*crane)
	return func(ctx context.Context, user string) (string, error) {
		if user != "" {
			if out, err := run(c.command(ctx, "auth", "login", "-u", user, "-p", annsPassword, p.ns.mirror())); err != nil {
				return out, err
			}
			defer func() { _, _ = run(c.command(ctx, "auth", "logout", p.ns.mirror())) }()
		}
		return run(c.command(ctx, "pull", "--insecure", p.name(), filepath.Join(tempDir(t), "image.tar")))
	}
}

// refusal is how the clients put a 401.
var refusal = regexp.MustCompile(`(?i)unauthorized|pull access denied|authentication required`)

// TestPrivateImageByTheClientsLogin: a client that has logged in at the mirror pulls the
// private image, and one that has not gets 401, before that and after it, with every layer
// in the store.
func TestPrivateImageByTheClientsLogin(t *testing.T) {
	program := buildDaemon(t)
	for _, tt := range loginPulls {
		t.Run(tt.name, func(t *testing.T) {
			p := newPrivate(t, program)
			pull := tt.start(p, t)
			refused := func(when string) {
				t.Helper()
				output, err := pull(t.Context(), "")
				if err == nil || !refusal.MatchString(output) {
					t.Errorf("%s, without a login: %v\n%s", when, err, output)
				}
			}
			refused("cold")
			if output, err := pull(t.Context(), "ann"); err != nil {
				t.Fatalf("with a login: %v\n%s", err, output)
			}
			refused("stored")
			for _, b := range p.img.blobs {
				res := do(t, http.MethodGet, "http://"+p.ns.mirror()+"/v2/"+p.img.repository+"/blobs/"+b.digest.String(), nil, nil)
				if res.StatusCode != http.StatusUnauthorized {
					t.Errorf("a stored blob without a login: %s", res.Status)
				}
			}
			if leaks := p.net.Ledger().Leaks(annsPassword, "hub-auth"); len(leaks) > 0 {
				t.Errorf("the password went to %v", leaks)
			}
		})
	}
}
