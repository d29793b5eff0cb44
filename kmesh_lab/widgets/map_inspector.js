// The rows of a node's maps. Draws `frame`; says what the learner did with model.send.
// Names are other people's bytes: see dom.js.

const MARKS = { changed: "changed", new: "new", deleted: "deleted" };

const inFours = (hex) => hex.match(/.{1,8}/g)?.join(" ") ?? "";

function render({ model, el }) {
  const id = `kl${Math.random().toString(36).slice(2)}`;
  const root = el.appendChild(document.createElement("div"));
  root.className = "kl-view kl-maps";
  root.setAttribute("role", "group");
  root.setAttribute("aria-labelledby", `${id}-title`);
  const local = { open: "", was: "", typed: {}, search: null, message: 0, busy: false, gone: false, saving: 0, said: "" };
  let busyTimer = 0, searchTimer = 0;

  const send = (what) => {
    if (local.gone) return 0;
    local.message += 1;
    clearTimeout(busyTimer);
    busyTimer = setTimeout(() => { local.busy = true; draw(); }, 1000);
    model.send({ ...what, message: local.message });
    return local.message;
  };
  const show = (what) => {
    const f = model.get("frame");
    send({ do: "show", table: f.table, search: local.search ?? f.search, page: 1, ...what });
  };

  const draw = () => {
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    patch(root, page(model.get("frame")));
    if (focused && !focused.isConnected) root.querySelector(`#${id}-panel`)?.focus(); // it went away: stay near
  };

  const changed = () => {
    const f = model.get("frame");
    if (f.heard >= local.message) { clearTimeout(busyTimer); local.busy = false; if (!searchTimer) local.search = null; }
    if (local.open && !f.rows.some((row) => row.key === local.open)) close();
    if (local.saving && f.heard >= local.saving) {
      const row = f.rows.find((each) => each.key === local.open);
      if (row) local.was = row.value;
      if (f.answer.ok) local.typed = {};
      local.saving = 0;
    }
    const marks = f.rows.filter((row) => row.mark).map((row) => `${row.cells[0][0]} ${row.mark}`);
    local.said = marks.length > 5 ? `${marks.length} rows of ${f.table} changed` : marks.join(", ");
    draw();
  };

  const close = () => { Object.assign(local, { open: "", was: "", typed: {} }); };
  const open = (row) => { if (local.open === row.key) close(); else Object.assign(local, { open: row.key, was: row.value, typed: {} }); draw(); };

  const page = (f) => {
    const off = local.gone || f.closed;
    const state = local.gone ? "The kernel was restarted or has ended: this is the last picture. Run the cell again." : f.state;
    return [
      h("div", { key: "top", class: "kl-top" },
        h("h3", { id: `${id}-title` }, "The maps of node ", h("b", {}, f.node)), h("span", { class: "kl-soft" }, f.where),
        h("span", { class: "kl-right" },
          h("button", { type: "button", role: "switch", class: "kl-switch", "aria-checked": f.live && !local.gone, disabled: off, onclick: () => send({ do: "live", on: !f.live }) },
            h("i", { "aria-hidden": "true" }), "Live"),
          h("button", { type: "button", disabled: off || f.live, onclick: () => send({ do: "refresh" }) }, "Look now"),
          f.repair && h("button", { key: "repair", type: "button", disabled: off, onclick: () => send({ do: "repair" }) }, "Apply again"))),
      h("p", { key: "state", class: "kl-state", role: "alert" }, state && [h("span", { "aria-hidden": "true" }, "■ "), state]),
      tabs(f, off),
      h("div", { key: "panel", id: `${id}-panel`, class: "kl-panel", role: "tabpanel", tabindex: "-1", "aria-labelledby": `${id}-tab-${f.table}` }, find(f, off), table(f, off)),
      answer(f, off),
      h("p", { key: "said", class: "kl-hidden", "aria-live": "polite" }, local.said),
      h("datalist", { key: "names", id: `${id}-names` }, f.names.map((name) => h("option", { key: name, value: name }))),
    ];
  };

  const tabs = (f, off) => {
    const names = f.tables.map((each) => each.name);
    const turn = (name) => { close(); clearTimeout(searchTimer); searchTimer = 0; local.search = ""; show({ table: name, search: "" }); root.querySelector(`#${id}-tab-${name}`).focus(); };
    const key = (event) => {
      const at = names.indexOf(event.target.dataset.table), last = names.length - 1;
      const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
      if (to !== undefined) { event.preventDefault(); turn(names[to]); }
    };
    return h("div", { key: "tabs", class: "kl-tabs", role: "tablist", "aria-label": "Maps", onkeydown: key }, f.tables.map((each) => {
      const on = each.name === f.table;
      return h("button", { key: each.name, type: "button", role: "tab", id: `${id}-tab-${each.name}`, "data-table": each.name, "aria-selected": on, "aria-controls": `${id}-panel`,
        tabindex: on ? "0" : "-1", disabled: off, onclick: () => turn(each.name) },
        each.name, h("span", { class: "kl-count" }, each.count.toLocaleString("en")),
        h("span", { class: "kl-news" }, each.marks ? `${each.marks.toLocaleString("en")} changed` : ""));
    }));
  };

  const find = (f, off) => {
    const typed = (event) => {
      local.search = event.target.value;
      clearTimeout(searchTimer);
      searchTimer = setTimeout(() => { searchTimer = 0; close(); show({}); }, 150);
    };
    const most = f.tables.find((each) => each.name === f.table);
    return h("div", { key: "find", class: "kl-find" },
      h("label", {}, h("span", { class: "kl-hidden" }, `Search in ${f.table}`),
        h("input", { type: "search", placeholder: "Name, address or id", value: local.search ?? f.search, disabled: off, oninput: typed })),
      h("span", { class: "kl-soft", "aria-live": "polite" }, f.search ? `${f.found.toLocaleString("en")} of ${most.count.toLocaleString("en")} rows` : `${most.count.toLocaleString("en")} of at most ${most.most.toLocaleString("en")} rows`),
      f.pages > 1 && h("div", { key: "pages", class: "kl-pages", role: "group", "aria-label": "Pages" },
        h("button", { type: "button", "aria-label": "Previous page", disabled: off || f.page === 1, onclick: () => show({ page: f.page - 1 }) }, "←"),
        h("span", { "aria-live": "polite" }, `page ${f.page} of ${f.pages}`),
        h("button", { type: "button", "aria-label": "Next page", disabled: off || f.page === f.pages, onclick: () => show({ page: f.page + 1 }) }, "→")));
  };

  const table = (f, off) => h("div", { key: `table ${f.table}`, class: "kl-scroll" }, h("table", {},
    h("caption", { class: "kl-hidden" }, `km_${f.table} on ${f.node}`),
    h("thead", {}, h("tr", {}, f.columns.map((name) => h("th", { key: name, scope: "col" }, name)),
      h("th", { scope: "col", key: "k" }, "key, bytes"), h("th", { scope: "col", key: "v" }, "value, bytes"), h("th", { key: "e" }, h("span", { class: "kl-hidden" }, "Row")))),
    h("tbody", {},
      f.rows.length === 0 && h("tr", { key: "none" }, h("td", { colspan: f.columns.length + 3, class: "kl-soft" }, f.search ? "No row contains this." : "This map is empty.")),
      f.rows.map((row) => [line(f, row, off), local.open === row.key && editor(f, row, off)]))));

  const line = (f, row, off) => h("tr", { key: row.key, class: row.mark ? `kl-mark kl-${row.mark}` : "" },
    row.cells.map(([text, sub], i) => h(i ? "td" : "th", { key: i, scope: i ? null : "row" },
      h("span", { class: "kl-main" }, text), sub && h("span", { class: "kl-soft kl-sub" }, sub),
      i === 0 && row.mark && h("span", { key: "mark", class: "kl-badge" }, MARKS[row.mark]))),
    bytes(f.layout.key, row.bytes[0], "k"), bytes(f.layout.value, row.bytes[1], "v"),
    h("td", { key: "e", class: "kl-end" }, row.mark !== "deleted" && h("button", { type: "button", "aria-expanded": local.open === row.key, disabled: off,
      "aria-label": `${row.fields.length ? "Edit" : "Open"} row ${row.cells.slice(0, 3).map(([text]) => text).join(", ")}`, onclick: () => open(row) }, local.open === row.key ? "Close" : row.fields.length ? "Edit" : "Open")));

  const bytes = (layout, texts, key) => h("td", { key, class: "kl-bytes" }, texts.map((text, i) =>
    h("span", { key: i, title: `${layout[i][0]}, offset ${layout[i][1]}, ${layout[i][2]} bytes${layout[i][3] ? `: ${layout[i][3]}` : ""}` }, text)));

  const editor = (f, row, off) => {
    const go = (what) => { local.saving = send({ ...what, table: f.table, key: row.key, was: local.was }); };
    const save = (event) => {
      event.preventDefault();
      const typed = Object.entries(local.typed).filter(([name, text]) => text !== row.fields.find((each) => each.name === name)?.text);
      if (typed.length) go({ do: "edit", fields: Object.fromEntries(typed) });
    };
    const input = (each) => {
      const set = (event) => { local.typed[each.name] = event.target.value; draw(); };
      const props = { id: `${id}-${each.name}`, value: local.typed[each.name] ?? each.text, disabled: off, oninput: set };
      if (each.kind === "choice") return h("select", { ...props, onchange: set }, each.choices.map((name) => h("option", { key: name, value: name }, name)));
      const enter = (event) => { if (event.key === "Enter") save(event); }; // a field with a datalist does not submit by itself
      return h("input", { ...props, onkeydown: enter, type: "text", inputmode: each.kind === "number" ? "numeric" : null, class: each.kind === "number" ? "kl-short" : "", list: each.kind === "name" ? `${id}-names` : null });
    };
    const part = (name, hex) => f.layout[name].map(([field, at, size, comment]) => h("tr", { key: `${name} ${field}` },
      h("th", { scope: "row" }, h("span", { class: "kl-soft" }, `${name} `), field), h("td", { class: "kl-soft" }, `${at}`),
      h("td", { class: "kl-hex" }, inFours(hex.slice(2 * at, 2 * (at + size)))), h("td", { class: "kl-soft" }, comment)));
    const wrong = !f.answer.ok && f.answer.row === row.key;
    return h("tr", { key: `editor ${row.key}`, class: "kl-open" }, h("td", { colspan: f.columns.length + 3 },
      h("form", { class: "kl-form", onsubmit: save },
        row.fields.map((each) => h("div", { key: each.name, class: "kl-field" }, h("label", { for: `${id}-${each.name}` }, each.label), input(each))),
        h("div", { key: "go", class: "kl-go" },
          row.fields.length > 0 && h("button", { key: "save", type: "submit", class: "kl-primary", disabled: off }, "Write"),
          h("button", { key: "delete", type: "button", disabled: off, onclick: () => go({ do: "delete" }) }, "Delete row"))),
      wrong && h("p", { key: "wrong", class: "kl-error", role: "alert" }, h("span", { "aria-hidden": "true" }, "! "), f.answer.text),
      row.value !== local.was && !wrong && h("p", { key: "moved", class: "kl-soft" }, "This row has changed since you opened it."),
      h("table", { key: "bytes", class: "kl-fields" }, h("thead", {}, h("tr", {}, ["field", "offset", "bytes", "in the C header"].map((name) => h("th", { key: name, scope: "col" }, name)))),
        h("tbody", {}, part("key", row.key), part("value", row.value)))));
  };

  const answer = (f, off) => h("div", { key: "answer", class: "kl-answer", "aria-live": "polite" },
    local.busy && h("p", { key: "busy", class: "kl-soft" }, "No answer yet: the kernel is busy with a cell, or was restarted."),
    f.answer.text && (f.answer.ok || f.answer.row !== local.open) && h("p", { key: "text", class: f.answer.ok ? "" : "kl-error" }, f.answer.ok ? "✓ " : "! ", f.answer.text),
    f.undo && h("button", { key: "undo", type: "button", disabled: off, onclick: () => send({ do: "undo" }) }, "Undo"));

  const unwatch = watchKernel(model, () => {
    Object.assign(local, { gone: true, busy: false });
    clearTimeout(busyTimer);
    draw();
  });
  model.on("change:frame", changed);
  local.message = model.get("frame").heard;
  draw();
  send({ do: "open" });
  return () => { clearTimeout(busyTimer); clearTimeout(searchTimer); unwatch(); model.off("change:frame", changed); };
}

export default { render };
