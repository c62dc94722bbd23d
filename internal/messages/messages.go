// Package messages is the catalogue of what the program says to people, in
// English and in Simplified Chinese. Log messages, JSON fields and the codes of
// reasons are not in it: they are the same in every language.
package messages

import (
	"embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/BurntSushi/toml"
)

//go:embed en.toml zh.toml
var files embed.FS

// The languages.
const (
	English = "en"
	Chinese = "zh"
)

// A Catalogue is all texts in one language. It never changes.
type Catalogue struct {
	texts map[string]string // "status.registry" -> text with {placeholders}
}

var catalogues = sync.OnceValue(func() map[string]*Catalogue {
	out := map[string]*Catalogue{}
	for _, lang := range []string{English, Chinese} {
		data, err := files.ReadFile(lang + ".toml")
		if err != nil {
			panic(err) // it is embedded
		}
		tree := map[string]any{}
		if err := toml.Unmarshal(data, &tree); err != nil {
			panic(fmt.Sprintf("messages: %s.toml: %v", lang, err)) // a test reads it
		}
		c := &Catalogue{texts: map[string]string{}}
		c.flatten("", tree)
		out[lang] = c
	}
	return out
})

func (c *Catalogue) flatten(prefix string, tree map[string]any) {
	for key, value := range tree {
		switch v := value.(type) {
		case map[string]any:
			c.flatten(prefix+key+".", v)
		case string:
			c.texts[prefix+key] = v
		default:
			panic(fmt.Sprintf("messages: %s%s is no text", prefix, key))
		}
	}
}

// In returns the Catalogue of a language or locale name, as in "zh", "zh-CN" or
// "zh_CN.UTF-8". What is not Chinese is English.
func In(locale string) *Catalogue {
	if isChinese(locale) {
		return catalogues()[Chinese]
	}
	return catalogues()[English]
}

// Of returns the Catalogue for a person: explicit, if it is not empty, else the
// first of LC_ALL, LC_MESSAGES and LANG that is set (POSIX, "Internationalization
// Variables"). env is os.Getenv, but for tests.
func Of(explicit string, env func(string) string) *Catalogue {
	for _, locale := range []string{explicit, env("LC_ALL"), env("LC_MESSAGES"), env("LANG")} {
		if locale != "" {
			return In(locale)
		}
	}
	return In(English)
}

// Preferred returns the Catalogue for an Accept-Language header (RFC 9110, 12.5.4): that
// of our languages with the greatest weight, the first of two with the same; without
// any of them English.
func Preferred(header string) *Catalogue {
	best, weight := In(English), 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(part, ";")
		tag = strings.ToLower(strings.TrimSpace(tag))
		if !isChinese(tag) && tag != English && !strings.HasPrefix(tag, English+"-") {
			continue
		}
		q := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			var err error
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				continue
			}
		}
		if q > weight {
			best, weight = In(tag), q
		}
	}
	return best
}

func isChinese(locale string) bool {
	l := strings.ToLower(locale)
	rest, ok := strings.CutPrefix(l, "zh")
	return ok && (rest == "" || strings.ContainsRune("-_.@", rune(rest[0])))
}

// Has reports whether there is a text for key.
func (c *Catalogue) Has(key string) bool { return c.texts[key] != "" }

// Keys returns all keys in order.
func (c *Catalogue) Keys() []string { return slices.Sorted(maps.Keys(c.texts)) }

// Text returns the text for key with its {placeholders} filled in from pairs of
// a name and a value, as in Text("back", "wait", "14 min"). A key without a text
// is returned as it is, which people can still search for. {n:pull|pulls} is the first word
// where n is 1, else the second.
func (c *Catalogue) Text(key string, pairs ...any) string {
	text, ok := c.texts[key]
	if !ok {
		return key
	}
	oldnew := make([]string, 0, len(pairs))
	for i := 0; i+1 < len(pairs); i += 2 {
		oldnew = append(oldnew, fmt.Sprintf("{%v}", pairs[i]), fmt.Sprint(pairs[i+1]))
	}
	return strings.NewReplacer(oldnew...).Replace(numbered(text, oldnew))
}

// choice is what numbered puts a word for.
var choice = regexp.MustCompile(`(\{\w+):([^{}|]*)\|([^{}|]*)\}`)

// numbered chooses the words of text that depend on a number, which is in oldnew.
func numbered(text string, oldnew []string) string {
	if !strings.Contains(text, "|") {
		return text
	}
	return choice.ReplaceAllStringFunc(text, func(found string) string {
		m := choice.FindStringSubmatch(found)
		if i := slices.Index(oldnew, m[1]+"}"); i >= 0 && oldnew[i+1] == "1" {
			return m[2]
		}
		return m[3]
	})
}
