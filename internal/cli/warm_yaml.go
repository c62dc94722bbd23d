package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml reads a Compose file or Kubernetes manifests, also several documents in
// one file. JSON is YAML, too.
func (d *document) yaml(data []byte) {
	d.braces = bytes.Contains(data, []byte("{{"))
	in := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, why := yamlError(err)
			d.fault(line, "%v", d.unreadable(why))
			return
		}
		// A mistake in one document does not keep the next one from being read, but
		// what is no YAML ends the file: there is no telling where the next begins.
		d.one(doc.Content[0])
	}
}

// errTemplate is what to do about a Helm chart: what its images are, only Helm
// knows.
var errTemplate = errors.New("this looks like a template; render it first, as in: helm template CHART | pullchain cache warm -f -")

// unreadable says what is the matter with a document that cannot be read. Braces are
// no sign on their own, since dashboards and alerts in ConfigMaps are full of
// them.
func (d *document) unreadable(why string) error {
	if d.braces {
		return fmt.Errorf("%w (%s)", errTemplate, why)
	}
	return errors.New(why)
}

// yamlError cuts the line out of an error of the decoder, "yaml: line 3: why".
func yamlError(err error) (line int, why string) {
	why = strings.TrimPrefix(err.Error(), "yaml: ")
	if number, rest, ok := strings.Cut(strings.TrimPrefix(why, "line "), ": "); ok {
		if n, err := strconv.Atoi(number); err == nil {
			return n, rest
		}
	}
	return 1, why
}

// one reads one document.
func (d *document) one(n *yaml.Node) {
	var head struct {
		APIVersion yaml.Node `yaml:"apiVersion"`
		Kind       yaml.Node `yaml:"kind"`
		Services   yaml.Node `yaml:"services"`
		Include    yaml.Node `yaml:"include"`
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" { // "---" with nothing behind it
		return
	}
	err := n.Decode(&head)
	switch {
	case err == nil && head.APIVersion.Kind == yaml.ScalarNode && head.Kind.Kind == yaml.ScalarNode:
		w := podWalk{document: d, seen: map[*yaml.Node]bool{}}
		w.node(n)
	case err == nil && head.Services.Kind != 0:
		if head.Include.Kind != 0 {
			d.note(head.Include.Line, "include: the files that it names are not read, give them too")
		}
		d.compose(&head.Services)
	default:
		d.fault(n.Line, "%v", d.unreadable("neither a Compose file (services:) nor a Kubernetes manifest (apiVersion:, kind:)"))
	}
}

// compose reads the services of a Compose file. What is built where it runs, is
// in no registry.
func (d *document) compose(n *yaml.Node) {
	var services map[string]yaml.Node
	if err := n.Decode(&services); err != nil {
		d.fault(n.Line, "services: not a list of services by name")
		return
	}
	// By name, for maps have no order; the images are sorted by their lines in the
	// end.
	for _, name := range slices.Sorted(maps.Keys(services)) {
		node := services[name]
		var service struct {
			Image yaml.Node `yaml:"image"`
			Build yaml.Node `yaml:"build"`
		}
		if err := node.Decode(&service); err != nil {
			d.fault(node.Line, "service %s: not a service", name)
			continue
		}
		if service.Image.Kind == 0 {
			continue
		}
		if service.Build.Kind != 0 {
			d.note(service.Image.Line, "service %s is built and not pulled: left out", name)
			continue
		}
		d.take(&service.Image, d.env)
	}
}

// take takes the image that a node names. env fills in its variables; nil leaves
// it as it is.
func (d *document) take(n *yaml.Node, env lookup) {
	line := n.Line
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	text := strings.TrimSpace(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode, strings.Contains(text, "{{"):
		d.fault(line, "image: %v", d.unreadable("not a name"))
		return
	case n.Tag == "!!null" || text == "":
		return
	}
	if env != nil {
		var err error
		if text, err = expand(n.Value, env); err != nil {
			d.fault(line, "image %s: %v", n.Value, err)
			return
		}
	}
	d.found = append(d.found, imageRef{text, line})
}

// A podWalk looks for containers in Kubernetes objects of any kind: Pods,
// Deployments, CronJobs, Lists, and what others have made with a pod's template
// in it.
type podWalk struct {
	*document
	seen map[*yaml.Node]bool // an alias may stand in many places, and in itself
}

// containerLists are the fields of a pod that hold containers (Kubernetes API,
// PodSpec).
var containerLists = []string{"containers", "initContainers", "ephemeralContainers"}

// node looks at a node and all below it. Every node once: aliases may make a
// document of a few lines grow without end.
func (w podWalk) node(n *yaml.Node) {
	if w.seen[n] {
		return
	}
	w.seen[n] = true
	switch n.Kind {
	case yaml.AliasNode:
		w.node(n.Alias)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			w.node(item)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.field(n.Content[i].Value, n.Content[i+1])
		}
	}
}

// field takes the images of a field that holds containers or volumes, and looks
// below it in any case: custom resources nest pods in other fields.
func (w podWalk) field(key string, value *yaml.Node) {
	list := value
	if list.Kind == yaml.AliasNode {
		list = list.Alias
	}
	if list.Kind == yaml.SequenceNode && !w.seen[list] {
		for _, item := range list.Content {
			switch {
			case slices.Contains(containerLists, key):
				w.image(child(item, "image"))
			case key == "volumes": // an image as a volume: volumes[].image.reference
				w.image(child(child(item, "image"), "reference"))
			}
		}
	}
	w.node(value)
}

func (w podWalk) image(n *yaml.Node) {
	if n != nil {
		w.take(n, nil)
	}
}

// child returns what a mapping has under key, or nil. n may be nil.
func child(n *yaml.Node, key string) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
