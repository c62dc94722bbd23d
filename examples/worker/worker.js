// A Cloudflare Worker that relays pulls to nine container registries, written to be an upstream of pullchain.
//
// It answers GET and HEAD of /v2/ only, keeps nothing, and talks to the hosts of the table below and to no others.
// It does no token dance of its own: the registry's 401 is passed on with the realm turned into this Worker's
// /v2/auth, so that the caller, which lives longer than an isolate, keeps the tokens. README.md says more.
//
// Variables (all optional): SHARED_SECRET (text), ROUTES and REGISTRIES (JSON). See README.md.

// Where each registry lives. `auth` may be asked for tokens, `blobs` may be the target of a redirect; both are
// globs in which * stands for part of one label. The hosts are those of the vendors' firewall lists and of
// redirects seen (docs/protocol.md 4.6 and 4.7); when a registry moves its CDN, name the new host in REGISTRIES.
const REGISTRIES = {
  "docker.io": {
    origin: "https://registry-1.docker.io",
    auth: ["auth.docker.io"],
    blobs: ["production.cloudflare.docker.com", "production.cloudfront.docker.com",
      "docker-images-prod.*.r2.cloudflarestorage.com", "docker-images-prod.s3.dualstack.us-east-1.amazonaws.com"],
    library: true, // a one-component name means library/<name>
  },
  "ghcr.io": { origin: "https://ghcr.io", blobs: ["pkg-containers.githubusercontent.com"] },
  "quay.io": { origin: "https://quay.io", blobs: ["cdn.quay.io", "cdn0*.quay.io"] },
  "gcr.io": { origin: "https://gcr.io", blobs: ["storage.googleapis.com", "*.pkg.dev"] },
  "registry.k8s.io": {
    origin: "https://registry.k8s.io",
    blobs: ["*.pkg.dev", "prod-registry-k8s-io-*.s3.dualstack.*.amazonaws.com", "storage.googleapis.com"],
  },
  "mcr.microsoft.com": { origin: "https://mcr.microsoft.com", blobs: ["*.data.mcr.microsoft.com"] },
  "nvcr.io": { origin: "https://nvcr.io", auth: ["nvcr.io", "authn.nvidia.com"], blobs: ["layers.nvcr.io"] },
  "docker.elastic.co": {
    origin: "https://docker.elastic.co",
    auth: ["docker-auth.elastic.co"],
    blobs: ["docker-registry-production.*.r2.cloudflarestorage.com", "storage.googleapis.com"],
  },
  "public.ecr.aws": {
    origin: "https://public.ecr.aws",
    blobs: ["d2glxqk2uabbnd.cloudfront.net", "d5l0dvt14r5h8.cloudfront.net"],
  },
};
const ALIASES = new Map([["index.docker.io", "docker.io"], ["registry-1.docker.io", "docker.io"], ["k8s.gcr.io", "registry.k8s.io"]]);
const DEFAULT = "docker.io";

const MAX_HOPS = 5;
const MAX_TOKEN_BYTES = 64 * 1024;
const REALM_LIFE_MS = 10 * 60 * 1000;
const REDIRECTS = [301, 302, 303, 307, 308];

// The only headers that reach the caller; Set-Cookie, Location, Server and their like stay here.
const RELAYED = ["content-type", "content-length", "content-range", "accept-ranges", "docker-content-digest",
  "docker-distribution-api-version", "etag", "retry-after", "docker-ratelimit-source", "oci-filters-applied"];
// Said by the registry and lost when a CDN answers in its place.
const CARRIED = ["docker-content-digest", "docker-distribution-api-version", "docker-ratelimit-source"];

// distribution-spec, "Pulling manifests": the grammars of <name>, <reference> and digests.
const NAME = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
const DIGEST = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

export default {
  async fetch(request, env) {
    try {
      return await handle(request, env);
    } catch (err) {
      const fault = err instanceof Fault ? err : new Fault(500, "UNKNOWN", "the Worker failed");
      return fault.response(request.method);
    }
  },
};

// Fault is an answer of the Worker's own, in the words of the distribution-spec ("Error Codes").
class Fault extends Error {
  constructor(status, code, message, detail = {}, headers = {}) {
    super(message);
    Object.assign(this, { status, code, detail, headers });
  }
  response(method) {
    const body = JSON.stringify({ errors: [{ code: this.code, message: this.message, detail: this.detail }] });
    return new Response(method === "HEAD" ? null : body, {
      status: this.status,
      headers: { "Content-Type": "application/json", "Cache-Control": "no-store, no-transform", ...this.headers },
    });
  }
}

