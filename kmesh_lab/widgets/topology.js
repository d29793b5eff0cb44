// The lab while connections come and go. Draws `frame`; says what the learner did with model.send.
// Names are other people's bytes: see dom.js.

function render({ model, el }) {
  const id = `kl${Math.random().toString(36).slice(2)}`;
  const root = el.appendChild(document.createElement("div"));
  root.className = "kl-view kl-topology";
  root.setAttribute("role", "group");
  root.setAttribute("aria-labelledby", `${id}-title`);
  const local = { message: 0, busy: false, gone: false, said: "", wanted: "" };
  let busyTimer = 0, sayTimer = 0;

  const send = (what) => {
    if (local.gone) return;
    local.message += 1;
    clearTimeout(busyTimer);
    busyTimer = setTimeout(() => { local.busy = true; draw(); }, 1000);
    model.send({ ...what, message: local.message });
  };

  const draw = () => patch(root, page(model.get("frame")));

  const changed = () => {
    const f = model.get("frame");
    if (f.heard >= local.message) { clearTimeout(busyTimer); local.busy = false; }
    const newest = f.last[0];
    local.wanted = `${counted(f.open, "connection")} open.` + (newest ? ` Last: ${newest.client} asked for ${newest.asked}, chosen: ${newest.chosen}, ${newest.by}, ${newest.state}.` : "");
    if (!sayTimer) sayTimer = setTimeout(() => { sayTimer = 0; local.said = local.wanted; draw(); }, 1500); // a screen reader is no ticker
    draw();
  };

  const page = (f) => {
    const off = local.gone || f.closed;
    const state = local.gone ? "The kernel was restarted or has ended: this is the last picture. Run the cell again." : f.state;
    return [
      h("div", { key: "top", class: "kl-top" },
        h("h3", { id: `${id}-title` }, "The lab, as its programs report it"),
        h("span", { class: "kl-soft" }, `${counted(f.open, "connection")} open`),
        h("div", { class: "kl-right" },
          h("label", { for: `${id}-only` }, "Connects of"),
          h("select", { id: `${id}-only`, value: f.only, disabled: off, onchange: (event) => send({ do: "show", pod: event.target.value }) },
            h("option", { key: "", value: "" }, "all pods"), f.pods.map((name) => h("option", { key: name, value: name, selected: name === f.only }, name))),
          h("button", { key: "clear", type: "button", disabled: off, onclick: () => send({ do: "clear" }) }, "Start counting anew"),
          h("button", { key: "live", type: "button", role: "switch", class: "kl-switch", "aria-checked": f.live && !off, disabled: off, onclick: () => send({ do: "live", on: !f.live }) },
            h("i", { "aria-hidden": "true" }), "Live"))),
      h("p", { key: "state", class: "kl-state", role: "alert" }, state && [h("span", { "aria-hidden": "true" }, "■ "), state]),
      local.busy && h("p", { key: "busy", class: "kl-soft" }, "No answer yet: the kernel is busy with a cell, or was restarted."),
      f.lost > 0 && h("p", { key: "lost", class: "kl-state" }, `${f.lost.toLocaleString("en")} steps were lost: what is drawn as open may be over.`),
      h("div", { key: "picture", class: "kl-scroll" }, shape(f.picture, f, off)),
      h("div", { key: "tables", class: "kl-tables" }, endpoints(f), last(f)),
      h("p", { key: "said", class: "kl-hidden", role: "status", "aria-live": "polite" }, local.said),
    ];
  };

  // Python's drawing, element by element; colours come from the style sheet by the part that an element is.
  const shape = (each, f, off) => {
    const parts = each.part.split(" ").filter(Boolean);
    const props = { key: each.key ? `${parts[0]} ${each.key}` : undefined, class: parts.map((part) => `kl-${part}`).join(" ") || null };
    for (const [name, value] of Object.entries(each.at)) {
      props[name] = name === "id" ? `${id}-${value}` : value.startsWith("url(#") ? `url(#${id}-${value.slice(5)}` : value;
    }
    if (each.tag === "svg") Object.assign(props, { key: "svg", width: null, style: `width:100%;max-width:${each.at.width}px` });
    if ((parts[0] === "pod" || parts[0] === "waypoint") && !off) {
      props.onclick = () => send({ do: "show", pod: f.only === each.key ? "" : each.key });
      if (f.only === each.key) props.class += " kl-only";
    }
    return h(each.tag, props, each.in.map((inner) => (typeof inner === "string" ? inner : shape(inner, f, off))));
  };

  const endpoints = (f) => {
    const most = Math.max(1, ...f.rows.map((row) => row.chosen));
    return h("table", { key: "endpoints" },
      h("caption", {}, "Chosen by the programs"),
      h("thead", {}, h("tr", {}, ["endpoint", "chosen", "open now"].map((name) => h("th", { key: name, scope: "col" }, name)))),
      h("tbody", {},
        f.rows.length === 0 && h("tr", { key: "none" }, h("td", { colspan: 3, class: "kl-soft" }, "No service is published yet.")),
        f.rows.map((row) => h("tr", { key: `${row.service} ${row.name}` },
          h("th", { scope: "row" }, h("span", { class: "kl-name" }, row.name || "nobody"), h("span", { class: "kl-soft kl-sub" }, `of ${row.service}`),
            row.where && h("span", { key: "where", class: "kl-soft kl-sub" }, row.where),
            row.state !== "in" && h("span", { key: "out", class: row.state.startsWith("the waypoint") ? "kl-soft kl-sub" : "kl-bad kl-sub" }, row.state.startsWith("the waypoint") ? row.state : `✕ ${row.state}`)),
          h("td", { class: "kl-result" },
            h("span", { class: "kl-bar" }, row.chosen > 0 && h("i", { key: "i", style: `width:${(60 * row.chosen / most).toFixed(1)}%`, "aria-hidden": "true" }), h("b", {}, row.chosen.toLocaleString("en"))),
            row.by.map((line) => h("span", { key: line, class: "kl-soft kl-sub" }, line))),
          h("td", { class: "kl-number" }, `${row.open}`)))));
  };

  const last = (f) => h("table", { key: "last" },
    h("caption", {}, "The last connects, newest first"),
    h("thead", {}, h("tr", {}, ["client", "asked for", "chosen", "now"].map((name) => h("th", { key: name, scope: "col" }, name)))),
    h("tbody", {},
      f.last.length === 0 && h("tr", { key: "none" }, h("td", { colspan: 4, class: "kl-soft" }, "None since this began to count.")),
      f.last.map((each, i) => h("tr", { key: i },
        h("th", { scope: "row" }, each.client), h("td", {}, each.asked.split(" ").map((part) => h("span", { class: "kl-part" }, part))),
        h("td", {}, h("span", {}, each.chosen), h("span", { class: "kl-soft kl-sub" }, each.by)),
        h("td", { class: "kl-now" }, h("span", { "aria-hidden": "true" }, { open: "● ", closed: "○ " }[each.state] ?? "✕ "), each.state)))));

  const unwatch = watchKernel(model, () => {
    Object.assign(local, { gone: true, busy: false });
    clearTimeout(busyTimer);
    draw();
  });
  model.on("change:frame", changed);
  local.message = model.get("frame").heard;
  draw();
  send({ do: "open" });
  return () => { clearTimeout(busyTimer); clearTimeout(sayTimer); unwatch(); model.off("change:frame", changed); };
}

function counted(number, one) {
  return `${number || "no"} ${one}${number === 1 ? "" : "s"}`;
}

export default { render };
