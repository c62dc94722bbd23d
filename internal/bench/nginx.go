//go:build linux

package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"text/template"
)

// nginxTemplate is the registry mirror that people build with nginx: the answer
// to a path is kept under that path, and the registry's redirect to its CDN is
// followed by nginx itself. What is not needed for that is tuned in its favour.
var nginxTemplate = template.Must(template.New("nginx.conf").Parse(`{{if .User}}user {{.User}}; # else root's workers are nobody, who cannot enter this folder
{{end -}}
daemon off; # a child of the benchmark
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log warn;
worker_processes auto; # one for each core
worker_rlimit_nofile 65536;

events {
    worker_connections 4096;
    multi_accept on;
}

http {
    access_log {{.Dir}}/access.log; # as everybody has it; the other servers write one too
    sendfile on; # hits go from the page cache to the socket
    tcp_nopush on; # full packets
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 100000000; # the load generator's connections stay
    client_max_body_size 0;
    open_file_cache max=10000 inactive=60s; # hits without open(2)
    client_body_temp_path {{.Dir}}/body;
    fastcgi_temp_path {{.Dir}}/fastcgi;
    uwsgi_temp_path {{.Dir}}/uwsgi;
    scgi_temp_path {{.Dir}}/scgi;
    proxy_temp_path {{.Dir}}/proxy;

    # Temporary files in the cache's own folder: a finished one is renamed, not copied.
    proxy_cache_path {{.Dir}}/cache levels=1:2 keys_zone=registry:64m max_size=50g inactive=60d use_temp_path=off;
    proxy_cache_key $uri; # who asks does not matter, the signature of a CDN's URL neither
    proxy_cache_lock on; # one fetch for all who ask meanwhile ...
    proxy_cache_lock_timeout 880s; # ... however long it takes; the default is 5 s
    proxy_cache_lock_age 880s;
    proxy_cache_use_stale error timeout updating http_429 http_500 http_502 http_503 http_504;
    proxy_ignore_headers X-Accel-Expires Expires Cache-Control Set-Cookie Vary;
    proxy_http_version 1.1;
    proxy_set_header Connection ""; # connections to the registry stay open
    proxy_set_header Host {{.Host}};
    proxy_read_timeout 900s;
    proxy_buffer_size 16k;
    proxy_buffers 16 64k; # a few reads and writes for a MB; the default is 8 of 4k
    proxy_busy_buffers_size 128k;
    # proxy_ssl_verify stays off, its default, and slice off: the common recipe.

    upstream registry {
        server {{.Host}};
        keepalive 64;
    }

    server {
        listen {{.Listen}}{{if .Cert}} ssl{{end}} reuseport backlog=1024;
{{- if .Cert}}
        ssl_certificate {{.Cert}};
        ssl_certificate_key {{.Key}};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
{{- end}}

        location /v2/ {
            proxy_pass {{.Scheme}}://registry;
            proxy_cache registry;
            proxy_cache_valid 200 60s; # tags
            proxy_intercept_errors on;
            recursive_error_pages on;
            error_page 301 302 307 = @redirected;
        }
        location ~ ^/v2/.+/(manifests|blobs)/sha256: {
            proxy_pass {{.Scheme}}://registry;
            proxy_cache registry;
            proxy_cache_valid 200 60d; # what has a digest never changes
            proxy_intercept_errors on;
            recursive_error_pages on;
            error_page 301 302 307 = @redirected;
        }
        location @redirected {
            set $saved_location $upstream_http_location;
            proxy_set_header Connection "";
            proxy_set_header Host $proxy_host;
            proxy_set_header Authorization ""; # a CDN takes its signature or a token, not both
            proxy_pass $saved_location;
            proxy_cache registry;
            proxy_cache_valid 200 60d;
        }
    }
}
`))

type nginxValues struct{ User, Dir, Host, Scheme, Listen, Cert, Key string }

// nginxConfig is the text of nginx.conf. User is what the workers run as when
// nginx is started as root.
func nginxConfig(v nginxValues) string {
	var text strings.Builder
	if err := nginxTemplate.Execute(&text, v); err != nil {
		panic(err) // of strings, into memory
	}
	return text.String()
}

func writeNginx(s *server, up setup) error {
	v := nginxValues{Dir: s.dir, Listen: s.target.addr}
	v.Scheme, v.Host, _ = strings.Cut(up.upstreams[0].url, "://")
	if up.cert != nil {
		v.Cert, v.Key = up.cert.cert, up.cert.key
	}
	if os.Geteuid() == 0 {
		me, err := user.Current()
		if err != nil {
			return err
		}
		v.User = me.Username
	}
	return os.WriteFile(filepath.Join(s.dir, "nginx.conf"), []byte(nginxConfig(v)), 0o600)
}
