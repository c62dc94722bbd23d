// Runs ../worker.js in workerd on loopback, until SIGTERM or SIGINT:
//
//   node run.mjs [--port N] [--secret S] [--registries JSON] [--routes JSON] [--ca FILE]... [--public]
//
// Prints one line, "ready http://127.0.0.1:PORT", when it listens; port 0, the default, takes a free one.
// --ca trusts the certificates of a PEM file besides the browsers' (NODE_EXTRA_CA_CERTS does not reach workerd).
// Without --public the Worker reaches loopback addresses only, so that a test can never leave the machine.
// $SHARED_SECRET stands for --secret where an argument list would show it.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import workerd from "workerd"; // its default is the path of the program for this platform

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8");

// start runs the Worker and resolves, when it listens, to its url, its exit (a promise) and stop().
// options: port, secret, registries, routes (JSON texts), ca (PEM texts), allow (workerd's words for addresses),
// internet (host:port of an HTTP proxy that gets every request of the Worker in place of the network).
export async function start({ port = 0, secret, registries, routes, ca = [], allow = ["local"], internet } = {}) {
  const dir = mkdtempSync(join(tmpdir(), "pullchain-worker-"));
  const cleanUp = () => rmSync(dir, { recursive: true, force: true });
  writeFileSync(join(dir, "worker.js"), read("../worker.js"));
  writeFileSync(join(dir, "config.capnp"), config({ ca, allow, internet }));
  // Settings go by the environment: a secret is then neither in a file nor in an argument list.
  const variables = { SHARED_SECRET: secret, REGISTRIES: registries, ROUTES: routes };
  const env = Object.fromEntries(Object.entries(variables).filter(([, value]) => value));
  const child = spawn(workerd.default, ["serve", join(dir, "config.capnp"), `--socket-addr=http=127.0.0.1:${port}`, "--control-fd=3"],
    { env, stdio: ["ignore", "inherit", "inherit", "pipe"] });
  const kill = () => { // no workerd outlives us
    child.kill("SIGKILL");
    cleanUp();
  };
  process.once("exit", kill);
  const exit = new Promise((resolve, reject) => child.once("exit", resolve).once("error", reject)).finally(() => {
    process.off("exit", kill);
    cleanUp();
  });

  const listening = new Promise((resolve) => {
    createInterface({ input: child.stdio[3] }).on("line", (line) => {
      const message = JSON.parse(line);
      if (message.event === "listen") resolve(message.port);
    });
  });
  const failed = exit.then((code) => { throw new Error(`workerd ended with ${code} before it listened`); });
  const actual = await Promise.race([listening, failed]);
  failed.catch(() => {}); // from here on an end is the caller's to judge, by exit
  return { url: `http://127.0.0.1:${actual}`, exit, stop: () => stop(child, exit) };
}

// stop ends workerd; one that still waits for its connections after 2 s is killed.
async function stop(child, exit) {
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 2000);
  await exit;
  clearTimeout(timer);
}

// config has the compatibility date of ../wrangler.toml: what is tested is what is deployed.
function config({ ca, allow, internet }) {
  const date = /^compatibility_date = "([\d-]+)"$/m.exec(read("../wrangler.toml"))[1];
  const list = (texts) => `[${texts.map(text).join(", ")}]`;
  const variable = (name) => `(name = "${name}", fromEnvironment = "${name}")`;
  const network = `network = (allow = ${list(allow)}, tlsOptions = (trustBrowserCas = true, trustedCertificates = ${list(ca)}))`;
  const proxy = `external = (address = ${text(internet ?? "")}, http = (style = proxy))`;
  return `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker.js", esModule = embed "worker.js")],
      compatibilityDate = "${date}",
      bindings = [${["SHARED_SECRET", "REGISTRIES", "ROUTES"].map(variable).join(", ")}],
    )),
    (name = "internet", ${internet ? proxy : network}),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`;
}

// text is a Cap'n Proto literal; PEM files and address words need no escapes but these.
function text(value) {
  return `"${value.replace(/[\\"]/g, "\\$&").replace(/\r/g, "").replace(/\n/g, "\\n")}"`;
}

// certificates splits a PEM bundle, as workerd takes one certificate a text.
function certificates(file) {
  return readFileSync(file, "utf8").match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
}

async function main() {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      secret: { type: "string", default: process.env.SHARED_SECRET },
      registries: { type: "string" },
      routes: { type: "string" },
      ca: { type: "string", multiple: true, default: [] },
      public: { type: "boolean", default: false },
    },
  });
  const allow = values.public ? ["public", "private"] : ["local"];
  const worker = await start({ ...values, ca: values.ca.flatMap(certificates), allow });
  let asked = false;
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      asked = true;
      worker.stop();
    });
  }
  console.log(`ready ${worker.url}`);
  const code = await worker.exit;
  process.exit(asked ? 0 : code || 1);
}

if (import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) await main();
