// What a caller of ../worker.js gets, and what the registries behind it are asked, in real workerd: npm test

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import http from "node:http";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { blob, call, cdn, gzipped, login, manifest, manifestType, registry, reply, sha256, tokens, world } from "./fake.mjs";
import { start } from "./run.mjs";

const CDN = "production.cloudfront.docker.com";
const hub = () => ({ "registry-1.docker.io": registry(), "auth.docker.io": tokens, [CDN]: cdn(blob) });
const code = (res) => JSON.parse(res.body).errors[0].code;
const blobURL = (w, name = "library/app") => `${w.url}/v2/${name}/blobs/${sha256(blob)}`;

process.once("SIGTERM", () => process.exit(1)); // the runner's time-out: the exit handler ends workerd

// authorize gets the Authorization header for one URL of the Worker.
async function authorize(url) {
  const res = await call(url, { method: "HEAD" });
  assert.equal(res.status, 401);
  return (await login(url, res.headers["www-authenticate"])).authorization;
}

test("nine registries, each in every form", async (t) => {
  const origins = {
    "docker.io": "registry-1.docker.io", "ghcr.io": "ghcr.io", "quay.io": "quay.io", "gcr.io": "gcr.io",
    "registry.k8s.io": "registry.k8s.io", "mcr.microsoft.com": "mcr.microsoft.com", "nvcr.io": "nvcr.io",
    "docker.elastic.co": "docker.elastic.co", "public.ecr.aws": "public.ecr.aws",
    "index.docker.io": "registry-1.docker.io", "k8s.gcr.io": "registry.k8s.io",
  };
  const open = (req, res) => reply(res, 200, { "Content-Type": manifestType }, manifest);
  const w = await world(t, Object.fromEntries(Object.values(origins).map((host) => [host, open])),
    { routes: JSON.stringify({ mirror: "ghcr.io", "mirror.deep": "quay.io", stale: "gone.example" }) });
  const asked = async (path, headers) => {
    w.ledger.length = 0;
    const res = await call(w.url + path, { headers });
    return [res.status, ...w.ledger.map((entry) => entry.url)];
  };
  for (const [name, host] of Object.entries(origins)) {
    const want = [200, `https://${host}/v2/a/b/manifests/1`];
    assert.deepEqual(await asked(`/v2/${name}/a/b/manifests/1`), want);
    assert.deepEqual(await asked(`/${name}/v2/a/b/manifests/1`), want);
    assert.deepEqual(await asked(`/v2/a/b/manifests/1?ns=${name}`), want);
    assert.deepEqual(await asked(`/v2/${name}/a/b/manifests/1?ns=${name}`), want);
    for (const ping of [`/v2/${name}/`, `/v2/${name}`, `/${name}/v2/`, `/v2/?ns=${name}`]) {
      assert.deepEqual(await asked(ping), [200, `https://${host}/v2/`], ping);
    }
  }
  const byHost = (host) => asked("/v2/a/b/manifests/1", { Host: host });
  assert.deepEqual(await byHost("mirror.example.com"), [200, "https://ghcr.io/v2/a/b/manifests/1"]);
  assert.deepEqual(await byHost("mirror.deep.example.com"), [200, "https://quay.io/v2/a/b/manifests/1"]);
  assert.deepEqual(await byHost("mirrored.example.com"), [200, "https://registry-1.docker.io/v2/a/b/manifests/1"]);
  assert.deepEqual(await byHost("stale.example.com"), [404]);
  assert.deepEqual(await asked("/v2/google.com/sdk/manifests/1?ns=gcr.io"), [200, "https://gcr.io/v2/google.com/sdk/manifests/1"]);
});

