// Settings, a prediction, then real connects. Draws `frame`; says what the learner did with model.send.
// Names are other people's bytes: see dom.js.

const GUESSES = ["none", "some", "all"];
const POLICIES = ["RANDOM", "STRICT", "FAILOVER"];

function render({ model, el }) {
  const id = `kl${Math.random().toString(36).slice(2)}`;
  const root = el.appendChild(document.createElement("div"));
  root.className = "kl-view kl-locality";
  const local = { guesses: new Map(), count: null, preference: null, message: 0, busy: false, gone: false };
  let timer = 0;

  const send = (what) => {
    if (local.gone) return;
    local.message += 1;
    clearTimeout(timer);
    timer = setTimeout(() => { local.busy = true; draw(); }, 1000);
    model.send({ ...what, message: local.message });
  };

  const draw = () => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    patch(root, page(model.get("frame")));
    if (focused?.isConnected && focused !== document.activeElement) focused.focus(); // it was moved
  };

  const changed = () => {
    const frame = model.get("frame");
    if (frame.heard >= local.message) { clearTimeout(timer); local.busy = false; local.preference = null; }
    if (frame.phase !== "predict") local.guesses.clear();
    if (frame.phase === "done") local.count = null;
    draw();
  };

  const page = (f) => {
    const off = local.gone || f.phase === "running" || f.state.startsWith("The lab is closed");
    const state = local.gone ? "The kernel was restarted or has ended: this is the last picture. Run the cell again." : f.state;
    return [
      h("div", { key: "top", class: "kl-top" },
        h("h3", { id: `${id}-title` }, "Where do the connects of ", h("b", {}, f.client), " to ", h("b", {}, f.service.name), " go?"),
        h("span", { class: "kl-soft kl-code" }, f.service.vip)),
      h("p", { key: "state", class: "kl-state", role: "alert" }, state && [h("span", { "aria-hidden": "true" }, "■ "), state]),
      h("fieldset", { key: "set", class: "kl-step", disabled: off },
        h("legend", {}, h("span", { class: "kl-number" }, "1"), "Set the scene"),
        h("div", { class: "kl-settings" }, client(f), policy(f), preference(f))),
      h("fieldset", { key: "predict", class: "kl-step" },
        h("legend", {}, h("span", { class: "kl-number" }, "2"), "Predict"),
        table(f, off)),
      h("fieldset", { key: "run", class: "kl-step" },
        h("legend", {}, h("span", { class: "kl-number" }, "3"), "Let the kernel answer"),
        actions(f, off), outcome(f)),
      foot(f, off),
    ];
  };

  const client = (f) => {
    const now = f.clients.find((each) => each.name === f.client);
    return h("div", { key: "client", class: "kl-field" },
      h("label", { for: `${id}-client` }, "Client"),
      h("select", { id: `${id}-client`, "aria-describedby": `${id}-where`, value: f.client,
        onchange: (event) => send({ do: "set", client: event.target.value }) },
        f.clients.map((each) => h("option", { key: each.name, value: each.name }, `${each.name}${each.alive ? "" : " (ended)"}`))),
      h("span", { id: `${id}-where`, class: "kl-soft" }, now.where));
  };

  const policy = (f) => h("div", { key: "policy", class: "kl-field", role: "radiogroup", "aria-labelledby": `${id}-policy` },
    h("span", { id: `${id}-policy`, class: "kl-label" }, "Policy"),
    h("div", { class: "kl-choices" }, POLICIES.map((name) =>
      h("label", { key: name },
        h("input", { type: "radio", name: `${id}-policy`, checked: f.policy === name, onchange: () => send({ do: "set", policy: name }) }),
        h("span", {}, name)))));

  const preference = (f) => {
    const now = local.preference ?? f.preference; // two quick clicks: the second is about what the first will have made
    const put = (scopes) => { local.preference = scopes; send({ do: "set", preference: scopes }); draw(); };
    const swap = (a, b) => put(now.map((each, i) => (i === a ? now[b] : i === b ? now[a] : each)));
    const unused = f.scopes.filter((each) => !now.includes(each));
    return h("div", { key: "preference", class: "kl-field kl-wide", role: "group", "aria-labelledby": `${id}-preference` },
      h("span", { id: `${id}-preference`, class: "kl-label" }, "Routing preference ", h("span", { class: "kl-soft" }, "the first scope counts most")),
      h("div", { class: "kl-scopes" },
        h("ol", { "aria-live": "polite", "aria-label": "Scopes in order" }, now.map((scope, i) => h("li", { key: scope },
          h("span", { class: "kl-order" }, `${i + 1}`), h("span", { class: "kl-scope" }, scope),
          h("button", { type: "button", title: `Move ${scope} earlier`, "aria-label": `Move ${scope} earlier`, "aria-disabled": i === 0, onclick: () => i > 0 && swap(i, i - 1) }, "←"),
          h("button", { type: "button", title: `Move ${scope} later`, "aria-label": `Move ${scope} later`, "aria-disabled": i === now.length - 1, onclick: () => i < now.length - 1 && swap(i, i + 1) }, "→"),
          h("button", { type: "button", title: `Remove ${scope}`, "aria-label": `Remove ${scope}`, onclick: () => put(now.filter((each) => each !== scope)) }, "×")))),
        now.length === 0 && h("span", { key: "empty", class: "kl-soft" }, "empty"),
        unused.map((scope) => h("button", { key: `add ${scope}`, type: "button", class: "kl-add", "aria-label": `Add ${scope}`, onclick: () => put([...now, scope]) }, `+ ${scope}`))));
  };

  const table = (f, off) => h("div", { class: "kl-scroll" }, h("table", {},
    h("thead", {}, h("tr", {},
      h("th", { scope: "col" }, "Endpoint"), h("th", { scope: "col" }, "In service"), h("th", { scope: "col" }, "Connects you expect"),
      h("th", { scope: "col" }, "Predicted ", h("i", { class: "kl-swatch kl-predicted", "aria-hidden": "true" }), " and observed ", h("i", { class: "kl-swatch kl-observed", "aria-hidden": "true" })),
      h("th", { scope: "col" }, "Priority"))),
    h("tbody", {},
      f.endpoints.map((each) => h("tr", { key: each.name, class: each.chosen ? "kl-chosen" : "" },
        h("th", { scope: "row" }, h("span", { class: "kl-name" }, each.name), each.where.split(", ").map((part) => h("span", { class: "kl-soft" }, part)),
          each.trouble && h("span", { class: "kl-trouble" }, `! ${each.trouble}`)),
        h("td", {}, h("button", { type: "button", role: "switch", class: "kl-switch", "aria-checked": each.healthy, "aria-label": `${each.name} in service`,
          disabled: off, onclick: () => send({ do: "set", healthy: { [each.name]: !each.healthy } }) },
          h("i", { "aria-hidden": "true" }), each.healthy ? "in" : "out")),
        h("td", {}, guess(f, each, off)),
        h("td", { class: "kl-result" }, bars(f, each)),
        h("td", {}, priority(each)))),
      f.others.map(([name, seen]) => h("tr", { key: `other ${name}` },
        h("th", { scope: "row" }, h("span", { class: "kl-name" }, name), h("span", { class: "kl-soft" }, "no endpoint was reached")),
        h("td"), h("td"), h("td", { class: "kl-result" }, bar("observed", seen, f.asked, `${seen}`)), h("td"))))));

  const guess = (f, each, off) => {
    if (typeof each.guess === "number") return h("span", {}, `about ${each.guess}`);
    const now = local.guesses.get(each.name) ?? each.guess;
    return h("div", { class: "kl-choices", role: "radiogroup", "aria-label": `Connects you expect at ${each.name}` }, GUESSES.map((word) =>
      h("label", { key: word },
        h("input", { type: "radio", name: `${id}-guess-${each.name}`, checked: now === word, disabled: off || f.phase !== "predict",
          onchange: () => { local.guesses.set(each.name, word); draw(); } }),
        h("span", {}, word))));
  };

  const bar = (kind, number, of, text) => h("div", { class: "kl-bar", key: kind },
    h("i", { class: `kl-${kind}`, style: `width:${(72 * Math.min(1, number / Math.max(1, of))).toFixed(2)}%`, "aria-hidden": "true" }),
    h("span", {}, h("span", { class: "kl-hidden" }, `${kind} `), text));

  const bars = (f, each) => each.seen === undefined ? h("span", { class: "kl-soft" }, "after the run") : [
    bar("predicted", each.expected, f.asked, each.guess === "some" ? `some, evenly ${each.expected}` : `${each.guess}`),
    bar("observed", each.seen, f.asked, `${each.seen}`),
    f.phase === "done" && h("span", { key: "right", class: each.right ? "kl-right" : "kl-wrong" }, each.right ? "✓ as predicted" : "✗ not as predicted")];

  const priority = (each) => {
    if (each.seen === undefined) return h("span", { class: "kl-soft" }, "after the run");
    if (each.priority === null || each.priority === undefined) return h("span", { class: "kl-soft" }, "no row: out");
    return [h("span", { key: "n", class: "kl-priority" }, `${each.priority}`), each.chosen && h("span", { key: "c", class: "kl-badge" }, "chosen"),
      h("span", { key: "s", class: "kl-compared" }, each.scopes.map(([scope, outcome]) => h("span", { key: scope, class: `kl-${outcome.split(" ")[0]}` },
        h("span", { "aria-hidden": "true" }, { equal: "= ", differs: "≠ ", "not reached": "· " }[outcome]), scope, h("span", { class: "kl-hidden" }, ` ${outcome}`))))];
  };

  const actions = (f, off) => {
    const count = local.count ?? f.count;
    const commit = () => send({ do: "commit", guesses: Object.fromEntries(f.endpoints.map((each) => [each.name, local.guesses.get(each.name) ?? each.guess]).filter(([, word]) => word !== null)) });
    return h("div", { key: "actions", class: "kl-actions" },
      f.phase === "predict" && h("button", { key: "commit", type: "button", class: "kl-primary", disabled: off, onclick: commit }, "Lock in the prediction"),
      f.phase === "ready" && h("span", { key: "locked", class: "kl-right" }, "✓ Prediction locked in"),
      f.phase === "done" && h("button", { key: "again", type: "button", class: "kl-plain", disabled: off, onclick: () => send({ do: "again" }) }, "Predict again"),
      h("label", { class: "kl-slider" }, "Connects ",
        h("input", { type: "range", min: 10, max: "1000", step: 10, value: String(count), disabled: off, "aria-label": "Number of connects",
          oninput: (event) => { local.count = Number(event.target.value); draw(); } }),
        h("output", {}, `${count}`)),
      h("button", { key: "go", type: "button", class: f.phase === "ready" ? "kl-primary" : "kl-plain", disabled: off || f.phase !== "ready" || Boolean(f.state),
        "aria-describedby": `${id}-hint`, onclick: () => send({ do: "run", count }) }, `Run ${count} connects`),
      h("span", { id: `${id}-hint`, class: "kl-soft" }, { predict: "after you have locked in a prediction", ready: "", running: "", done: "" }[f.phase]));
  };

  const outcome = (f) => h("div", { key: "outcome", class: "kl-outcome", "aria-live": "polite" },
    local.busy && h("p", { key: "busy", class: "kl-soft" }, "No answer yet: the kernel is busy with a cell, or was restarted."),
    f.error && h("p", { key: "error", class: "kl-error" }, h("span", { "aria-hidden": "true" }, "! "), f.error),
    f.note && h("p", { key: "note" }, f.note),
    f.phase === "running" && h("p", { key: "progress" }, h("progress", { max: f.asked, value: f.made, "aria-label": "Connects made" }), ` ${f.made} of ${f.asked}`),
    f.verdict && h("p", { key: "verdict", class: "kl-verdict" }, f.verdict),
    f.why.length > 0 && h("ul", { key: "why" }, f.why.map((line, i) => h("li", { key: i }, line))),
    f.story && h("p", { key: "story", class: "kl-soft" }, "The program’s last words: ", h("span", { class: "kl-code" }, f.story)));

  const foot = (f, off) => h("div", { key: "foot", class: "kl-foot" },
    h("span", {}, "Published now: ", h("span", { class: "kl-code" }, f.published), f.changed ? ", changed by this panel. " : ", as before this panel. "),
    f.changed && h("button", { key: "restore", type: "button", class: "kl-plain", disabled: off, onclick: () => send({ do: "restore" }) }, "Put it back"),
    f.history.length > 0 && h("details", { key: "history" }, h("summary", {}, "Earlier runs"),
      h("ul", {}, f.history.map(([setting, text], i) => h("li", { key: i }, text, h("span", { class: "kl-soft" }, ` ${setting}`))))));

  root.setAttribute("role", "group");
  root.setAttribute("aria-labelledby", `${id}-title`);
  const unwatch = watchKernel(model, () => {
    Object.assign(local, { gone: true, busy: false });
    clearTimeout(timer);
    draw();
  });
  model.on("change:frame", changed);
  local.message = model.get("frame").heard;
  draw();
  send({ do: "open" });
  return () => { clearTimeout(timer); unwatch(); model.off("change:frame", changed); };
}

export default { render };
