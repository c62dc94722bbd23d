// Package setup makes what clients need so that they pull through the mirror: the
// commands and files of each kind of client, for one address and a list of registries. It
// writes nothing, and knows no page: those that show it are the dashboard and the data
// plane's own.
package setup

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// A Runtime is one kind of client and what makes it use the mirror. Its commands and
// files are the same in every language.
type Runtime struct {
	ID    string // docker, containerd, …
	Name  string
	About string // which registries it is for
	Steps []Step // in order
	Notes []string
}

// A Step is one thing to do.
type Step struct {
	Title   string
	File    string // that the snippet is the content of
	Snippet string
}

// A Mirror is what is told of.
type Mirror struct {
	URL        string   // as clients reach it, without a path: http://127.0.0.1:5151
	Registries []string // by name; one that would need quoting in a shell is left out

	// Text is the catalogue of messages in the reader's language.
	Text func(key string, pairs ...any) string
}

// Runtimes returns every kind of client, the commonest first.
func (m Mirror) Runtimes() []Runtime {
	s := m.snippets()
	all := []Runtime{s.docker(), s.dockerHosts(), s.containerd(), s.podman(), s.k3s(), s.buildkit(), s.desktop(), s.kind(), s.other()}
	for i := range all {
		r := &all[i]
		r.Name, r.About = m.Text("setup.name."+r.ID), m.Text("setup.about."+r.ID)
	}
	return all
}

// Loopback reports whether only this machine reaches the address.
func (m Mirror) Loopback() bool { return m.snippets().loopback }

// Certificate says where clients keep certificates; empty for plain HTTP.
func (m Mirror) Certificate() string {
	s := m.snippets()
	if s.plain {
		return ""
	}
	return m.Text("setup.tls", "host", s.host)
}

// snippets are what the commands and files are made of.
type snippets struct {
	text       func(key string, pairs ...any) string
	mirror     string // http://127.0.0.1:5151
	host       string // 127.0.0.1:5151
	plain      bool   // no TLS
	loopback   bool
	registries []string
}

// shellSafe are names that need no quoting anywhere below; there are no other names of
// registries but by mistake.
var shellSafe = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`)

func (m Mirror) snippets() snippets {
	s := snippets{text: m.Text, mirror: m.URL}
	if u, err := url.Parse(m.URL); err == nil {
		s.host, s.plain = u.Host, u.Scheme == "http"
		s.loopback = isLoopback(u.Hostname())
	}
	for _, name := range m.Registries {
		if shellSafe.MatchString(name) {
			s.registries = append(s.registries, name)
		}
	}
	return s
}

// isLoopback reports whether a host is this machine as only itself sees it.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// named puts the mirror's address, and the list of registries, into a text.
func (s snippets) named(text string) string {
	return strings.NewReplacer("{U}", s.mirror, "{HP}", s.host, "{REGISTRIES}", strings.Join(s.registries, " "), "{DESKTOP}", s.as("host.docker.internal")).Replace(text)
}

// as is the mirror by another name of its host, as it is called from inside a machine
// that has an address of its own.
func (s snippets) as(name string) string {
	u, err := url.Parse(s.mirror)
	if err != nil || !s.loopback {
		return s.mirror
	}
	u.Host = net.JoinHostPort(name, u.Port())
	return u.String()
}

func (s snippets) step(title, file, snippet string) Step {
	return Step{s.text("setup." + title), file, s.named(strings.TrimSpace(snippet))}
}

func (s snippets) docker() Runtime {
	return Runtime{ID: "docker", Steps: []Step{
		s.step("add_to_file", "/etc/docker/daemon.json", `
{
  "registry-mirrors": ["{U}"]
}`),
		s.step("apply", "", "sudo dockerd --validate --config-file /etc/docker/daemon.json && sudo systemctl reload docker"),
		s.step("verify", "", "docker info -f '{{json .RegistryConfig.Mirrors}}'\ndocker pull alpine:3.20"),
		s.step("undo_list", "/etc/docker/daemon.json", `
{
  "registry-mirrors": []
}`),
	}, Notes: []string{s.text("setup.note.docker_hub_only"), s.text("setup.note.docker_keep"), s.text("setup.note.docker_undo")}}
}

// hostsScript writes a hosts.toml for each registry below dir.
func hostsScript(dir, sudo string) string {
	return strings.NewReplacer("{DIR}", dir, "{SUDO}", sudo).Replace(`
dir={DIR}
for reg in {REGISTRIES}; do
  origin=https://$reg
  [ $reg = docker.io ] && origin=https://registry-1.docker.io
  {SUDO}mkdir -p $dir/$reg
  {SUDO}tee $dir/$reg/hosts.toml >/dev/null <<END
# managed by pullchain
server = "$origin"

[host."{U}"]
  capabilities = ["pull", "resolve"]
END
done`)
}

func hostsUndo(dir string) string {
	return "for reg in {REGISTRIES}; do sudo rm -f " + dir + "/$reg/hosts.toml; done"
}

func (s snippets) dockerHosts() Runtime {
	const dir = "/etc/docker/certs.d"
	return Runtime{ID: "docker_hosts", Steps: []Step{
		s.step("check_store", "", "docker info -f '{{.DriverStatus}}'   # io.containerd.snapshotter.v1"),
		s.step("write_files", "", hostsScript(dir, "sudo ")),
		s.step("verify", "", "docker pull ghcr.io/linuxcontainers/alpine:3.20"),
		s.step("undo", "", hostsUndo(dir)),
	}, Notes: []string{s.text("setup.note.no_restart")}}
}

func (s snippets) containerd() Runtime {
	const dir = "/etc/containerd/certs.d"
	return Runtime{ID: "containerd", Steps: []Step{
		s.step("write_files", "", hostsScript(dir, "sudo ")),
		s.step("point_at_dir", "/etc/containerd/config.toml", `
