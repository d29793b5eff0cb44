// What sockets report, as it comes. Draws `frame`; says what the learner did with model.send.
// All text goes into text nodes, never into HTML: names are other people's bytes.

const KINDS = { established: "●", periodic: "↻", closed: "○" };
const COLUMNS = ["#", "time", "event", "side", "client", "server", "asked for", "sent", "received", "RTT", "lives"];
const PATIENCE = 1000; // ms without an answer of the kernel
const QUIET = 4000; // ms between two sentences for a screen reader
let nextId = 0;

const element = (tag, attributes = {}, ...children) => {
  const made = make(tag, "", undefined, attributes);
  made.append(...children);
  return made;
};
const put = (node, text) => { if (node.textContent !== String(text)) node.textContent = text; };
const number = (value) => value.toLocaleString("en");
const counted = (value, one) => `${value ? number(value) : "no"} ${one}${value === 1 ? "" : "s"}`;

function choice(name, values) {
  const options = [["", `all ${name}s`], ...values.map((value) => [value, value])];
  return element("select", { "aria-label": name }, ...options.map(([value, text]) => element("option", { value }, text)));
}

function tile(name, ...more) {
  const value = element("span", { class: "kl-ev-number" });
  const under = element("span", { class: "kl-soft kl-ev-under" });
  return { value, under, root: element("div", { class: "kl-ev-tile" }, element("span", { class: "kl-soft" }, name), element("div", { class: "kl-ev-line" }, value, ...more), under) };
}

// A pod or service and its port; the address is longer and waits in the title.
function who([name, address]) {
  if (!name) return [address];
  const port = address.slice(address.lastIndexOf(":"));
  return [element("span", { class: "kl-ev-name", title: address }, name), element("span", { class: "kl-soft", title: address }, ` ${port}`)];
}

function line(row) {
  const kind = element("td", { class: `kl-ev-kind kl-ev-${row.kind in KINDS ? row.kind : "other"}` },
    element("span", { "aria-hidden": "true" }, `${KINDS[row.kind] ?? "?"} `), row.kind);
  const cells = [[`${row.n}`], [`${row.time} s`], null, [row.side], who(row.client), who(row.server), who(row.asked), [number(row.sent)], [number(row.received)], [`${row.rtt} µs`], [row.lives]];
  return element("tr", { "data-n": row.n }, ...cells.map((content, i) => (content === null ? kind : element(i ? "td" : "th", i ? {} : { scope: "row" }, ...content))));
}