test("an unknown registry, endpoint or name is answered here and never dialled", async (t) => {
  const w = await world(t, {});
  const sha = "sha256:" + "a".repeat(64);
  for (const [path, status, want] of [
    ["/v2/evil.example/a/b/manifests/1", 404, "NAME_UNKNOWN"],
    ["/v2/127.0.0.1:5000/a/manifests/1", 404, "NAME_UNKNOWN"],
    ["/evil.example/v2/a/b/manifests/1", 404, "NAME_UNKNOWN"],
    ["/v2/a/b/manifests/1?ns=evil.example", 404, "NAME_UNKNOWN"],
    ["/v2/?ns=constructor", 404, "NAME_UNKNOWN"],
    ["/constructor/v2/", 404, "NAME_UNKNOWN"],
    ["/v2/auth?ns=evil.example&scope=repository:a/b:pull", 404, "NAME_UNKNOWN"],
    ["/", 404, "UNSUPPORTED"],
    ["/https://evil.example/", 404, "UNSUPPORTED"],
    ["/v2/_catalog", 404, "UNSUPPORTED"],
    ["/v2/a/b/tags/all", 404, "UNSUPPORTED"],
    ["/v2/a/b/constructor/1", 404, "UNSUPPORTED"],
    ["/v2/A/b/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a//b/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a%2fb/manifests/1", 400, "NAME_INVALID"],
    ["/v2/a/%2e%2e%2f/manifests/1", 400, "NAME_INVALID"],
    [`/v2/${"a/".repeat(130)}b/manifests/1`, 400, "NAME_INVALID"],
    ["/v2/a/b/manifests/-x", 400, "MANIFEST_INVALID"],
    ["/v2/a/b/manifests/sha256:abc", 400, "MANIFEST_INVALID"],
    ["/v2/a/b/blobs/latest", 400, "DIGEST_INVALID"],
    ["/v2/a/b/referrers/latest", 400, "DIGEST_INVALID"],
    [`/v2/a/b/tags/${sha}`, 404, "UNSUPPORTED"],
  ]) {
    const res = await call(w.url + path);
    assert.deepEqual([res.status, code(res), res.headers["content-type"]], [status, want, "application/json"], path);
  }
  assert.deepEqual(w.ledger, []);
});

test("the whole pull: challenge, token, manifest, blob; logins stay where they belong", async (t) => {
  const w = await world(t, hub());
  const ping = await call(w.url + "/v2/");
  assert.equal(ping.status, 401);
  assert.equal(ping.headers["www-authenticate"], `Bearer realm="${w.url}/v2/auth?ns=docker.io",service="registry.docker.io"`);
  assert.equal(ping.headers["docker-distribution-api-version"], "registry/2.0");
  assert.equal(code(ping), "UNAUTHORIZED");

  // A one-component name is library/ everywhere: in the challenge, in the scope, in the path; and there is no 301.
  const first = await call(w.url + "/v2/app/manifests/1");
  assert.match(first.headers["www-authenticate"], /,scope="repository:library\/app:pull"$/);
  const { res: token, authorization } = await login(w.url, first.headers["www-authenticate"]);
  assert.deepEqual(Object.keys(JSON.parse(token.body)).sort(), ["access_token", "expires_in", "token"]);

  w.ledger.length = 0;
  const headers = { Authorization: authorization, Accept: manifestType, "X-Pullchain-Key": "k", Cookie: "c=1", "X-Other": "x" };
  const man = await call(w.url + "/v2/app/manifests/1", { headers });
  assert.equal(man.status, 200);
  assert.deepEqual(man.body, manifest);
  const { date, connection, ...rest } = man.headers;
  assert.deepEqual(rest, {
    "content-type": manifestType, "content-length": String(manifest.length), "docker-content-digest": sha256(manifest),
    "docker-distribution-api-version": "registry/2.0", etag: '"m1"', "ratelimit-limit": "100;w=21600",
    "ratelimit-remaining": "20;w=21600", "docker-ratelimit-source": "192.0.2.1", "cache-control": "no-store, no-transform",
    "oci-namespace": "docker.io",
  });
  const seen = w.ledger[0].headers;
  assert.equal(seen.accept, manifestType);
  assert.equal(seen["accept-encoding"], "identity");
  assert.equal(seen["cache-control"], "no-cache"); // fetch's no-store: Cloudflare's cache stays out of it
  for (const name of ["x-pullchain-key", "cookie", "x-other"]) assert.equal(seen[name], undefined, name);

  const got = await call(blobURL(w, "app"), { headers: { Authorization: authorization } });
  assert.equal(got.status, 200);
  assert.deepEqual(got.body, blob);
  assert.equal(got.headers["docker-content-digest"], sha256(blob)); // said by the registry, not by the CDN
  assert.equal(got.headers["docker-distribution-api-version"], "registry/2.0");
  const [registryHop, cdnHop] = w.ledger.slice(1);
  assert.ok(registryHop.headers.authorization);
  assert.equal(cdnHop.host, CDN);
  assert.equal(cdnHop.headers.authorization, undefined);
});

