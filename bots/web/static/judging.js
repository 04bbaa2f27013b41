// What people say of an answer: sends the forms below it without leaving the page, and shows what became of them.

// Gives a new exchange on the page its addresses; the server writes those of the others.
export function placed(exchange, base) {
  const native = exchange.dataset.turn.split(":").pop();
  exchange.id = `a-${native}`;
  for (const way of exchange.querySelectorAll("[data-judges]")) {
    way.setAttribute(way.tagName === "A" ? "href" : "action", `${base}/answers/${native}/${way.dataset.judges}`);
  }
}

// Another answer is on its way: what was said of the one before does not count for it.
export function unjudged(exchange) {
  press(exchange, "");
  tell(exchange, []);
}

function press(exchange, verdict) {
  for (const button of exchange.querySelectorAll("[data-verdict]")) {
    const pressed = button.dataset.verdict === verdict;
    button.setAttribute("aria-pressed", String(pressed));
    button.value = pressed ? "taken_back" : button.dataset.verdict;
  }
}

function tell(exchange, lines) {
  exchange.querySelector(".told")?.replaceChildren(
    ...lines.map((text) => Object.assign(document.createElement("span"), { textContent: text, dir: "auto" })),
  );
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function ask(exchange, address, options) {
  try {
    const response = await fetch(address, { headers: { Accept: "application/json" }, ...options });
    const reply = await response.json();
    tell(exchange, reply.lines ?? [reply.line]);
    return response.ok ? reply : null;
  } catch {
    tell(exchange, ["That did not get through. Check your connection, then try once more."]);
    return null;
  }
}

async function judge(form, submitter) {
  const exchange = form.closest(".exchange");
  if (form.dataset.busy !== undefined) return;
  form.dataset.busy = "";
  const body = new URLSearchParams(new FormData(form, submitter));
  const reply = await ask(exchange, form.action, { method: "POST", body });
  delete form.dataset.busy;
  if (!reply || form.dataset.judges !== "feedback") return;
  press(exchange, reply.verdict);
  form.elements.id.value = newId();
  const more = form.closest("details");
  if (!more) return;
  form.reset();
  more.removeAttribute("open");
  more.querySelector("summary").focus();
}

document.addEventListener("submit", (event) => {
  if (!event.target.dataset.judges) return;
  event.preventDefault();
  judge(event.target, event.submitter);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-judges]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  ask(link.closest(".exchange"), link.href, {});
});
