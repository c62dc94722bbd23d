package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/pullchain/pullchain/healthcheck"
)

// An Operator does what is asked of a running daemon.
type Operator interface {
	// Act does one thing, or says why not: the error is a [*Refusal], or one of the
	// daemon's own. It checks the action with [Action.Check] first.
	Act(ctx context.Context, a Action) (Outcome, error)
}

// A Kind is what an Action does. Its words are those of the URLs, with "_" for "-".
type Kind string

// The kinds. Those up to KindReorder are overrides: they end by themselves.
const (
	KindDrain   Kind = "drain"   // nothing new; what is in flight finishes
	KindDisable Kind = "disable" // no traffic and no probes; what is in flight finishes
	KindPin     Kind = "pin"     // one upstream of a registry is asked first, while it can be asked
	KindReorder Kind = "reorder" // the upstreams of a registry are asked in this order; none: as configured

	KindEnable         Kind = "enable" // ends a drain or a disable
	KindUnpin          Kind = "unpin"
	KindProbe          Kind = "probe"           // now, once in 5 s
	KindReset          Kind = "reset"           // forgets all that was learnt of an upstream
	KindResetBreaker   Kind = "reset_breaker"   // of all classes
	KindClearCooldown  Kind = "clear_cooldown"  // also one that the upstream asked for
	KindLiftQuarantine Kind = "lift_quarantine" // of the upstream, and of single digests
	KindReload         Kind = "reload"          // reads the configuration again
)

// The lives of an override.
const (
	DefaultTTL = time.Hour
	MaxTTL     = 30 * 24 * time.Hour
)

// An Action is one thing that an operator wants done.
type Action struct {
	Kind     Kind
	Registry string        // empty for KindReload
	Upstream string        // empty where it is about a registry; for KindPin the one to be asked first
	Order    []string      // of KindReorder: every upstream once, or none
	TTL      time.Duration // of an override; 0 is DefaultTTL
	Reason   string        // as people give it
	Force    bool          // even if no upstream is left by it that may be asked
	Actor    string        // the credential and the address that it came by
}

// Check returns a as it is to be done: with its TTL, and the texts fit to be shown. The
// error is a *Refusal.
func (a Action) Check() (Action, error) {
	switch {
	case !a.overrides() || a.Kind == KindReorder && len(a.Order) == 0: // it has no end
		a.TTL = 0
	case a.TTL == 0:
		a.TTL = DefaultTTL
	case a.TTL < time.Second || a.TTL > MaxTTL:
		return a, refuse(http.StatusBadRequest, "bad_request", "ttl_s is a number of seconds from 1 to %d: what is to stay longer belongs into the configuration", int64(MaxTTL.Seconds()))
	}
	a.Reason, a.Actor = tidy(a.Reason), tidy(a.Actor)
	return a, nil
}

// overrides reports whether a ends by itself.
func (a Action) overrides() bool {
	return slices.Contains([]Kind{KindDrain, KindDisable, KindPin, KindReorder}, a.Kind)
}

// maxReason is how many characters of a reason are kept.
const maxReason = 200

// tidy takes out of a text what could steer a terminal, or turn the direction of what
// stands beside it, and cuts it.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	runes := []rune(strings.TrimSpace(text))
	return string(runes[:min(len(runes), maxReason)])
}

// An Outcome is what an Action has done. What its kind does not have is empty or null.
type Outcome struct {
	Operation Kind       `json:"operation"`
	Registry  string     `json:"registry"`
	Upstream  string     `json:"upstream"`
	Before    string     `json:"before"` // of an upstream its state; of a pin the upstream pinned; of an order the names, with commas
	After     string     `json:"after"`
	ExpiresAt *time.Time `json:"expires_at"` // of an override
	Kept      bool       `json:"kept"`       // the override outlives a restart
	InFlight  int64      `json:"in_flight"`  // requests that the upstream is still busy with
	TOML      string     `json:"toml"`       // of an override: the configuration that would make it permanent
	Probes    []Probed   `json:"probes"`     // of KindProbe; null for others
}