test("a token goes only to the registry that gave it", async (t) => {
  const w = await world(t, { ...hub(), "ghcr.io": registry({ realm: "https://ghcr.io/token", service: "ghcr.io" }) });
  const authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  const foreign = [authorization, "Bearer got-elsewhere", "Basic dTpw"];
  for (const value of foreign) {
    w.ledger.length = 0;
    const res = await call(w.url + "/v2/ghcr.io/library/app/manifests/1", { headers: { Authorization: value } });
    assert.equal(res.status, 401);
    assert.deepEqual(w.ledger.map((entry) => entry.headers.authorization), [undefined], value);
  }
});

test("scopes: real names, pulling only, service and realm from the registry", async (t) => {
  const w = await world(t, { ...hub(), "ghcr.io": (req, res, url) =>
    (url.pathname === "/token" ? tokens : registry({ realm: "https://ghcr.io/token", service: "ghcr.io" }))(req, res, url),
  "public.ecr.aws": (req, res) => reply(res, 401,
    { "WWW-Authenticate": 'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"' }) });
  const scopes = async (query) => {
    w.ledger.length = 0;
    const res = await call(`${w.url}/v2/auth?${query}`);
    const asked = w.ledger.find((entry) => entry.host === "auth.docker.io");
    const params = asked && new URL(asked.url).searchParams;
    return [res.status, ...(params?.getAll("scope") ?? [])];
  };
  const cases = [
    ["scope=repository:app:pull", 200, "repository:library/app:pull"],
    ["scope=repository:library/app:pull", 200, "repository:library/app:pull"],
    ["scope=repository:docker.io/app:pull&ns=docker.io", 200, "repository:library/app:pull"],
    ["scope=repository:index.docker.io/a/b:pull", 200, "repository:a/b:pull"],
    ["scope=repository:a/b:pull,push", 200, "repository:a/b:pull"],
    ["scope=repository:a/b:pull&scope=repository:c/d:pull", 200, "repository:a/b:pull", "repository:c/d:pull"],
    ["scope=repository:a/b:pull%20repository:c/d:push", 200, "repository:a/b:pull"],
    ["scope=repository:a/b:push", 403],
    ["scope=registry:catalog:*", 403],
    ["scope=repository:A/b:pull", 400],
    ["scope=repository:a/b%26x=y:pull", 400],
    ["", 200],
  ];
  for (const [query, ...want] of cases) assert.deepEqual(await scopes(query), want, query);

  w.ledger.length = 0; // a scope that names another registry is that registry's
  await call(`${w.url}/v2/auth?ns=docker.io&scope=repository:ghcr.io/a/b:pull`);
  assert.equal(w.ledger.at(-1).url, "https://ghcr.io/token?service=ghcr.io&scope=repository%3Aa%2Fb%3Apull");

  await call(`${w.url}/v2/auth?service=evil&realm=https://evil.example/&account=x&scope=repository:a/b:pull`);
  assert.equal(w.ledger.at(-1).url, "https://auth.docker.io/token?service=registry.docker.io&scope=repository%3Aa%2Fb%3Apull");
  assert.equal(w.ledger.at(-1).headers.accept, "application/json");
  await call(`${w.url}/v2/auth?ns=public.ecr.aws&scope=aws`); // its own challenge names no repository
  assert.equal(new URL(w.ledger.at(-1).url).searchParams.get("scope"), "aws");
  for (const method of ["HEAD", "POST"]) {
    assert.equal((await call(`${w.url}/v2/auth?scope=repository:a/b:pull`, { method })).status, 405);
  }
});