async function handle(request, env) {
  await checkSecret(request, env);
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new Fault(405, "UNSUPPORTED", "this Worker only pulls", {}, { Allow: "GET, HEAD" });
  }
  const url = new URL(request.url);
  const target = route(url, settings(env));
  if (target.kind === "auth") return token(request, url, target);
  return pull(request, url, target);
}

// checkSecret compares digests, so that neither the length nor the bytes of the secret show in the time taken.
async function checkSecret(request, env) {
  if (!env.SHARED_SECRET) return;
  const sha256 = (text) => crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const [given, want] = await Promise.all([sha256(request.headers.get("X-Pullchain-Key") ?? ""), sha256(env.SHARED_SECRET)]);
  if (!crypto.subtle.timingSafeEqual(given, want)) {
    throw new Fault(403, "DENIED", "the X-Pullchain-Key header is missing or wrong");
  }
}

// --- settings ---------------------------------------------------------------------------------------------------

let memo = {}; // the settings read last; an isolate sees one set of variables

function settings(env) {
  if (memo.table && memo.registries === env.REGISTRIES && memo.routes === env.ROUTES) return memo;
  const table = new Map();
  const over = jsonVariable(env, "REGISTRIES");
  for (const name of new Set([...Object.keys(REGISTRIES), ...Object.keys(over)])) {
    if (over[name] !== null) table.set(name, registry(name, { ...REGISTRIES[name], ...over[name] }));
  }
  const hosts = Object.entries(jsonVariable(env, "ROUTES")).sort(([a], [b]) => b.length - a.length);
  memo = { table, hosts, registries: env.REGISTRIES, routes: env.ROUTES };
  return memo;
}

function jsonVariable(env, name) {
  const value = env[name];
  if (!value) return {};
  try {
    const parsed = typeof value === "string" ? JSON.parse(value) : value;
    if (typeof parsed === "object" && !Array.isArray(parsed) && parsed !== null) return parsed;
  } catch { /* said below, without the text */ }
  throw new Fault(500, "UNKNOWN", `the variable ${name} is not a JSON object`);
}

// registry turns one entry of the table into what the rest works with, and refuses one that makes no sense.
function registry(name, { origin, auth, blobs = [], http = false, library = false }) {
  const wrong = (why) => new Fault(500, "UNKNOWN", `the variable REGISTRIES: ${name}: ${why}`);
  if (!/^[a-z0-9.-]+(:\d+)?$/.test(name)) throw wrong("is not a host name");
  if (!URL.canParse(origin)) throw wrong("origin is not a URL");
  const base = new URL(origin);
  if (base.protocol !== "https:" && !(http && base.protocol === "http:")) throw wrong("origin is not https");
  if (![auth ?? [], blobs].every((list) => Array.isArray(list) && list.every((glob) => typeof glob === "string"))) {
    throw wrong("auth and blobs are lists of hosts");
  }
  return {
    name, library, http,
    origin: base.origin,
    auth: globs(auth ?? [base.host]),
    hops: globs([base.host, ...blobs]),
  };
}

function globs(patterns) {
  return patterns.map((glob) => new RegExp(`^${glob.split("*").map((s) => s.replace(/[.\\+?^${}()|[\]]/g, "\\$&")).join("[a-z0-9-]*")}$`));
}

// --- routing ----------------------------------------------------------------------------------------------------

