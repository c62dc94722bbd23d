// Keeps a page up to date. All that a page shows is made by the server; this asks for
// the parts that have changed and puts them in place, and leaves alone what a reader has
// opened, focused or typed. Without it the page reloads by itself.

const doc = document, root = doc.documentElement;
const badge = doc.getElementById("live"), say = doc.getElementById("say");
const patience = { gap: 500, poll: 5000, renew: 10000, stale: 15000 }; // milliseconds
const topics = ["verdict", "transition", "failover", "forced"];

let stream, failures = 0, streaming = false;
let wanted = new Set(), timer = 0, busy = false, lastAsked = 0, lastGood = Date.now();

root.classList.add("js");

// --- putting a new part in the place of an old one

const keyOf = (n) => n.nodeType === 1 ? n.id || n.getAttribute("data-key") || "" : "";
const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function morph(old, now) {
  if (old.nodeType !== 1) {
    if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
    return;
  }
  const kept = (name) => name === "open" && old.nodeName === "DETAILS" || name === "value" && old === doc.activeElement;
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
  const keyed = new Map([...old.children].filter(keyOf).map((n) => [keyOf(n), n]));
  let at = old.firstChild;
  for (const next of [...now.childNodes]) {
    const same = keyOf(next) ? keyed.get(keyOf(next)) : at && alike(at, next) ? at : null;
    if (same && alike(same, next)) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      morph(same, next);
    } else old.insertBefore(doc.importNode(next, true), at);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function patch(html) {
  const fresh = new DOMParser().parseFromString(html, "text/html");
  for (const now of fresh.querySelectorAll("[data-panel]")) {
    const old = doc.getElementById(now.id);
    if (old) equip(now), announce(old, now), morph(old, now);
  }
  localise();
}

// announce says aloud what a reader who does not see the page has to know: a change of
// the verdict, and a new failover.
function announce(old, now) {
  const headline = (n) => n.querySelector("[data-say]")?.textContent ?? "";
  if (!("say" in now.dataset) || !headline(now) || headline(old) === headline(now)) return;
  say.textContent = headline(now).replace(/\s+/g, " ").trim();
  if (now.dataset.level) {
    doc.title = headline(now) + " · pullchain";
    doc.querySelector("link[rel=icon]").href = now.dataset.icon;
  }
}

// localise gives each time the reader's own time zone in its title.
function localise() {
  for (const t of doc.querySelectorAll("time[datetime]")) t.title = new Date(t.dateTime).toLocaleString(root.lang);
}

// --- asking for what has changed, at most twice a second

const panels = () => [...doc.querySelectorAll("[data-panel]")];

function want(names) {
  for (const n of names) wanted.add(n);
  if (!timer && !busy && wanted.size) timer = setTimeout(ask, Math.max(0, lastAsked + patience.gap - Date.now()));
}

const wantAll = () => want(panels().map((p) => p.dataset.panel));

async function ask() {
  const names = [...wanted];
  wanted.clear();
  timer = 0, busy = true, lastAsked = Date.now();
  try {
    const at = new URL(location.href);
    at.searchParams.set("fragment", names.join(","));
    const answer = await fetch(at, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.redirected) return location.reload(); // the login has ended
    if (!answer.ok) throw new Error(answer.statusText);
    patch(await answer.text());
    lastGood = Date.now();
  } catch {
    names.forEach((n) => wanted.add(n)); // the next turn asks again
  } finally {
    busy = false;
    show();
    if (wanted.size && lastGood > lastAsked - 1) want([]);
  }
}

// --- the stream of events says what has changed; where there is none, time does

function listen() {
  if (stream || doc.hidden || !panels().length) return;
  stream = new EventSource("/api/v1/events");
  stream.onopen = () => { if (failures) wantAll(); failures = 0, streaming = true, show(); };
  stream.onerror = () => {
    streaming = false, failures++, show();
    if (stream && stream.readyState === EventSource.CLOSED) hangUp(); // it will not try again by itself
  };
  stream.addEventListener("reset", wantAll);
  for (const topic of topics) stream.addEventListener(topic, () =>
    want(panels().filter((p) => (p.dataset.on ?? "").split(" ").includes(topic)).map((p) => p.dataset.panel)));
}

function hangUp() {
  stream?.close();
  stream = undefined, streaming = false;
}

function show() {
  const late = Date.now() - lastGood, stale = late > patience.stale;
  const word = stale ? "stale" : streaming ? "live" : "polling";
  badge.hidden = !panels().length;
  badge.className = "live " + (stale ? "off" : streaming ? "on" : "");
  badge.textContent = badge.dataset[word] + (stale ? " " + Math.round(late / 1000) + " s" : "");
}

let turns = 0;
function turn() {
  if (doc.hidden) return;
  turns++;
  const every = (streaming ? patience.renew : patience.poll) / 1000; // ages and countdowns change by themselves
  if (turns % every === 0) wantAll();
  else want(panels().filter((p) => p.dataset.every && turns % p.dataset.every === 0).map((p) => p.dataset.panel));
  if (!stream && turns % 30 === 0) listen();
  show();
}

doc.addEventListener("visibilitychange", () => {
  if (doc.hidden) return hangUp();
  lastGood = Math.max(lastGood, Date.now() - patience.poll); // nothing was asked meanwhile
  wantAll(), listen();
});
addEventListener("pagehide", hangUp);
addEventListener("pageshow", (e) => { if (e.persisted) wantAll(), listen(); });

// --- small comforts

doc.addEventListener("click", async (e) => {
  const button = e.target.closest("button[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("code").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch { // not a secure context, as http://10.0.0.5 is none
    const area = doc.body.appendChild(doc.createElement("textarea"));
    area.value = text;
    area.select();
    doc.execCommand("copy");
    area.remove(), button.focus();
  }
  const word = button.textContent;
  button.textContent = say.textContent = button.dataset.copy;
  setTimeout(() => { button.textContent = word; }, 1500);
});

for (const toast of doc.querySelectorAll("[data-toast]")) setTimeout(() => {
  if (!toast.contains(doc.activeElement)) toast.remove();
}, 10000);

// --- the cells of a bar, one by one: arrow keys go along them, and each is read out

const cells = new Map(); // the cell that a bar stands at, counted from its end

// equip makes bars with texts something that arrow keys are for. It is done to what comes
// from the server as well, so that putting that in place takes nothing away.
function equip(part) {
  for (const bar of part.querySelectorAll("svg.bar[data-key]")) {
    const all = bar.querySelectorAll("rect"), back = cells.get(bar.dataset.key);
    const at = Math.max(0, all.length - 1 - (back ?? 0)), text = all[at].textContent;
    for (const [name, value] of Object.entries({
      role: "slider", tabindex: 0, "aria-readonly": true, "aria-valuemin": 1, "aria-valuemax": all.length, "aria-valuenow": at + 1, "aria-valuetext": text,
    })) bar.setAttribute(name, value);
    all.forEach((cell, i) => cell.classList.toggle("at", back !== undefined && i === at));
    bar.parentElement.querySelector(".read").textContent = back === undefined ? "" : text;
  }
}

function step(bar, key) {
  const last = bar.querySelectorAll("rect").length - 1, back = cells.get(bar.dataset.key) ?? 0;
  const to = { ArrowLeft: back + 1, ArrowDown: back + 1, ArrowRight: back - 1, ArrowUp: back - 1, PageDown: back + 10, PageUp: back - 10, Home: last, End: 0 }[key];
  if (to === undefined) return false;
  cells.set(bar.dataset.key, Math.min(last, Math.max(0, to)));
  equip(bar.parentElement);
  return true;
}

doc.addEventListener("focusin", (e) => { if (e.target.matches("svg.bar[data-key]")) step(e.target, cells.has(e.target.dataset.key) ? "" : "End"); });
doc.addEventListener("focusout", (e) => { if (e.target.matches("svg.bar[data-key]")) cells.delete(e.target.dataset.key), equip(e.target.parentElement); });

// --- keys

const keys = doc.getElementById("keys");
let going = 0; // until when a letter after "g" names a page

doc.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.target.matches("svg.bar[data-key]") && step(e.target, e.key)) return e.preventDefault();
  if (root.dataset.keys === "off" || e.target.closest("input, select, textarea") || keys.open) return;
  const went = Date.now() < going, search = doc.querySelector("main input[type=search], main .filter input");
  going = e.key === "g" && !went ? Date.now() + 1500 : 0;
  if (went) doc.querySelector(`[data-go="${CSS.escape(e.key)}"]`)?.click();
  else if (e.key === "?") keys.showModal();
  else if (e.key === "/" && search) search.focus();
  else return;
  e.preventDefault();
});

doc.getElementById("keys-link").addEventListener("click", (e) => {
  if (e.ctrlKey || e.metaKey || e.shiftKey) return;
  e.preventDefault(), keys.showModal();
});

equip(doc);
localise();
listen();
show();
setInterval(turn, 1000);