// Probed is how the probe of one upstream went.
type Probed struct {
	Upstream string `json:"upstream"`
	healthcheck.Result
}

// An Override is something that an operator wants for a while.
type Override struct {
	Kind      Kind      `json:"kind"` // drain, disable, pin or reorder
	Registry  string    `json:"registry"`
	Upstream  string    `json:"upstream"` // empty for reorder
	Order     []string  `json:"order"`    // null for all but reorder
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	ExpiresAt time.Time `json:"expires_at"`
	Forced    bool      `json:"forced"` // also where it leaves the registry without any upstream
}

// A Refusal is why an action was not done, as a program is told it (RFC 9457).
type Refusal struct {
	Status int    // of the answer
	Code   string // such as "would_leave_none"
	Detail string
	Retry  time.Duration // of 429: when it is worth asking again
}

// Error returns the detail.
func (r *Refusal) Error() string { return r.Detail }

func refuse(status int, code, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// ErrNoRegistry returns the refusal for a registry that is not configured.
func ErrNoRegistry(name string) *Refusal {
	return refuse(http.StatusNotFound, "unknown_registry", "there is no registry %q in the configuration", name)
}

// ErrNoUpstream returns the refusal for an upstream that is not configured.
func ErrNoUpstream(registry, name string) *Refusal {
	return refuse(http.StatusNotFound, "unknown_upstream", "there is no upstream %q of %s in the configuration", name, registry)
}

// The codes of refusals that a page answers by asking once more.
const (
	codeLeavesNone   = "would_leave_none"
	codeNotConfirmed = "not_confirmed"
)

// ErrLeavesNone returns the refusal for taking the last upstream that may be asked.
func ErrLeavesNone(registry string) *Refusal {
	return refuse(http.StatusConflict, codeLeavesNone, "%s would have no upstream left that may be asked; say force if it is meant so", registry)
}

// OperateRequest is the body of the POSTs that do something to a registry or an upstream.
// All of it may be left out, but for what the kind needs.
type OperateRequest struct {
	TTLS     *int64    `json:"ttl_s,omitempty"` // of an override; an hour if it is left out
	Reason   string    `json:"reason,omitempty"`
	Force    bool      `json:"force,omitempty"`
	Upstream string    `json:"upstream,omitempty"` // of pin
	Order    *[]string `json:"order,omitempty"`    // of reorder; an empty list is the configured one
}

// operateRoutes are what can be done to upstreams, registries, and the configuration.
var operateRoutes = slices.Concat(
	actionRoute(KindDrain, upstreamPath+":drain", "Sends an upstream nothing new; what is in flight finishes.", "would_leave_none"),
	actionRoute(KindDisable, upstreamPath+":disable", "Sends an upstream nothing new, and no probes; what is in flight finishes.", "would_leave_none"),
	actionRoute(KindEnable, upstreamPath+":enable", "Ends a drain or a disable."),
	actionRoute(KindProbe, upstreamPath+":probe", "Probes an upstream now. Once in five seconds.", "too_soon", "not_probed"),
	actionRoute(KindReset, upstreamPath+":reset", "Forgets all that was learnt of an upstream."),
	actionRoute(KindResetBreaker, upstreamPath+":reset-breaker", "Closes an upstream's breakers."),
	actionRoute(KindClearCooldown, upstreamPath+":clear-cooldown", "Ends an upstream's cooldowns, also those that it asked for: this can use up a quota, or make a ban longer."),
	actionRoute(KindLiftQuarantine, upstreamPath+":lift-quarantine", "Trusts an upstream's bytes again; each of them is verified all the same."),
	actionRoute(KindPin, registryPath+":pin", "Asks one upstream of a registry first, while it can be asked."),
	actionRoute(KindUnpin, registryPath+":unpin", "Ends a pin."),
	actionRoute(KindReorder, registryPath+":reorder", "Asks a registry's upstreams in another order; no order is the configured one."),
	actionRoute(KindProbe, registryPath+":probe", "Probes all upstreams of a registry now. Each once in five seconds.", "too_soon", "not_probed"),
	actionRoute(KindReload, "/api/v1/config:reload", "Reads the configuration again, as SIGHUP does.", "config_invalid", "no_reload"),
)

const (
	registryPath = "/api/v1/registries/{registry}"
	upstreamPath = registryPath + "/upstreams/{upstream}"
)

// actionRoute returns the route of one kind.
func actionRoute(k Kind, path, about string, problems ...string) []route {
	known := []string{"bad_request", "not_found", "internal"}
	words := strings.Split(string(k), "_")
	id := words[0]
	for _, w := range words[1:] {
		id += strings.ToUpper(w[:1]) + w[1:]
	}
	switch {
	case strings.HasPrefix(path, upstreamPath):
		id, known = "upstream"+strings.ToUpper(id[:1])+id[1:], append(known, "unknown_registry", "unknown_upstream")
	case strings.HasPrefix(path, registryPath):
		id, known = "registry"+strings.ToUpper(id[:1])+id[1:], append(known, "unknown_registry")
	}
	if k == KindPin {
		known = append(known, "unknown_upstream")
	}
	return []route{{
		method: http.MethodPost, path: path, serve: operate(k),
		doc: doc{id: id, about: about, body: OperateRequest{}, answer: Outcome{}, problems: append(known, problems...)},
	}}
}

// operate returns what does an action of that kind, to what the path and the body say.
func operate(k Kind) func(*handler, http.ResponseWriter, *http.Request) {
	return func(h *handler, w http.ResponseWriter, r *http.Request) {
		var ask OperateRequest
		if !decode(w, r, &ask) {
			return
		}
		a := Action{Kind: k, Registry: r.PathValue("registry"), Upstream: r.PathValue("upstream")}
		if err := a.fill(ask); err != nil {
			refused(w, r, err)
			return
		}
		if done, ok := h.do(w, r, a); ok {
			answer(w, r, done)
		}
	}
}

// fill takes what ask says. The error is a *Refusal.
func (a *Action) fill(ask OperateRequest) error {
	a.Reason, a.Force = ask.Reason, ask.Force
	switch {
	case a.Kind == KindPin && ask.Upstream == "":
		return refuse(http.StatusBadRequest, "bad_request", "upstream is the name of the one to be asked first")
	case a.Kind == KindReorder && ask.Order == nil:
		return refuse(http.StatusBadRequest, "bad_request", "order is the list of all upstreams, or an empty one for the configured order")
	case a.Kind == KindPin:
		a.Upstream = ask.Upstream
	case a.Kind == KindReorder:
		a.Order = *ask.Order
	}
	if ask.TTLS == nil {
		return nil
	}
	if *ask.TTLS < 1 || *ask.TTLS > int64(MaxTTL.Seconds()) { // before it is multiplied
		a.TTL = -1
		return nil
	}
	a.TTL = time.Duration(*ask.TTLS) * time.Second
	return nil
}

// do has the daemon do a, and answers if it does not.
func (h *handler) do(w http.ResponseWriter, r *http.Request, a Action) (Outcome, bool) {
	if h.Operator == nil {
		problem(w, r, http.StatusNotFound, "not_found", "there is no such page")
		return Outcome{}, false
	}
	a.Actor = h.actor(r)
	done, err := h.Operator.Act(r.Context(), a)
	if err != nil {
		refused(w, r, err)
		return done, false
	}
	return done, true
}

// refused answers with why an action was not done.
func refused(w http.ResponseWriter, r *http.Request, err error) {
	no, ok := errors.AsType[*Refusal](err)
	if !ok {
		problem(w, r, http.StatusInternalServerError, "internal", err.Error())
		return
	}
	if no.Retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((no.Retry+time.Second-1)/time.Second), 10))
	}
	problem(w, r, no.Status, no.Code, no.Detail)
}

// actor says by which credential a request came, and from where.
func (h *handler) actor(r *http.Request) string {
	if overSocket(r) {
		return socketActor(r)
	}
	switch {
	case h.cfg.open():
		return "loopback " + actorOf(r)
	case h.loggedIn(r):
		return "login " + actorOf(r)
	}
	return "token " + actorOf(r)
}