// route tells which registry is meant, and what of it. Forms, tried in this order: /v2/<registry>/..., /<registry>/v2/...,
// ?ns=<registry>, the Host by ROUTES, else docker.io.
function route(url, { table, hosts }) {
  const known = (name) => table.get(ALIASES.get(name) ?? name);
  let parts = url.pathname.slice(1).split("/");
  let reg;
  if (parts[0] !== "v2" && parts[1] === "v2") {
    reg = known(parts.shift());
    if (!reg) throw unknownRegistry();
  }
  if (parts[0] !== "v2") throw new Fault(404, "UNSUPPORTED", "there is only /v2/ here");
  parts = parts.slice(1);
  if (!reg && known(parts[0])) reg = known(parts.shift());

  const ns = url.searchParams.get("ns");
  if (!reg && ns) {
    reg = known(ns);
    if (!reg) throw unknownRegistry();
  }
  if (!reg) {
    const named = hosts.find(([prefix]) => url.host === prefix || url.hostname.startsWith(prefix + "."));
    if (named) reg = known(named[1]);
    // A dot or a port in the first component is a registry's name, and no name of Docker Hub's.
    else if (parts.length > 2 && /[.:]/.test(parts[0])) throw unknownRegistry();
    reg ??= known(named ? "" : DEFAULT);
  }
  if (!reg) throw unknownRegistry();
  const target = resource(reg, parts);
  // A caller that put <registry>/ before every name pinged the bare /v2/ and so learned docker.io's realm, but its
  // scope says which registry it wants.
  if (target.kind === "auth") reg = known(/^repository:([^/:]+(?::\d+)?)\//.exec(url.searchParams.get("scope") ?? "")?.[1]) ?? reg;
  return { ...target, reg };
}

function unknownRegistry() {
  return new Fault(404, "NAME_UNKNOWN", "this Worker does not relay that registry");
}

// resource parses what stands after /v2/[<registry>/]; the upstream's path is written anew from its parts.
function resource(reg, parts) {
  if (parts.join("") === "" && parts.length <= 1) return { kind: "ping", path: "/v2/" };
  if (parts.length === 1 && parts[0] === "auth") return { kind: "auth" };
  const [kind, ref] = parts.slice(-2);
  const checks = { manifests: TAG, blobs: null, referrers: null, tags: /^list$/ };
  if (parts.length < 3 || !Object.hasOwn(checks, kind)) throw new Fault(404, "UNSUPPORTED", "no such endpoint");
  const name = realName(reg, parts.slice(0, -2).join("/"));
  if (!checks[kind]?.test(ref) && !(kind !== "tags" && DIGEST.test(ref))) {
    if (kind === "tags") throw new Fault(404, "UNSUPPORTED", "no such endpoint");
    if (kind === "manifests") throw new Fault(400, "MANIFEST_INVALID", "the reference is neither a tag nor a digest");
    throw new Fault(400, "DIGEST_INVALID", "the digest is malformed");
  }
  return { kind, path: `/v2/${name}/${kind}/${ref}` };
}

// realName is the repository's name as the registry itself knows it.
function realName(reg, name) {
  if (name.length > 255 || !NAME.test(name)) throw new Fault(400, "NAME_INVALID", "the repository name is malformed");
  return reg.library && !name.includes("/") ? `library/${name}` : name;
}

// --- pulling ----------------------------------------------------------------------------------------------------

async function pull(request, url, { reg, kind, path }) {
  const upstream = new URL(path, reg.origin);
  if (kind === "tags" || kind === "referrers") {
    for (const [key, value] of url.searchParams) if (key !== "ns") upstream.searchParams.append(key, value);
  }
  const headers = requestHeaders(request, kind === "blobs" ? ["range", "if-range"] : []);
  const bearer = ownToken(request, reg);
  if (bearer) headers.set("Authorization", `Bearer ${bearer}`);
  const { res, last, carried } = await follow(reg, upstream, request.method, headers);

  if (res.status === 401 && last.origin !== reg.origin) {
    throw new Fault(502, "UNAVAILABLE", "the host that the registry redirected to asks for a login", { host: last.host });
  }
  const extra = { "OCI-Namespace": reg.name };
  const link = nextPage(res.headers.get("Link"), url, last, upstream);
  if (link) extra.Link = link;
  if (res.status === 401) {
    const challenge = learn(reg, res.headers.get("WWW-Authenticate"));
    if (challenge) extra["WWW-Authenticate"] = ownChallenge(url, reg, challenge);
  }
  return relay(res, request.method, carried, extra);
}

// requestHeaders are written anew for each request: nothing that the caller sends goes on unless it is named here,
// its X-Pullchain-Key and Cloudflare's CF-* least of all.
function requestHeaders(request, more) {
  const headers = new Headers({ "Accept-Encoding": "identity", "User-Agent": "pullchain-worker" });
  for (const name of ["accept", "if-none-match", ...more]) {
    const value = request.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  return headers;
}

// follow asks and follows redirects by hand: fetch's own way would take Authorization along (docs/protocol.md 4.7).
// Each hop is to a host of the table; a login that was dropped is not picked up again on the way back.
async function follow(reg, url, method, headers) {
  const carried = new Headers();
  for (let hop = 0; ; hop++) {
    const res = await ask(url, method, headers);
    if (url.origin === reg.origin) carry(res.headers, carried);
    const location = REDIRECTS.includes(res.status) && res.headers.get("Location");
    if (!location) return { res, last: url, carried };
    await res.body?.cancel();
    if (hop === MAX_HOPS) throw new Fault(502, "UNAVAILABLE", `more than ${MAX_HOPS} redirects`);
    if (!URL.canParse(location, url)) throw new Fault(502, "UNAVAILABLE", "the redirect is not a URL");
    const next = new URL(location, url);
    guard(reg, reg.hops, next, url, "redirect");
    if (next.origin !== url.origin) headers.delete("Authorization");
    url = next;
  }
}

// ask sends one request. no-store keeps Cloudflare's cache out of the way: it would turn a HEAD or a Range of what it
// finds cacheable into a whole GET.
async function ask(url, method, headers) {
  try {
    return await fetch(url, { method, headers, redirect: "manual", cache: "no-store" });
  } catch {
    throw new Fault(502, "UNAVAILABLE", "the upstream host could not be reached", { host: url.host });
  }
}

// guard is why this is no open proxy: an address learned from the network is fetched only if the table has its host.
function guard(reg, allowed, next, from, what) {
  const secure = next.protocol === "https:" || (reg.http && next.protocol === "http:" && from.protocol === "http:");
  if (!secure) throw new Fault(502, "UNAVAILABLE", `the ${what} is not to https`, { host: next.host });
  if (next.username || next.password || !allowed.some((glob) => glob.test(next.host))) {
    throw new Fault(502, "UNAVAILABLE", `the ${what} is to a host that is not on this Worker's list`, { host: next.host });
  }
}

function carry(from, to) {
  for (const [name, value] of from) {
    if (CARRIED.includes(name) || name.startsWith("ratelimit-")) to.set(name, value);
  }
}

// relay passes on status, chosen headers and the body as a stream. no-transform forbids Cloudflare's edge to compress.
function relay(res, method, carried, extra) {
  const headers = new Headers(carried);
  for (const name of RELAYED) {
    const value = res.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  carry(res.headers, headers);
  headers.set("Cache-Control", "no-store, no-transform");
  for (const [name, value] of Object.entries(extra)) headers.set(name, value);
  if (encoded(res)) {
    // Reading the body undoes gzip and br, so length and ETag, which are those of the coded form, are untrue.
    headers.delete("Content-Length");
    headers.delete("ETag");
  }
  const empty = method === "HEAD" || res.status === 204 || res.status === 304;
  return new Response(empty ? null : res.body, { status: res.status, headers });
}

// encoded tells whether the body arrived compressed although identity was asked for (docs/faults.md F47).
function encoded(res) {
  const coding = (res.headers.get("Content-Encoding") ?? "identity").trim().toLowerCase();
  if (coding === "identity" || coding === "") return false;
  if (res.status === 206 || !["gzip", "br"].includes(coding)) {
    throw new Fault(502, "UNAVAILABLE", "the upstream compressed what must not be compressed");
  }
  return true;
}

// nextPage turns the registry's Link to its next page into one of this Worker, in the form that the caller used.
function nextPage(link, url, last, upstream) {
  const match = /<([^>]*)>\s*;\s*rel="?next"?/i.exec(link ?? "");
  if (!match || !URL.canParse(match[1], last)) return null;
  const next = new URL(match[1], last);
  if (next.host !== last.host || next.pathname !== upstream.pathname) return null;
  const ns = url.searchParams.get("ns");
  if (ns) next.searchParams.set("ns", ns);
  return `<${url.pathname}${next.search}>; rel="next"`;
}

// --- tokens -----------------------------------------------------------------------------------------------------

const realms = new Map(); // registry's name -> its last challenge; values only, shared by the requests of an isolate

// learn reads a Bearer challenge (RFC 9110 11.6.1) and remembers it; null if there is none. The realm is the
// registry's word and never the caller's.
function learn(reg, header) {
  const start = /(?:^|,)\s*Bearer\s+/i.exec(header ?? "");
  if (!start) return null;
  const params = {};
  for (const [, key, quoted, bare] of header.slice(start.index + start[0].length).matchAll(/([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi)) {
    params[key.toLowerCase()] ??= quoted?.replace(/\\(.)/g, "$1") ?? bare;
  }
  if (!URL.canParse(params.realm)) return null;
  guard(reg, reg.auth, new URL(params.realm), new URL(reg.origin), "token realm");
  const challenge = { ...params, until: Date.now() + REALM_LIFE_MS };
  realms.set(reg.name, challenge);
  return challenge;
}

function ownChallenge(url, reg, { service, scope, error }) {
  const params = { realm: `${url.origin}/v2/auth?ns=${reg.name}`, service, scope, error };
  return "Bearer " + Object.entries(params).filter(([, v]) => v !== undefined)
    .map(([key, value]) => `${key}="${value.replace(/["\\]/g, "\\$&")}"`).join(",");
}

// token fetches a token for pulling, marked with its registry so that ownToken can hold it to that registry.
async function token(request, url, { reg }) {
  if (request.method !== "GET") throw new Fault(405, "UNSUPPORTED", "tokens are asked for by GET", {}, { Allow: "GET" });
  let challenge = realms.get(reg.name);
  if (!challenge || challenge.until < Date.now()) {
    const { res } = await follow(reg, new URL("/v2/", reg.origin), "GET", requestHeaders(request, []));
    challenge = learn(reg, res.headers.get("WWW-Authenticate"));
    if (!challenge && res.status >= 400) return relay(res, "GET", new Headers(), {});
    await res.body?.cancel();
    if (!challenge) throw new Fault(404, "UNSUPPORTED", "this registry asks for no token");
  }
  const realm = new URL(challenge.realm);
  if (challenge.service) realm.searchParams.set("service", challenge.service);
  for (const scope of pullScopes(url, reg, challenge)) realm.searchParams.append("scope", scope);

  const headers = requestHeaders(request, []);
  headers.set("Accept", "application/json");
  const login = request.headers.get("Authorization");
  if (/^Basic /i.test(login ?? "")) headers.set("Authorization", login);
  const res = await ask(realm, "GET", headers);
  if (![200, 401, 403, 429].includes(res.status)) realms.delete(reg.name); // it may have moved: read it afresh next time
  if (REDIRECTS.includes(res.status)) throw new Fault(502, "UNAVAILABLE", "the token server redirects", { host: realm.host });
  if (res.status !== 200) return relay(res, "GET", new Headers(), {});
  return Response.json(markTokens(await readToken(res), reg), { headers: { "Cache-Control": "no-store, no-transform" } });
}

// pullScopes are the caller's scopes with each repository under its real name and no action but pull. Anything else
// is dropped, unless the registry's own challenge asked for just that (ECR Public: scope="aws").
function pullScopes(url, reg, challenge) {
  const asked = url.searchParams.getAll("scope").flatMap((scope) => scope.split(" ")).filter(Boolean);
  const kept = asked.flatMap((scope) => {
    const [, name, actions] = /^repository:(.+):([a-z,*]+)$/.exec(scope) ?? [];
    if (!name) return scope === challenge.scope ? [scope] : [];
    if (!actions.split(",").includes("pull")) return [];
    const first = name.split("/", 1)[0];
    const ours = name !== first && (ALIASES.get(first) ?? first) === reg.name;
    return [`repository:${realName(reg, ours ? name.slice(first.length + 1) : name)}:pull`];
  });
  if (asked.length > 0 && kept.length === 0) throw new Fault(403, "DENIED", "tokens are given for pulling only");
  return kept;
}

async function readToken(res) {
  const chunks = [];
  let size = 0;
  for await (const chunk of res.body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_TOKEN_BYTES) throw new Fault(502, "UNAVAILABLE", "the token answer is too large");
    chunks.push(chunk);
  }
  try {
    return JSON.parse(await new Blob(chunks).text());
  } catch {
    throw new Fault(502, "UNAVAILABLE", "the token answer is not JSON");
  }
}

// A token leaves as "<registry>~<token>" and comes back so: one that another registry gave, or that was never got
// through this Worker, is sent nowhere. "~" is a token68 character (RFC 9110 11.2), ":" is not.
const mark = (reg) => reg.name.replace(":", "_") + "~";

function markTokens({ token, access_token, expires_in, issued_at }, reg) {
  const value = token || access_token;
  if (typeof value !== "string" || value === "") throw new Fault(502, "UNAVAILABLE", "the token answer has no token");
  return { token: mark(reg) + value, access_token: mark(reg) + value, expires_in, issued_at };
}

function ownToken(request, reg) {
  const [, value] = /^Bearer (.+)$/i.exec(request.headers.get("Authorization") ?? "") ?? [];
  return value?.startsWith(mark(reg)) ? value.slice(mark(reg).length) : null;
}
