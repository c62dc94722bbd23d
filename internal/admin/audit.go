package admin

import (
	"net/http"

	"github.com/pullchain/pullchain/internal/cache"
)

// audit logs what an operator did to the cache, or had fetched into it, as lanes' actions are
// logged: with the actor, the reason, and what came of it.
func (h *handler) audit(r *http.Request, action, what, reason string, done cache.Change, err error) {
	if h.Log == nil {
		return
	}
	attrs := []any{"action", action, "actor", h.actor(r), "what", tidy(what), "reason", tidy(reason)}
	if err != nil {
		h.Log.Warn("operator: not done", append(attrs, "error", err)...)
		return
	}
	h.Log.Info("operator", append(attrs, "objects", done.Objects, "bytes", done.Bytes)...)
}
