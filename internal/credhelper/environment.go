package credhelper

import (
	"slices"
	"strings"
)

// passed are the variables that a helper gets of our environment: what it needs to find
// itself, its settings and its cloud. Others may hold secrets of ours, for ${NAME} in the
// configuration, and are none of its business.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ",
	"DOCKER_CONFIG", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME", "PASSWORD_STORE_DIR",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PATHEXT", "TEMP", "TMP",
}

// passedFamilies are beginnings of the names of others.
var passedFamilies = []string{"AWS_", "ECS_", "AZURE_", "ACR_", "CLOUDSDK_", "GOOGLE_", "GCE_", "XDG_", "LC_"}

// environment returns what of ours, as NAME=value, a helper gets.
func environment(ours []string) []string {
	env := []string{} // nil would be all of it
	for _, pair := range ours {
		name, _, _ := strings.Cut(pair, "=")
		name = strings.ToUpper(name) // proxies are named in lower case as well, and Windows does not care
		family := slices.ContainsFunc(passedFamilies, func(f string) bool { return strings.HasPrefix(name, f) })
		if family || slices.Contains(passed, name) {
			env = append(env, pair)
		}
	}
	return env
}