test("a registry login goes to the token server, and there only", async (t) => {
  const w = await world(t, hub());
  const headers = { Authorization: "Basic dTpw" };
  assert.equal((await call(`${w.url}/v2/auth?scope=repository:a/b:pull`, { headers })).status, 200);
  assert.deepEqual(w.ledger.map(({ host, headers: h }) => [host, h.authorization]),
    [["registry-1.docker.io", undefined], ["auth.docker.io", "Basic dTpw"]]);
  w.ledger.length = 0; // the realm is remembered: one request for the next token
  await call(`${w.url}/v2/auth?scope=repository:a/b:pull`, { headers: { Authorization: "Bearer x" } });
  assert.deepEqual(w.ledger.map(({ host, headers: h }) => [host, h.authorization]), [["auth.docker.io", undefined]]);
});

test("a token server that is elsewhere, redirects or talks nonsense is a 502", async (t) => {
  const answers = {
    "a foreign realm": [{ "registry-1.docker.io": registry({ realm: "https://evil.example/token" }) }, []],
    "a plain realm": [{ "registry-1.docker.io": registry({ realm: "http://auth.docker.io/token" }) }, []],
    "a look-alike realm": [{ "registry-1.docker.io": registry({ realm: "https://auth.docker.io.evil.example/token" }) }, []],
    "a login in the realm": [{ "registry-1.docker.io": registry({ realm: "https://u:p@auth.docker.io/token" }) }, []],
    "a redirect": [{ "auth.docker.io": (req, res) => reply(res, 302, { Location: "https://evil.example/" }) }, ["auth.docker.io"]],
    "HTML": [{ "auth.docker.io": (req, res) => reply(res, 200, {}, "<html>") }, ["auth.docker.io"]],
    "no token": [{ "auth.docker.io": (req, res) => reply(res, 200, {}, "{}") }, ["auth.docker.io"]],
    "too much": [{ "auth.docker.io": (req, res) => reply(res, 200, {}, JSON.stringify({ token: "x".repeat(70000) })) }, ["auth.docker.io"]],
  };
  for (const [what, [hosts, more]] of Object.entries(answers)) {
    const w = await world(t, { ...hub(), ...hosts });
    const res = await call(`${w.url}/v2/auth?scope=repository:a/b:pull`, { headers: { Authorization: "Basic dTpw" } });
    assert.deepEqual([res.status, code(res)], [502, "UNAVAILABLE"], what);
    assert.deepEqual(w.ledger.map((entry) => entry.host), ["registry-1.docker.io", ...more], what);
  }
});

test("Range and If-Range reach the CDN, HEAD stays HEAD", async (t) => {
  const w = await world(t, hub());
  const Authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  const cases = [
    [{ Range: "bytes=10-19" }, 206, "bytes 10-19/4096", blob.subarray(10, 20)],
    [{ Range: "bytes=4000-" }, 206, "bytes 4000-4095/4096", blob.subarray(4000)],
    [{ Range: "bytes=10-19", "If-Range": '"b1"' }, 206, "bytes 10-19/4096", blob.subarray(10, 20)],
    [{ Range: "bytes=10-19", "If-Range": '"old"' }, 200, undefined, blob],
    [{ Range: "bytes=5000-" }, 416, "bytes */4096", Buffer.alloc(0)],
  ];
  for (const [headers, status, range, body] of cases) {
    w.ledger.length = 0;
    const res = await call(blobURL(w), { headers: { Authorization, ...headers } });
    assert.deepEqual([res.status, res.headers["content-range"]], [status, range], JSON.stringify(headers));
    assert.equal(res.headers["content-length"], String(body.length));
    assert.deepEqual(res.body, body);
    for (const entry of w.ledger) assert.deepEqual([entry.headers.range, entry.headers["if-range"]], [headers.Range, headers["If-Range"]]);
  }
  for (const [url, length, hops] of [
    [blobURL(w), blob.length, ["HEAD registry-1.docker.io", `HEAD ${CDN}`]],
    [w.url + "/v2/app/manifests/1", manifest.length, ["HEAD registry-1.docker.io"]],
  ]) {
    w.ledger.length = 0;
    const res = await call(url, { method: "HEAD", headers: { Authorization } });
    assert.deepEqual([res.status, res.headers["content-length"], res.body.length], [200, String(length), 0]);
    assert.deepEqual(w.hosts(), hops);
  }
});