function render({ model, el }) {
  const id = `kl-ev-${++nextId}`;
  const local = { message: 0, paused: null, rows: [], gone: false, busy: false, typed: null, sentence: "", due: false };
  let busyTimer = 0, typeTimer = 0, sayTimer = 0;

  // ---- what is there, once
  const live = element("button", { type: "button", role: "switch", class: "kl-switch" }, element("i", { "aria-hidden": "true" }), "Live");
  const pause = element("button", { type: "button", class: "kl-ev-pause" });
  const state = element("p", { class: "kl-state", role: "alert" });
  const notes = element("p", { class: "kl-ev-note", role: "status" });
  const error = element("p", { class: "kl-state", role: "alert" });
  const busy = element("p", { class: "kl-ev-note", role: "status" });
  const bars = document.createElementNS(SVG, "svg");
  bars.setAttribute("class", "kl-ev-bars");
  bars.setAttribute("viewBox", "0 0 180 30");
  bars.setAttribute("preserveAspectRatio", "none");
  bars.setAttribute("role", "img");
  const columns = Array.from({ length: 60 }, (_, i) => {
    const bar = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ x: 3 * i, y: 30, width: 2, height: 0 })) bar.setAttribute(name, value);
    return bars.appendChild(bar);
  });
  const total = tile("events"), rate = tile("in the last second", bars), lost = tile("lost");
  const text = element("input", { type: "search", placeholder: "Pod, service, address or port", "aria-label": "Filter" });
  const kind = choice("event", Object.keys(KINDS)), side = choice("side", ["OUTBOUND", "INBOUND"]);
  const found = element("span", { class: "kl-soft", "aria-live": "off" });
  const body = element("tbody");
  const empty = element("p", { class: "kl-ev-empty kl-soft" });
  const table = element("table", {}, element("caption", { class: "kl-hidden" }, "Events, newest first"),
    element("thead", {}, element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)))), body);
  const speech = element("p", { class: "kl-hidden", "aria-live": "polite" });
  const root = element("section", { class: "kl-view kl-ev", "aria-labelledby": `${id}-title` },
    element("div", { class: "kl-ev-top" }, element("h3", { id: `${id}-title` }, "What the sockets report"), element("code", { class: "kl-soft" }, "km_tcp_probe"),
      element("span", { class: "kl-ev-right" }, live, pause)),
    state, error, notes,
    element("div", { class: "kl-ev-tiles" }, total.root, rate.root, lost.root),
    element("div", { class: "kl-ev-find", role: "group", "aria-label": "Which events" }, text, kind, side, found),
    element("div", { class: "kl-ev-scroll", role: "region", tabindex: "0", "aria-label": "Events, newest first" }, table, empty), busy, speech);
  el.append(root);

  // ---- what the learner does
  const send = (what) => {
    if (local.gone) return;
    local.message += 1;
    clearTimeout(busyTimer);
    busyTimer = setTimeout(() => { local.busy = true; draw(); }, PATIENCE);
    model.send({ ...what, message: local.message });
  };
  const isPaused = () => local.paused ?? model.get("frame").paused;
  live.onclick = () => send({ do: "live", on: !model.get("frame").live });
  pause.onclick = () => {
    const to = !isPaused();
    if (to) local.rows = model.get("frame").rows;
    local.paused = to; // at once, also while the kernel is busy with a cell
    send(to ? { do: "pause", at: local.rows[0]?.n ?? null } : { do: "resume" });
    draw();
  };
  const filter = () => {
    local.typed = { text: text.value, kind: kind.value, side: side.value };
    draw();
    clearTimeout(typeTimer);
    typeTimer = setTimeout(() => { typeTimer = 0; send({ do: "show", ...local.typed }); }, 150);
  };
  text.oninput = kind.onchange = side.onchange = filter;

  // ---- the picture
  const wanted = (row, f) => (!f.kind || row.kind === f.kind) && (!f.side || row.side === f.side) &&
    f.text.toLowerCase().split(/\s+/).every((word) => [...row.client, ...row.server, ...row.asked].join(" ").toLowerCase().includes(word));
  // While the kernel has not heard of a filter or a pause, the page does what it can with what it has.
  const shown = () => {
    const f = model.get("frame"), only = local.typed ?? (local.paused ? f.filter : null);
    const rows = local.paused ? local.rows : f.rows;
    return only ? rows.filter((row) => wanted(row, only)) : rows;
  };

  const drawRows = (rows) => {
    const there = new Map([...body.children].map((tr) => [tr.dataset.n, tr]));
    let next = body.firstChild;
    for (const row of rows) {
      let tr = there.get(String(row.n));
      there.delete(String(row.n));
      if (!tr) tr = line(row);
      if (tr === next) next = next.nextSibling;
      else body.insertBefore(tr, next);
    }
    there.forEach((tr) => tr.remove());
  };

  const drawBars = (f) => {
    const most = Math.max(1, ...f.bars);
    columns.forEach((bar, i) => {
      const height = Math.ceil((30 * (f.bars[i] ?? 0)) / most);
      if (bar.getAttribute("height") !== String(height)) { bar.setAttribute("height", height); bar.setAttribute("y", 30 - height); }
    });
    bars.setAttribute("aria-label", `Events per half second over the last 30 seconds, at most ${number(f.bars.length ? most : 0)}`);
  };

  const draw = () => {
    const f = model.get("frame"), rows = shown(), paused = isPaused(), off = local.gone || f.closed;
    put(state, local.gone ? "■ The kernel was restarted or has ended: these are the last events. Run the cell again." : f.state && `■ ${f.state}`);
    put(error, f.error && `! ${f.error}`);
    put(notes, f.notes.map((note) => `■ ${note}`).join(" "));
    put(busy, local.busy && !local.gone ? "No answer yet: the kernel is busy with a cell, or was restarted. The filter works on the events that are here." : "");
    live.setAttribute("aria-checked", f.live && !local.gone);
    live.disabled = off;
    put(pause, paused ? "▶ Go on" : "❚❚ Pause");
    pause.disabled = local.gone;
    put(total.value, number(f.total));
    put(total.under, paused ? `${number(f.since)} since the pause` : f.total > f.kept ? `the newest ${number(f.kept)} are kept` : "");
    put(rate.value, number(f.rate));
    put(rate.under, f.peak ? `at most ${number(f.peak)}` : "");
    put(lost.value, `${f.lost ? "⚠ " : ""}${number(f.lost)}`);
    put(lost.under, f.lost ? "the ring buffer was full" : "the ring buffer had room for all");
    lost.root.classList.toggle("kl-ev-bad", f.lost > 0);
    if (!local.typed) for (const [control, value] of [[text, f.filter.text], [kind, f.filter.kind], [side, f.filter.side]]) if (control.value !== value) control.value = value;
    const all = local.typed || local.paused ? rows.length : f.found;
    put(found, `${rows.length < all ? `the newest ${number(rows.length)} of ` : ""}${counted(all, "event")}`);
    put(empty, rows.length ? "" : f.total ? "No event matches the filter." : f.live ? "Nothing yet. The next connection of a pod in the mesh is reported here." : "Nothing was reported.");
    drawBars(f);
    drawRows(rows);
    root.classList.toggle("kl-ev-still", paused);
    say(`${counted(f.total, "event")}, ${number(f.rate)} in the last second, ${f.lost ? number(f.lost) : "none"} lost${paused ? ", paused" : ""}`);
  };

  const say = (sentence) => {
    if (sentence === local.sentence) return;
    local.sentence = sentence;
    if (!sayTimer) sayTimer = setTimeout(() => { sayTimer = 0; put(speech, local.sentence); }, QUIET);
  };

  const changed = () => {
    const f = model.get("frame");
    if (f.heard >= local.message) {
      clearTimeout(busyTimer);
      local.busy = false;
      // A kernel that was busy for long may have forgotten the rows that were paused: the page has not.
      local.paused = f.paused && local.paused && !f.held ? true : null;
      if (!typeTimer) local.typed = null;
    }
    if (local.due) return; // a page that is behind draws the newest picture only
    local.due = true;
    requestAnimationFrame(() => { local.due = false; draw(); });
  };
  const unwatch = watchKernel(model, () => {
    Object.assign(local, { gone: true, busy: false });
    clearTimeout(busyTimer);
    draw();
  });
  model.on("change:frame", changed);
  local.message = model.get("frame").heard;
  draw();
  send({ do: "open" });
  return () => {
    for (const timer of [busyTimer, typeTimer, sayTimer]) clearTimeout(timer);
    unwatch();
    model.off("change:frame", changed);
  };
}

export default { render };
