// A fake internet for ../worker.js: every request of the Worker arrives at one HTTP proxy in this process, which
// knows the host that was meant, keeps a ledger and answers as that host.

import { createHash } from "node:crypto";
import http from "node:http";
import { gzipSync } from "node:zlib";
import { start } from "./run.mjs";

export const sha256 = (bytes) => "sha256:" + createHash("sha256").update(bytes).digest("hex");
export const manifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}');
export const blob = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 31) % 251));
export const manifestType = "application/vnd.oci.image.manifest.v1+json";

// world starts a fake internet and a Worker that sees it, both ended with the test t.
// hosts: host -> (req, res, url) => void. Unknown hosts answer 421, which no test expects.
export async function world(t, hosts, options = {}) {
  const ledger = [];
  const proxy = http.createServer({ requireHostHeader: false }, (req, res) => {
    const url = new URL(req.url);
    const entry = { method: req.method, url: url.href, host: url.host, headers: req.headers, closed: false };
    ledger.push(entry);
    res.on("close", () => { entry.closed = true; });
    const handler = hosts[url.host];
    if (handler) handler(req, res, url);
    else reply(res, 421, {}, "no such host in this test");
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const worker = await start({ internet: `127.0.0.1:${proxy.address().port}`, ...options });
  t.after(async () => {
    await worker.stop();
    proxy.closeAllConnections();
    proxy.close();
  });
  return { url: worker.url, ledger, hosts: () => ledger.map((entry) => `${entry.method} ${entry.host}`) };
}

// reply answers with a Content-Length, on HEAD that of the body that is not sent.
export function reply(res, status, headers, body = "") {
  res.writeHead(status, { "Content-Length": Buffer.byteLength(body), ...headers });
  res.end(res.req.method === "HEAD" ? undefined : body);
}

// registry answers as a registry that asks for tokens and sends blobs to a CDN.
export function registry({ realm = "https://auth.docker.io/token", service = "registry.docker.io", cdn = "production.cloudfront.docker.com" } = {}) {
  return (req, res, url) => {
    const api = { "Docker-Distribution-Api-Version": "registry/2.0" };
    const name = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\//.exec(url.pathname)?.[1];
    const scope = name && `repository:${name}:pull`;
    const token = `Bearer ${tokenFor(service, scope ?? "")}`;
    if (req.headers.authorization !== token) {
      const challenge = `Bearer realm="${realm}",service="${service}"${scope ? `,scope="${scope}"` : ""}`;
      return reply(res, 401, { ...api, "WWW-Authenticate": challenge, "Content-Type": "application/json" },
        '{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
    }
    if (!name) return reply(res, 200, api, "{}");
    if (url.pathname.includes("/blobs/")) {
      return reply(res, 307, { ...api, Location: `https://${cdn}/data?sig=1`, "Docker-Content-Digest": sha256(blob) });
    }
    return reply(res, 200, {
      ...api, "Content-Type": manifestType, "Docker-Content-Digest": sha256(manifest), ETag: '"m1"',
      "RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "20;w=21600", "Docker-RateLimit-Source": "192.0.2.1",
      "Set-Cookie": "a=b", Server: "nginx", "Strict-Transport-Security": "max-age=1",
    }, manifest);
  };
}

const tokenFor = (service, scope) => Buffer.from(`${service} ${scope}`).toString("base64url");

// tokens answers as a token server whose tokens are good for what was asked.
export function tokens(req, res, url) {
  const token = tokenFor(url.searchParams.get("service"), url.searchParams.getAll("scope").join(" "));
  reply(res, 200, { "Content-Type": "application/json" }, JSON.stringify({ token, expires_in: 300, refresh_token: "secret" }));
}

// cdn serves one body with ranges, and as S3 does refuses a second way of authentication.
export function cdn(body) {
  return (req, res) => {
    if (req.headers.authorization) return reply(res, 400, {}, "Only one auth mechanism allowed");
    const headers = { "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", ETag: '"b1"' };
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "") ?? [];
    if (first === undefined || (req.headers["if-range"] ?? '"b1"') !== '"b1"') return reply(res, 200, headers, body);
    if (Number(first) >= body.length) return reply(res, 416, { "Content-Range": `bytes */${body.length}` });
    const end = last ? Math.min(Number(last), body.length - 1) : body.length - 1;
    return reply(res, 206, { ...headers, "Content-Range": `bytes ${first}-${end}/${body.length}` }, body.subarray(Number(first), end + 1));
  };
}

// gzipped answers with a compressed body although identity is asked for.
export function gzipped(body, coding = "gzip", status = 200) {
  return (req, res) => reply(res, status, { "Content-Encoding": coding, "Content-Type": manifestType, ETag: '"z"' }, gzipSync(body));
}

// call is one request to the Worker by node's plain client, which follows, decodes and hides nothing.
export function call(url, { method = "GET", headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method, headers, agent: false }, (res) => {
      const chunks = [];
      res.on("data", (chunk) => chunks.push(chunk));
      res.on("end", () => resolve({ status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) }));
      res.on("error", reject);
    });
    req.on("error", reject);
    req.end();
  });
}

// login takes the way of a client: a challenge, a token at its realm, and back the header to send.
export async function login(url, challenge, headers = {}) {
  const param = (key) => new RegExp(`${key}="([^"]*)"`).exec(challenge)?.[1];
  const realm = new URL(param("realm"));
  for (const key of ["service", "scope"]) if (param(key)) realm.searchParams.append(key, param(key));
  const res = await call(realm, { headers });
  return { res, realm, authorization: `Bearer ${JSON.parse(res.body).token}` };
}
