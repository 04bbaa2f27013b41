// Makes the conversation page live: sends questions, shows answers as they grow, handles the keys.

import { placed, unjudged } from "./judging.js";

const main = document.querySelector("main[data-base]");
const announce = document.querySelector("#announce");
const line = document.querySelector(".line");
const box = document.querySelector("#text");
const ask = document.querySelector('[data-does="say"]');
const stop = document.querySelector('[data-does="stop"]');
const blank = main.querySelector("template");
const latest = document.querySelector("#latest");
const current = document.querySelector(".sheet a[aria-current]");
let after = main.dataset.after;
let source = null;
let resetTurn = "";

// ── the conversation ───────────────────────────────────────────────────────────────────────────────────────────────

function exchangeOf(turn, make) {
  const known = [...main.querySelectorAll(".exchange")].find((article) => article.dataset.turn === turn);
  if (known || !make) return known;
  latest.before(blank.content.cloneNode(true));
  latest.previousElementSibling.dataset.turn = turn;
  placed(latest.previousElementSibling, main.dataset.base);
  return latest.previousElementSibling;
}

function toTheEnd() {
  document.documentElement.scrollTop = document.documentElement.scrollHeight;
}

// Follows the answer unless the reader has scrolled up to read something else.
function following(change) {
  const root = document.documentElement;
  const atEnd = root.scrollHeight - root.scrollTop - root.clientHeight < 120;
  change();
  if (atEnd) toTheEnd();
}

function showWhatWaits() {
  document.body.toggleAttribute("data-awaited", main.querySelector("[data-awaited]") !== null);
}

function said({ turn, text }) {
  const fresh = !exchangeOf(turn);
  following(() => { exchangeOf(turn, true).querySelector(".question").textContent = text; });
  if (fresh) toTheEnd();
  if (current.dataset.untitled !== undefined) current.textContent = text.slice(0, 60);
  delete current.dataset.untitled;
  showWhatWaits();
}

function awaited(exchange) {
  exchange.setAttribute("data-awaited", "");
  delete exchange.dataset.outcome;
  unjudged(exchange);
}

// Another answer was asked for: the one that is there stays until the first word of the next.
function again({ turn }) {
  const exchange = exchangeOf(turn);
  if (exchange) awaited(exchange);
  showWhatWaits();
}

function kept({ turn, text }) {
  const exchange = exchangeOf(turn);
  exchange?.removeAttribute("data-awaited");
  if (exchange) exchange.dataset.outcome = "answered";
  say(text);
  showWhatWaits();
}

function growing({ turn, html }) {
  const exchange = exchangeOf(turn, true);
  awaited(exchange);
  following(() => { exchange.querySelector(".answer").innerHTML = html; });
  showWhatWaits();
}

function closed({ turn, html, outcome }) {
  const exchange = exchangeOf(turn, turn !== resetTurn);
  const answer = exchange?.querySelector(".answer") ?? document.createElement("div");
  following(() => {
    answer.innerHTML = html;
    exchange?.removeAttribute("data-awaited");
    if (exchange) exchange.dataset.outcome = outcome;
    addCopyButtons(answer);
  });
  // Only whole answers are read out; a reader that heard each token could not listen to anything else.
  announce.textContent = `Parley: ${answer.textContent.trim()}`;
  say(exchange ? "" : answer.textContent.trim());
  showWhatWaits();
}

function removed({ turn }) {
  exchangeOf(turn)?.remove();
  showWhatWaits();
}

function forget({ turn }) {
  resetTurn = turn;
  main.querySelectorAll(".exchange, .divider").forEach((old) => old.remove());
  const textContent = "What was said before is forgotten";
  latest.before(Object.assign(document.createElement("p"), { className: "divider", textContent }));
  showWhatWaits();
}

function addCopyButtons(within) {
  if (!navigator.clipboard) return; // plain http has none
  for (const code of within.querySelectorAll(".code:not(:has(button))")) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Copy" });
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.querySelector("pre").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    code.querySelector(".code-bar").append(button);
  }
}

// ── the feed ───────────────────────────────────────────────────────────────────────────────────────────────────────

const steps = { said, again, kept, growing, closed, removed, reset: forget, notice: ({ text }) => say(text) };

// A hidden tab lets go of its stream: a browser opens only six connections to one host.
function listen() {
  source = source?.close() ?? null;
  if (document.hidden) return;
  source = new EventSource(`${main.dataset.base}/events?after=${after}`);
  for (const [kind, step] of Object.entries(steps)) {
    source.addEventListener(kind, (event) => {
      after = event.lastEventId;
      step(JSON.parse(event.data));
    });
  }
  source.addEventListener("open", () => document.body.removeAttribute("data-lost"));
  source.addEventListener("error", () => {
    document.body.setAttribute("data-lost", "");
    // After an error status a browser gives up for good, so we ask again ourselves.
    if (source?.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

// ── questions ──────────────────────────────────────────────────────────────────────────────────────────────────────

function say(text) {
  line.textContent = text;
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Posts a form; says whether it was taken. It keeps its id until it is, so a second try is no second question.
async function post(form) {
  say(form === stop ? "Stopping …" : "");
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
    const reply = await response.json();
    if (!response.ok) say(reply.line);
    return response.ok;
  } catch {
    say("That did not get through. Check your connection, then send it again.");
    return false;
  }
}

async function submit(form) {
  if (form.dataset.busy !== undefined) return;
  form.dataset.busy = "";
  const sent = box.value;
  const taken = await post(form);
  delete form.dataset.busy;
  if (!taken) return;
  if (form.elements.id) form.elements.id.value = newId();
  form.closest("details")?.removeAttribute("open");
  if (form !== ask) return;
  if (box.value === sent) box.value = "";
  fit();
}

// Where CSS cannot let the box grow with its text, we do.
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.does) return;
  event.preventDefault();
  submit(event.target);
});

box.addEventListener("input", fit);
box.addEventListener("keydown", (event) => {
  // While an input method composes, Enter chooses a word; on touch keyboards it makes a new line.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
  event.preventDefault();
  if (box.value.trim()) ask.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  const open = document.querySelector("details[open]");
  if (open) {
    open.removeAttribute("open");
    open.querySelector("summary").focus();
  } else if (document.body.hasAttribute("data-awaited")) stop.requestSubmit();
});

document.addEventListener("click", (event) => {
  document.querySelectorAll("details[open]").forEach((open) => {
    if (!open.contains(event.target)) open.removeAttribute("open");
  });
});

document.addEventListener("visibilitychange", listen);
document.body.setAttribute("data-live", "");
addCopyButtons(main);
showWhatWaits();
fit();
listen();
toTheEnd();