test("redirects: only to hosts of the table, only https, at most five, never with a login again", async (t) => {
  let next;
  const redirecting = (req, res, url) => (next(url) ? reply(res, 307, { Location: next(url) }) : cdn(blob)(req, res));
  const w = await world(t, { "registry-1.docker.io": redirecting, [CDN]: redirecting });
  const to = async (location, path = "/v2/library/app") => {
    next = typeof location === "function" ? location : (url) => (url.host === "registry-1.docker.io" ? location : null);
    w.ledger.length = 0;
    const res = await call(`${w.url}${path}/blobs/${sha256(blob)}`, { headers: { Authorization: "Bearer docker.io~t" } });
    return [res.status, w.ledger.length];
  };
  for (const location of ["https://evil.example/x", `http://${CDN}/x`, `https://${CDN}.evil.example/`, `https://u:p@${CDN}/`,
    `https://${CDN}:8443/`, "https://127.0.0.1/", "https://169.254.169.254/latest", "https://quay.io/v2/", "file:///etc/passwd", "https://"]) {
    assert.deepEqual(await to(location), [502, 1], location);
  }
  assert.deepEqual(await to(`https://${CDN}/x`), [200, 2]);
  assert.deepEqual(await to(`//${CDN}/x`), [200, 2]);
  const chain = (n) => (url) => {
    const hop = Number(url.searchParams.get("n") ?? 0);
    return hop < n ? `https://${CDN}/x?n=${hop + 1}` : null;
  };
  assert.deepEqual(await to(chain(5)), [200, 6]);
  assert.deepEqual(await to(chain(6)), [502, 6]);
  assert.ok(w.ledger.slice(1).every((entry) => entry.headers.authorization === undefined));

  // There and back: the way back to the registry has no Authorization either.
  await to((url) => (url.host === CDN ? "https://registry-1.docker.io/final" : url.pathname === "/final" ? null : `https://${CDN}/x`));
  assert.deepEqual(w.ledger.map(({ host, headers }) => [host, headers.authorization]),
    [["registry-1.docker.io", "Bearer t"], [CDN, undefined], ["registry-1.docker.io", undefined]]);
  // On the registry itself it stays (relative Location: Artifact Registry).
  await to((url) => (url.pathname === "/artifacts-downloads/x" ? null : "/artifacts-downloads/x"));
  assert.deepEqual(w.ledger.map(({ headers }) => headers.authorization), ["Bearer t", "Bearer t"]);
});

test("each registry's known CDNs are let through, and a look-alike is not", async (t) => {
  const known = {
    "docker.io": ["production.cloudflare.docker.com", CDN, "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com"],
    "ghcr.io": ["pkg-containers.githubusercontent.com"],
    "quay.io": ["cdn.quay.io", "cdn01.quay.io", "cdn03.quay.io"],
    "gcr.io": ["storage.googleapis.com", "us-docker.pkg.dev"],
    "registry.k8s.io": ["europe-west4-docker.pkg.dev", "prod-registry-k8s-io-eu-central-1.s3.dualstack.eu-central-1.amazonaws.com"],
    "mcr.microsoft.com": ["westeurope.data.mcr.microsoft.com"],
    "nvcr.io": ["layers.nvcr.io"],
    "docker.elastic.co": ["docker-registry-production.d24a988e385e0074d717b6bdaea58f0d.r2.cloudflarestorage.com"],
    "public.ecr.aws": ["d2glxqk2uabbnd.cloudfront.net", "d5l0dvt14r5h8.cloudfront.net"],
  };
  let location;
  const origin = (req, res) => reply(res, 307, { Location: location });
  const names = [...Object.keys(known), "registry-1.docker.io"];
  const w = await world(t, { ...Object.fromEntries(Object.values(known).flat().map((host) => [host, cdn(blob)])),
    ...Object.fromEntries(names.map((host) => [host, origin])) });
  for (const [name, hosts] of Object.entries(known)) {
    for (const host of hosts) {
      location = `https://${host}/x`;
      assert.equal((await call(blobURL(w, `${name}/a/b`))).status, 200, host);
      for (const wrong of [`${host}.evil.example`, `x.${host}`, host.replace(".", "-"), "docker-images-prod.evil.example.r2.cloudflarestorage.com"]) {
        location = `https://${wrong}/x`;
        const res = await call(blobURL(w, `${name}/a/b`));
        assert.deepEqual([res.status, JSON.parse(res.body).errors[0].detail.host], [502, wrong]);
      }
    }
  }
});

