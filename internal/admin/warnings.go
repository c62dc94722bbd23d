package admin

import (
	"net/http"
	"time"

	"github.com/pullchain/pullchain/internal/diagnose"
	"github.com/pullchain/pullchain/internal/messages"
)

// Warnings answers GET /api/v1/warnings.
type Warnings struct {
	Schema   int           `json:"schema"` // the constant Schema
	Now      time.Time     `json:"now"`
	Warnings []WarningText `json:"warnings"` // the most severe first
}

// A WarningText is a warning in a reader's language.
type WarningText struct {
	diagnose.Warning
	Title  string `json:"title"`
	Advice string `json:"advice"` // what to do about it; Fix is the command for that
}

// warningRoutes are what is wrong as a whole.
var warningRoutes = []route{{
	method: http.MethodGet, path: "/api/v1/warnings", serve: (*handler).warnings,
	doc: doc{
		id: "warnings", about: "What is wrong, one warning for each cause, with what to do about it.", answer: Warnings{},
		query: []param{{"lang", "string", "en or zh"}},
	},
}}

// warnings answers with the warnings of the moment.
func (h *handler) warnings(w http.ResponseWriter, r *http.Request) {
	s := h.Snapshot()
	answer(w, r, Warnings{Schema: Schema, Now: s.Now, Warnings: TellWarnings(messages.In(r.URL.Query().Get("lang")), s)})
}

// TellWarnings returns the warnings of s in the language of m.
func TellWarnings(m *messages.Catalogue, s Snapshot) []WarningText {
	out := make([]WarningText, 0, len(s.Warnings))
	for _, w := range s.Warnings {
		out = append(out, WarningText{w, w.Title(m, s.Now), w.Advice(m, s.Now)})
	}
	return out
}