version = 3
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"

# containerd 1.x
# version = 2
# [plugins."io.containerd.grpc.v1.cri".registry]
#   config_path = "/etc/containerd/certs.d"`),
		s.step("apply", "", "sudo systemctl restart containerd"),
		s.step("verify", "", "sudo crictl pull docker.io/library/alpine:3.20\nsudo ctr images pull --hosts-dir /etc/containerd/certs.d docker.io/library/alpine:3.20"),
		s.step("undo", "", hostsUndo(dir)),
	}, Notes: []string{s.text("setup.note.containerd_default"), s.text("setup.note.containerd_mirrors"), s.text("setup.note.nerdctl")}}
}

func (s snippets) podman() Runtime {
	var b strings.Builder
	b.WriteString("# managed by pullchain\n")
	for _, r := range s.registries {
		b.WriteString("[[registry]]\nprefix = \"" + r + "\"\nlocation = \"" + r + "\"\n[[registry.mirror]]\nlocation = \"{HP}/" + r + "\"\n")
		if s.plain {
			b.WriteString("insecure = true\n")
		}
		b.WriteString("\n")
	}
	const file = "/etc/containers/registries.conf.d/050-pullchain.conf"
	return Runtime{ID: "podman", Steps: []Step{
		s.step("write_file", file, b.String()),
		s.step("apply_crio", "", "sudo systemctl reload crio"),
		s.step("verify", "", "podman info -f '{{json .Registries}}'\npodman pull docker.io/library/alpine:3.20"),
		s.step("undo", "", "sudo rm -f "+file),
	}, Notes: []string{s.text("setup.note.podman_prefix"), s.text("setup.note.podman_machine")}}
}

func (s snippets) registriesYAML() string {
	var b strings.Builder
	b.WriteString("mirrors:\n")
	for _, r := range s.registries {
		b.WriteString("  \"" + r + "\":\n    endpoint: [\"{U}\"]\n")
	}
	return b.String()
}

func (s snippets) k3s() Runtime {
	return Runtime{ID: "k3s", Steps: []Step{
		s.step("write_file", "/etc/rancher/k3s/registries.yaml", s.registriesYAML()),
		s.step("apply_nodes", "", "sudo systemctl restart k3s          # k3s-agent, rke2-server, rke2-agent"),
		s.step("verify", "", "sudo k3s crictl pull docker.io/library/alpine:3.20"),
		s.step("undo", "", "sudo rm -f /etc/rancher/k3s/registries.yaml && sudo systemctl restart k3s"),
	}, Notes: []string{s.text("setup.note.rke2"), s.text("setup.note.k3d"), s.text("setup.note.per_node")}}
}

func (s snippets) buildkit() Runtime {
	var b strings.Builder
	for _, r := range s.registries {
		b.WriteString("[registry.\"" + r + "\"]\n  mirrors = [\"{HP}\"]\n")
	}
	if s.plain {
		b.WriteString("[registry.\"{HP}\"]\n  http = true\n")
	}
	return Runtime{ID: "buildkit", Steps: []Step{
		s.step("write_file", "~/.docker/buildx/buildkitd.default.toml", b.String()),
		s.step("apply_builder", "", "docker buildx create --name pullchain --buildkitd-config ~/.docker/buildx/buildkitd.default.toml --driver-opt network=host --use"),
		s.step("verify", "", "printf 'FROM alpine:3.20\\n' | docker buildx build --no-cache --progress plain -"),
		s.step("undo", "", "docker buildx rm pullchain && rm ~/.docker/buildx/buildkitd.default.toml"),
	}, Notes: []string{s.text("setup.note.buildkitd"), s.text("setup.note.buildkit_docker")}}
}

func (s snippets) desktop() Runtime {
	return Runtime{ID: "desktop", Steps: []Step{
		s.step("add_to_file", "~/.docker/daemon.json", `
{
  "registry-mirrors": ["{DESKTOP}"]
}`),
		s.step("apply_desktop", "", "docker desktop restart"),
		s.step("verify", "", "docker info -f '{{json .RegistryConfig.Mirrors}}'\ndocker pull alpine:3.20"),
	}, Notes: []string{s.text("setup.note.desktop_vm"), s.text("setup.note.desktop_others")}}
}

func (s snippets) kind() Runtime {
	return Runtime{ID: "kind", Steps: []Step{
		s.step("write_files_nodes", "", "docker exec -i kind-control-plane sh <<'NODE'\n"+strings.ReplaceAll(strings.TrimSpace(hostsScript("/etc/containerd/certs.d", "")), "{U}", "{DESKTOP}")+"\nNODE"),
		s.step("verify", "", "docker exec kind-control-plane crictl pull docker.io/library/alpine:3.20"),
	}, Notes: []string{s.text("setup.note.kind"), s.text("setup.note.minikube", "mirror", s.as("host.minikube.internal"))}}
}

func (s snippets) other() Runtime {
	return Runtime{ID: "other", Steps: []Step{
		s.step("name_it", "", "docker pull {HP}/ghcr.io/owner/app:v1\ncrane pull {HP}/docker.io/library/alpine:3.20 alpine.tar"),
		s.step("name_api", "", "curl {U}/v2/ghcr.io/owner/app/manifests/v1"),
	}, Notes: append(s.insecure(), s.text("setup.note.tag"))}
}

// insecure is what Docker needs for a mirror without TLS.
func (s snippets) insecure() []string {
	if !s.plain {
		return nil
	}
	return []string{s.text("setup.note.insecure", "host", s.host)}
}
