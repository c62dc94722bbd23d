// Package prometheus_test holds the alert rules, their tests and the Grafana dashboard
// to the metrics that there are (docs/metrics.md). With the tag e2e promtool checks and
// runs the rules.
package prometheus_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// read returns a file of the folder.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A table has the labels of each metric, and its type.
type table map[string]metric

type metric struct {
	kind   string
	labels []string
}

var row = regexp.MustCompile("(?m)^\\| `(pullchain_\\w+)` \\| (\\w+) \\| ([\\w, ]*) \\|")

func tableOf(t *testing.T) table {
	t.Helper()
	out := table{}
	for _, m := range row.FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		out[m[1]] = metric{m[2], strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })}
	}
	if len(out) < 30 {
		t.Fatalf("the table has %d rows", len(out))
	}
	return out
}

// scraped are the labels that Prometheus adds, and those of alerts.
var scraped = []string{"instance", "job", "le", "severity", "alertname"}

var (
	name     = regexp.MustCompile(`\b(pullchain_\w+)\b(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*["'$]`)
	grouping = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)
)

// faults says what an expression or a legend has that is in no row of the table.
func (all table) faults(text string) []string {
	var out []string
	any := slices.Clone(scraped)
	for _, m := range name.FindAllStringSubmatch(text, -1) {
		is, ok := all[m[1]]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(m[1], suffix); !ok && cut && all[base].kind == "histogram" {
				is, ok = all[base], true
			}
		}
		if !ok {
			out = append(out, m[1]+" is no metric")
		}
		any = append(any, is.labels...)
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if ok && !slices.Contains(is.labels, l[1]) && !slices.Contains(scraped, l[1]) {
				out = append(out, fmt.Sprintf("%s has no label %s", m[1], l[1]))
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(text, -1) {
		for l := range strings.SplitSeq(m[1], ",") {
			if l = strings.TrimSpace(l); !slices.Contains(any, l) {
				out = append(out, fmt.Sprintf("%q: no metric in it has the label %s", text, l))
			}
		}
	}
	for _, m := range legend.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(any, m[1]) && m[1] != "value" {
			out = append(out, fmt.Sprintf("%q: no metric in it has the label %s", text, m[1]))
		}
	}
	return out
}

func TestFaultsAreFound(t *testing.T) {
	t.Parallel()
	all := table{"pullchain_a_total": {"counter", []string{"registry"}}, "pullchain_b_seconds": {"histogram", []string{"phase"}}}
	for text, want := range map[string]int{
		`sum by (registry) (rate(pullchain_a_total{registry="x", job="y"}[5m]))`: 0,
		`histogram_quantile(0.9, pullchain_b_seconds_bucket{phase=~"x"})`:        0,
		`pullchain_b_seconds{le="1"} {{phase}} {{ $labels.instance }}`:           0,
		`pullchain_a_totals`:                                      1,
		`pullchain_a_total_bucket`:                                1,
		`pullchain_a_total{registri="x"}`:                         1,
		`sum by (upstream) (pullchain_a_total)`:                   1,
		`pullchain_a_total == 1 {{ $labels.upstream }} {{phase}}`: 2,
	} {
		if got := all.faults(text); len(got) != want {
			t.Errorf("%s: %q, want %d", text, got, want)
		}
	}
}

type rules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// Every alert speaks of metrics and labels that there are, says how bad it is and what to
// do, and has a case that fires and one that does not.
func TestRules(t *testing.T) {
	t.Parallel()
	var r rules
	if err := yaml.Unmarshal([]byte(read(t, "rules.yml")), &r); err != nil {
		t.Fatal(err)
	}
	fires, silent := cases(t)
	all := tableOf(t)
	for _, rule := range r.Groups[0].Rules {
		for _, fault := range all.faults(strings.Join(append(slices.Sorted(maps.Values(rule.Annotations)), rule.Expr), " ")) {
			t.Errorf("%s: %s", rule.Alert, fault)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, rule.Labels["severity"]) || rule.Annotations["summary"] == "" || rule.Annotations["next"] == "" {
			t.Errorf("%s: %v, %v", rule.Alert, rule.Labels, rule.Annotations)
		}
		if !fires[rule.Alert] || !silent[rule.Alert] {
			t.Errorf("%s: a case that fires %v, one that does not %v", rule.Alert, fires[rule.Alert], silent[rule.Alert])
		}
		delete(fires, rule.Alert)
	}
	for alert := range fires {
		t.Errorf("cases of %s, which is no alert", alert)
	}
}

// cases returns the alerts that rules_test.yml has a firing case of, and a silent one. It
// fails the test for a series that no daemon has.
func cases(t *testing.T) (fires, silent map[string]bool) {
	t.Helper()
	var file struct {
		Tests []struct {
			InputSeries []struct{ Series string } `yaml:"input_series"`
			Alerts      []struct {
				Name string `yaml:"alertname"`
				Exp  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "rules_test.yml")), &file); err != nil {
		t.Fatal(err)
	}
	all := tableOf(t)
	fires, silent = map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, s := range test.InputSeries {
			for _, fault := range all.faults(s.Series) {
				t.Errorf("rules_test.yml: %s", fault)
			}
		}
		for _, a := range test.Alerts {
			if len(a.Exp) > 0 {
				fires[a.Name] = true
			} else {
				silent[a.Name] = true
			}
		}
	}
	return fires, silent
}

type dashboard struct {
	Title         string
	SchemaVersion int `json:"schemaVersion"`
	Panels        []panel
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
}

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource *struct{ Type, UID string }
	GridPos    struct{ H, W, X, Y int } `json:"gridPos"`
	Targets    []struct {
		Expr         string
		LegendFormat string `json:"legendFormat"`
		RefID        string `json:"refId"`
		Datasource   struct{ UID string }
	}
}

// The dashboard is JSON that Grafana takes, lies on its grid without two panels in one
// place, asks the data source that its reader chooses, and only for what there is.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "../grafana/pullchain.json")), &d); err != nil {
		t.Fatal(err)
	}
	all := tableOf(t)
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		for _, fault := range all.faults(v.Definition) {
			t.Errorf("variable %s: %s", v.Name, fault)
		}
	}
	if !variables["datasource"] || !variables["registry"] || d.Title == "" || d.SchemaVersion < 36 {
		t.Errorf("%q, schema %d, variables %v", d.Title, d.SchemaVersion, variables)
	}
	used := map[string]bool{}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its number is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		at := p.GridPos
		if at.X+at.W > 24 || at.W == 0 || at.H == 0 {
			t.Errorf("%s lies at %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource == nil) {
			t.Errorf("%s asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			for _, fault := range all.faults(q.Expr + " " + q.LegendFormat) {
				t.Errorf("%s: %s", p.Title, fault)
			}
			if q.Datasource.UID != "${datasource}" || q.RefID == "" {
				t.Errorf("%s %s asks the data source %q", p.Title, q.RefID, q.Datasource.UID)
			}
			for _, m := range name.FindAllStringSubmatch(q.Expr, -1) {
				used[m[1]] = true
			}
		}
	}
	if len(used) < 25 {
		t.Errorf("only %d metrics are drawn", len(used))
	}
}

// The scrape configuration names the address of the operator's plane.
func TestScrapeConfig(t *testing.T) {
	t.Parallel()
	var cfg struct {
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			Job    string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "prometheus.yml")), &cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.Scrape) != 1 || cfg.Scrape[0].Job != "pullchain" || cfg.Scrape[0].Static[0].Targets[0] != "127.0.0.1:5152" || cfg.RuleFiles[0] != "rules.yml" {
		t.Errorf("%+v", cfg)
	}
}