test("the secret: without it nothing is asked, with it everything works", async (t) => {
  const w = await world(t, hub(), { secret: "s3cret-ü" });
  const key = Buffer.from("s3cret-ü").toString("latin1"); // the bytes of the UTF-8 text, as Go sends them
  for (const given of [undefined, "", "s3cret", "s3cret-x", "s3cret-ü "]) {
    for (const path of ["/v2/", "/v2/app/manifests/1", "/v2/auth?scope=repository:a/b:pull", "/"]) {
      const headers = given === undefined ? {} : { "X-Pullchain-Key": given.replace("ü", "u") };
      const res = await call(w.url + path, { headers });
      assert.deepEqual([res.status, code(res)], [403, "DENIED"], `${given} ${path}`);
    }
  }
  assert.deepEqual(w.ledger, []);
  const res = await call(w.url + "/v2/", { headers: { "X-Pullchain-Key": key } });
  assert.equal(res.status, 401);
  assert.equal(w.ledger[0].headers["x-pullchain-key"], undefined);
});

test("writes are 405 in OCI words", async (t) => {
  const w = await world(t, hub());
  for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
    const res = await call(w.url + "/v2/a/b/blobs/uploads/", { method });
    assert.deepEqual([res.status, code(res), res.headers.allow], [405, "UNSUPPORTED", "GET, HEAD"], method);
  }
  assert.deepEqual(w.ledger, []);
});

test("what a challenge quotes stays quoted", async (t) => {
  const w = await world(t, { "quay.io": (req, res) => reply(res, 401,
    { "WWW-Authenticate": 'Basic realm="x", Bearer service="a\\"b, realm=\\"c" , realm="https://quay.io/v2/auth"' }) });
  const res = await call(w.url + "/v2/quay.io/");
  assert.equal(res.headers["www-authenticate"], `Bearer realm="${w.url}/v2/auth?ns=quay.io",service="a\\"b, realm=\\"c"`);
});

test("the registry's refusals arrive as they are", async (t) => {
  let answer;
  const w = await world(t, { ...hub(), "registry-1.docker.io": (req, res) => reply(res, ...answer), "auth.docker.io": (req, res) => reply(res, ...answer) });
  const quota = '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}';
  for (const [status, headers, body] of [
    [429, { "Content-Type": "application/json", "Retry-After": "7", "RateLimit-Remaining": "0;w=21600", "Docker-RateLimit-Source": "192.0.2.1" }, quota],
    [429, { "Content-Type": "text/plain" }, "Too Many Requests (HAP429)."],
    [429, { "Content-Type": "application/json", "Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT" }, "retry-after: 1.16ms, allowed: 44000/minute"],
    [404, { "Content-Type": "application/json" }, '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'],
    [403, { "Content-Type": "application/json" }, '{"errors":[{"code":"DENIED"}]}'],
    [500, { "Content-Type": "text/html" }, "<html>oops</html>"],
    [503, { "Retry-After": "30" }, ""],
    [522, { "Content-Type": "text/html" }, "<html>522</html>"],
  ]) {
    answer = [status, headers, body];
    for (const path of ["/v2/", "/v2/a/b/manifests/1", "/v2/auth?scope=repository:a/b:pull"]) {
      const res = await call(w.url + path);
      assert.deepEqual([res.status, res.body.toString()], [status, body], path);
      for (const [name, value] of Object.entries(headers)) assert.equal(res.headers[name.toLowerCase()], value, name);
    }
  }
  answer = [304, { ETag: '"m1"' }, ""];
  const res = await call(w.url + "/v2/a/b/manifests/1", { headers: { "If-None-Match": '"m1"' } });
  assert.deepEqual([res.status, res.headers.etag], [304, '"m1"']);
  assert.equal(w.ledger.at(-1).headers["if-none-match"], '"m1"');
});

test("a CDN's 401 is a fault of that host and no challenge", async (t) => {
  let headers;
  const w = await world(t, { ...hub(), [CDN]: (req, res) => reply(res, 401, headers) });
  const Authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  for (headers of [{}, { "WWW-Authenticate": 'Bearer realm="https://evil.example/"' }, { "WWW-Authenticate": 'Bearer realm="https://auth.docker.io/token"' }]) {
    const res = await call(blobURL(w), { headers: { Authorization } });
    assert.deepEqual([res.status, res.headers["www-authenticate"]], [502, undefined]);
    assert.equal(JSON.parse(res.body).errors[0].detail.host, CDN);
  }
});

test("the next page is one of the Worker's, in the caller's own form", async (t) => {
  let link;
  const w = await world(t, { "quay.io": (req, res) => reply(res, 200, { Link: link, "Content-Type": "application/json" }, '{"tags":[]}') });
  const next = async (value, path) => {
    link = value;
    return (await call(w.url + path)).headers.link;
  };
  const page = "/v2/a/b/tags/list?n=2&next_page=tok%3D";
  assert.equal(await next(`<${page}>; rel="next"`, "/v2/quay.io/a/b/tags/list?n=2"), '</v2/quay.io/a/b/tags/list?n=2&next_page=tok%3D>; rel="next"');
  assert.equal(w.ledger.at(-1).url, "https://quay.io/v2/a/b/tags/list?n=2");
  assert.equal(await next(`<https://quay.io${page}>;rel=next`, "/v2/a/b/tags/list?n=2&ns=quay.io"), '</v2/a/b/tags/list?n=2&next_page=tok%3D&ns=quay.io>; rel="next"');
  assert.equal(w.ledger.at(-1).url, "https://quay.io/v2/a/b/tags/list?n=2");
  assert.equal(await next(`<https://evil.example${page}>; rel="next"`, "/v2/quay.io/a/b/tags/list"), undefined);
  assert.equal(await next('</v2/other/tags/list?n=1>; rel="next"', "/v2/quay.io/a/b/tags/list"), undefined);
});

test("a body streams: the first bytes arrive before the last are sent, and a cut stays a cut", async (t) => {
  let release, cut;
  const body = Buffer.alloc(64 * 1024, 7);
  const w = await world(t, { ...hub(), [CDN]: async (req, res) => {
    res.writeHead(200, cut === "chunked" ? {} : { "Content-Length": body.length * 2 });
    res.write(body);
    await new Promise((resolve) => { release = resolve; });
    if (cut) res.destroy();
    else res.end(body);
  } });
  const Authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  for (cut of [null, "length", "chunked"]) {
    const req = http.get(blobURL(w), { headers: { Authorization }, agent: false });
    const [res] = await once(req, "response");
    let size = 0;
    res.on("data", (chunk) => {
      size += chunk.length;
      if (size === body.length) release();
    });
    const whole = await new Promise((resolve) => {
      res.once("end", () => resolve(res.complete));
      res.once("error", () => resolve(false));
    });
    assert.deepEqual([whole, size], cut ? [false, body.length] : [true, body.length * 2], String(cut));
  }
});

// workerd sees that the caller is gone when it next has a byte for it, not before: hence a CDN that keeps sending.
test("a caller that goes away ends the download", async (t) => {
  const w = await world(t, { ...hub(), [CDN]: (req, res) => {
    res.writeHead(200, { "Content-Length": 1 << 30 });
    const drip = setInterval(() => res.write(Buffer.alloc(64 * 1024)), 10);
    res.on("close", () => clearInterval(drip));
  } });
  const Authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  const req = http.get(blobURL(w), { headers: { Authorization }, agent: false });
  const [res] = await once(req, "response");
  await once(res, "data");
  req.destroy();
  while (!w.ledger.at(-1).closed) await new Promise((resolve) => setTimeout(resolve, 5)); // or the runner's time-out comes
});

test("a big body arrives byte for byte", async (t) => {
  const big = Buffer.alloc(32 * 1024 * 1024);
  for (let i = 0; i < big.length; i += 4) big.writeUInt32LE(Math.imul(i, 2654435761) >>> 0, i);
  const w = await world(t, { ...hub(), [CDN]: cdn(big) });
  const Authorization = await authorize(w.url + "/v2/library/app/manifests/1");
  const res = await call(blobURL(w), { headers: { Authorization } });
  assert.deepEqual([res.status, res.headers["content-length"], sha256(res.body)], [200, String(big.length), sha256(big)]);
});

test("what was compressed against our wish arrives plain, or not at all", async (t) => {
  let answer;
  const w = await world(t, { "quay.io": (req, res) => answer(req, res) });
  const get = (method) => call(w.url + "/v2/quay.io/a/b/manifests/1", { method });
  answer = gzipped(manifest);
  const whole = await get("GET");
  assert.deepEqual([whole.status, whole.body.toString(), whole.headers["content-encoding"], whole.headers.etag],
    [200, manifest.toString(), undefined, undefined]);
  assert.equal((await get("HEAD")).headers["content-length"], undefined);
  answer = gzipped(manifest, "gzip", 206);
  assert.equal((await get("GET")).status, 502);
  answer = gzipped(manifest, "zstd");
  assert.equal((await get("GET")).status, 502);
});

test("bad variables are said, not guessed at", async (t) => {
  for (const options of [
    { registries: "{" }, { registries: "[]" }, { routes: "7" },
    { registries: '{"docker.io":{"origin":"http://127.0.0.1:1"}}' },
    { registries: '{"x.example":{}}' },
    { registries: '{"docker.io":{"blobs":"cdn"}}' },
    { registries: '{"not a host":{"origin":"https://x.example"}}' },
  ]) {
    const w = await world(t, hub(), options);
    const res = await call(w.url + "/v2/");
    assert.deepEqual([res.status, /variable (REGISTRIES|ROUTES)/.test(JSON.parse(res.body).errors[0].message)], [500, true], JSON.stringify(options));
    assert.deepEqual(w.ledger, []);
  }
});

test("run.mjs: a registry of one's own over the real network, null takes one away, SIGTERM ends it", async (t) => {
  const own = http.createServer((req, res) => reply(res, 200, { "Content-Type": manifestType }, manifest));
  await new Promise((resolve) => own.listen(0, "127.0.0.1", resolve));
  t.after(() => own.close());
  const registries = JSON.stringify({ "reg.example:5000": { origin: `http://127.0.0.1:${own.address().port}`, http: true }, "quay.io": null });
  const child = spawn(process.execPath, [fileURLToPath(new URL("run.mjs", import.meta.url)), "--port", "0", "--registries", registries, "--secret", "s"],
    { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  const exited = once(child, "exit");
  const [line] = await once(child.stdout.setEncoding("utf8"), "data");
  const url = /^ready (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(line)[1];
  const headers = { "X-Pullchain-Key": "s" };
  const got = await call(`${url}/v2/reg.example:5000/a/b/manifests/1`, { headers });
  assert.deepEqual([got.status, got.body.toString()], [200, manifest.toString()]);
  assert.equal((await call(`${url}/v2/quay.io/a/b/manifests/1`, { headers })).status, 404);
  child.kill("SIGTERM");
  assert.deepEqual(await exited, [0, null]);
});

test("a Worker that cannot reach the registry says so", async (t) => {
  const worker = await start({ registries: '{"docker.io":{"origin":"http://127.0.0.1:9","http":true}}' });
  t.after(() => worker.stop());
  const res = await call(`${worker.url}/v2/a/b/manifests/1`);
  assert.deepEqual([res.status, code(res), JSON.parse(res.body).errors[0].detail.host], [502, "UNAVAILABLE", "127.0.0.1:9"]);
});
