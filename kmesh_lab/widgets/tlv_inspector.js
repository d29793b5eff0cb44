// TlvInspector: bytes in a grid, tied to their fields. The decoder is Python's: every change is sent there.

const COLUMNS = 16;
const PATIENCE = 1500; // ms without an answer of the kernel
const SAYS = { complete: ["✓", "Complete"], more: ["…", "Incomplete"], error: ["✗", "Refused"] };
let nextId = 0;

const hue = (field) => `kl-tlv-${field.name.replace(" ", "-")}`;
const pairs = (hex) => hex.match(/../g) ?? [];
const counted = (number, one) => `${number} ${one}${number === 1 ? "" : "s"}`;

function span(field) {
  return field.size === 1 ? `byte ${field.start}` : `bytes ${field.start}–${field.start + field.size - 1}`;
}

const missing = (field) => (field.missing ? `${counted(field.missing, "byte")} missing` : "");

function printable(byte) {
  const code = parseInt(byte, 16);
  return code > 32 && code < 127 ? String.fromCharCode(code) : "";
}

function render({ model, el }) {
  const id = `kl-tlv-${++nextId}`;
  const root = make("section", "kl-view kl-tlv", undefined, {
    "aria-label": "The TLV, byte by byte",
  });
  el.append(root);

  const top = make("header", "kl-tlv-top");
  const title = make("p", "kl-tlv-title");
  const examples = make("div", "kl-tlv-examples", undefined, { role: "group", "aria-label": "Example" });
  top.append(title, examples);
  const verdict = make("p", "kl-tlv-verdict", undefined, { role: "status", "aria-live": "polite" });
  const silence = make("p", "kl-tlv-silence", "", { role: "alert" });
  const grid = make("div", "kl-tlv-grid", undefined, {
    role: "grid",
    "aria-label": "Bytes; arrow keys move, two hex digits change a byte, Delete removes it",
  });
  const about = make("p", "kl-tlv-about");
  const fields = make("table", "kl-tlv-table");
  const order = make("table", "kl-tlv-table");
  const dissection = make("pre", "kl-tlv-scapy", undefined, { tabindex: "0", "aria-label": "Scapy's dissection" });
  const box = make("textarea", "kl-tlv-text", undefined, {
    id: `${id}-text`,
    rows: "2",
    spellcheck: "false",
    autocomplete: "off",
    "aria-describedby": `${id}-refused`,
  });
  const refused = make("p", "kl-tlv-refused", "", { id: `${id}-refused`, role: "alert" });
  const left = make("div");
  left.append(fields, order);
  const right = make("div");
  right.append(make("h4", "", "The same bytes, dissected by Scapy"), dissection);
  const columns = make("div", "kl-tlv-columns");
  columns.append(left, right);
  const paste = make("div", "kl-tlv-paste");
  paste.append(make("label", "", "The bytes as hex, to edit or to paste over", { for: box.id }), box, refused);
  root.replaceChildren(top, verdict, silence, grid, about, columns, paste);

  let cells = []; // the bytes, and behind them the place for one more
  let focused = 0; // the byte that Tab leads to
  let shown = -1; // the field that is tied to its bytes now
  let pointer = []; // where the mouse was last
  let typed = ""; // the first digit of a byte that is being changed
  let dirty = false; // the text box holds what was not answered yet
  let turn = Math.floor(Math.random() * 2 ** 30);
  let waiting = 0;
  let gone = false; // the kernel that knew these bytes

  // ---- to Python

  const unwatch = watchKernel(model, () => {
    gone = true;
    clearTimeout(waiting);
    silence.textContent = "The kernel was restarted or has ended: this is its last answer. Run the cell again.";
  });

  function ask(message) {
    if (gone) return;
    turn += 1;
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      silence.textContent = "The kernel has not answered yet: it is busy, or gone. What you see is its last answer.";
    }, PATIENCE);
    try {
      model.send({ ...message, turn });
    } catch {
      clearTimeout(waiting);
      silence.textContent = "There is no kernel to answer: run the cell again. What you see is its last answer.";
    }
  }

  // ---- tying bytes to fields

  // A new picture under a mouse that lies still is no reason to point elsewhere.
  function moved({ clientX, clientY }) {
    const still = pointer[0] === clientX && pointer[1] === clientY;
    pointer = [clientX, clientY];
    return !still;
  }

  const fieldAt = (at) => model.get("frame").fields.findIndex((f) => at >= f.start && at < f.start + f.size);

  function tie(which) {
    shown = which;
    const field = model.get("frame").fields[which];
    cells.forEach((cell, at) => {
      cell.classList.toggle("kl-tlv-on", Boolean(field) && at >= field.start && at < field.start + field.size);
    });
    fields.querySelectorAll("tbody tr").forEach((row, at) => row.classList.toggle("kl-tlv-on", at === which));
    about.replaceChildren();
    if (!field) {
      about.append("Point at a byte, or move to it with the arrow keys, to see what it is part of.");
      return;
    }
    about.append(make("strong", "", field.name), ` · ${span(field)}`);
    if (field.missing) about.append(` · ${missing(field)}`);
    if (field.value) about.append(" · ", make("code", "", field.value));
    about.append(` · ${field.meaning}`);
  }

  // ---- the grid

  function label(byte, at) {
    const field = model.get("frame").fields[fieldAt(at)];
    if (byte === "") return `after the last byte: type two hex digits to add one`;
    return `byte ${at}: ${byte}, ${field.name}${field.value ? ` ${field.value}` : ""}`;
  }

  function cellOf(byte, at) {
    const field = model.get("frame").fields[fieldAt(at)];
    const cell = make("div", `kl-tlv-byte ${byte ? hue(field) : "kl-tlv-add"}`, undefined, {
      role: "gridcell",
      tabindex: "-1",
      "aria-label": label(byte, at),
    });
    cell.append(make("span", "kl-tlv-hex", byte || "+"), make("span", "kl-tlv-char", field?.text ? printable(byte) : ""));
    cell.addEventListener("focus", () => {
      if (at !== focused) forget();
      cells[focused]?.setAttribute("tabindex", "-1");
      focused = at;
      cell.setAttribute("tabindex", "0");
      tie(fieldAt(at));
    });
    cell.addEventListener("blur", () => {
      if (cells[at] === cell) forget();
    });
    cell.addEventListener("pointerenter", (event) => moved(event) && tie(fieldAt(at)));
    cell.addEventListener("click", () => cell.focus());
    return cell;
  }

  function bands(line, from, to) {
    for (const field of model.get("frame").fields) {
      const [start, end] = [Math.max(field.start, from), Math.min(field.start + field.size, to)];
      if (start >= end) continue;
      const band = make("div", `kl-tlv-band ${hue(field)}`, field.start < from ? `… ${field.name}` : field.name, {
        "aria-hidden": "true",
      });
      band.style.gridColumn = `${start - from + 2} / span ${end - start}`;
      line.append(band);
    }
  }

  function drawGrid(frame) {
    const had = grid.contains(document.activeElement);
    const bytes = pairs(frame.hex).slice(0, frame.shown);
    const all = frame.size > frame.shown ? bytes : [...bytes, ""];
    cells = [];
    const lines = [];
    for (let from = 0; from < all.length; from += COLUMNS) {
      const line = make("div", "kl-tlv-line", undefined, { role: "row" });
      line.append(make("span", "kl-tlv-offset", String(from), { role: "rowheader", "aria-label": `from byte ${from}` }));
      all.slice(from, from + COLUMNS).forEach((byte, column) => {
        const cell = cellOf(byte, from + column);
        cell.style.gridColumn = column + 2;
        cells.push(cell);
        line.append(cell);
      });
      bands(line, from, from + COLUMNS);
      lines.push(line);
    }
    const pending = typed;
    grid.replaceChildren(...lines);
    if (frame.size > frame.shown) grid.append(make("p", "kl-tlv-note", `and ${frame.size - frame.shown} more bytes`));
    focused = Math.min(focused, cells.length - 1);
    cells[focused].setAttribute("tabindex", "0");
    if (had) cells[focused].focus({ preventScroll: true });
    if (had && pending) type(pending);
  }

  function type(digit) {
    typed = digit;
    const cell = cells[focused];
    cell.classList.add("kl-tlv-typing");
    cell.firstChild.textContent = `${digit}_`;
  }

  function forget() {
    if (!typed) return;
    typed = "";
    const cell = cells[focused];
    cell.classList.remove("kl-tlv-typing");
    cell.firstChild.textContent = pairs(model.get("frame").hex)[focused] ?? "+";
  }

  function change(hex, next) {
    const at = focused;
    typed = "";
    if (hex.length === 2) cells[at].firstChild.textContent = hex;
    ask({ do: "change", at, hex });
    if (next !== at && cells[next]) cells[next].focus();
    focused = next;
  }

  grid.addEventListener("pointerleave", () => tie(grid.contains(document.activeElement) ? fieldAt(focused) : -1));
  grid.addEventListener("keydown", (event) => {
    const { key } = event;
    const last = cells.length - 1;
    const row = focused - (focused % COLUMNS);
    const all = event.ctrlKey || event.metaKey;
    const to = {
      ArrowLeft: focused - 1,
      ArrowRight: focused + 1,
      ArrowUp: focused - COLUMNS,
      ArrowDown: focused + COLUMNS,
      Home: all ? 0 : row,
      End: all ? last : Math.min(last, row + COLUMNS - 1),
    }[key];
    const real = focused < model.get("frame").size;
    if (to !== undefined && !event.altKey) {
      if (to >= 0 && to <= last) cells[to].focus();
    } else if (all || event.altKey) return;
    else if (/^[0-9a-f]$/i.test(key)) {
      if (typed) change(typed + key.toLowerCase(), Math.min(focused + 1, last + 1));
      else type(key.toLowerCase());
    } else if (key === "Escape") forget();
    else if (key === "Delete" && real) change("", focused);
    else if (key === "Backspace" && typed) forget();
    else if (key === "Backspace" && focused > 0) {
      focused -= 1;
      change("", focused);
    } else if (key === "Insert" && real) change(`00${pairs(model.get("frame").hex)[focused]}`, focused);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // ---- the tables

  function headed(table, caption, names) {
    const head = make("thead");
    const row = make("tr");
    row.append(...names.map((name) => make("th", "", name, { scope: "col" })));
    head.append(row);
    const body = make("tbody");
    table.replaceChildren(make("caption", "", caption), head, body);
    return body;
  }

  function drawFields(frame) {
    const had = [...fields.querySelectorAll("button")].indexOf(document.activeElement);
    const body = headed(fields, "Fields", ["field", "where", "value", "meaning"]);
    frame.fields.forEach((field, at) => {
      const row = make("tr");
      const name = make("th", "", undefined, { scope: "row" });
      const button = make("button", "kl-tlv-field", undefined, { type: "button" });
      button.append(make("span", `kl-tlv-swatch ${hue(field)}`, "", { "aria-hidden": "true" }), field.name);
      button.addEventListener("focus", () => tie(at));
      button.addEventListener("click", () => cells[field.start]?.focus());
      button.title = "Go to its first byte";
      name.append(button);
      const where = make("td", "kl-tlv-where", span(field));
      if (field.missing) where.append(make("span", "kl-tlv-missing", missing(field)));
      row.append(name, where, make("td", "kl-tlv-value", field.value), make("td", "", field.meaning));
      row.addEventListener("pointerenter", (event) => moved(event) && tie(at));
      row.addEventListener("pointerleave", () => tie(grid.contains(document.activeElement) ? fieldAt(focused) : -1));
      body.append(row);
    });
    if (had >= 0) fields.querySelectorAll("button")[Math.min(had, frame.fields.length - 1)]?.focus();
  }

  function drawOrder(frame) {
    const numbers = frame.fields.filter((field) => field.little);
    order.hidden = !numbers.length;
    const names = ["field", "on the wire", "network order (big-endian)", "a little-endian reader gets"];
    const body = headed(order, "Byte order", names);
    for (const field of numbers) {
      const row = make("tr");
      row.append(make("th", "", field.name, { scope: "row" }));
      for (const [kind, text] of [["kl-tlv-value", field.hex], ["kl-tlv-value", field.value], ["kl-tlv-value", field.little]])
        row.append(make("td", kind, text));
      body.append(row);
    }
  }

  // ---- the whole

  function draw() {
    const frame = model.get("frame");
    if (frame.turn === turn || !frame.turn) {
      clearTimeout(waiting);
      silence.textContent = "";
    }
    const more = frame.left_out ? `, the first of ${(frame.size + frame.left_out).toLocaleString("en")}` : "";
    title.replaceChildren(make("strong", "", counted(frame.size, "byte")), `${more}, as a waypoint reads them`);
    const again = examples.contains(document.activeElement) && document.activeElement.textContent;
    examples.replaceChildren(
      ...frame.examples.map((name) => {
        const button = make("button", "", name, { type: "button", "aria-pressed": String(name === frame.example) });
        button.addEventListener("click", () => {
          dirty = false;
          ask({ do: "example", which: name });
        });
        return button;
      }),
    );
    if (again) [...examples.children].find((button) => button.textContent === again)?.focus();
    const [sign, word] = SAYS[frame.state];
    if (verdict.textContent !== `${sign} ${word}: ${frame.verdict}`) {
      verdict.className = `kl-tlv-verdict kl-tlv-${frame.state}`;
      const mark = make("span", "kl-tlv-sign", sign, { "aria-hidden": "true" });
      verdict.replaceChildren(mark, " ", make("strong", "", `${word}:`), ` ${frame.verdict}`);
    }
    drawGrid(frame);
    drawFields(frame);
    drawOrder(frame);
    dissection.textContent = frame.scapy;
    refused.textContent = frame.refused;
    box.setAttribute("aria-invalid", String(Boolean(frame.refused)));
    if (frame.turn === turn && !frame.refused && document.activeElement !== box) dirty = false;
    if (!dirty && document.activeElement !== box) box.value = pairs(frame.hex).join(" ");
    tie(grid.contains(document.activeElement) ? fieldAt(focused) : shown);
  }

  let soon = 0;
  box.addEventListener("input", () => {
    dirty = true;
    clearTimeout(soon);
    soon = setTimeout(() => ask({ do: "edit", hex: box.value }), 120);
  });
  box.addEventListener("blur", () => {
    const frame = model.get("frame");
    if (frame.refused || frame.turn !== turn) return;
    dirty = false;
    box.value = pairs(frame.hex).join(" ");
  });

  model.on("change:frame", draw);
  draw();
  return () => {
    model.off("change:frame", draw);
    unwatch();
    clearTimeout(waiting);
    clearTimeout(soon);
  };
}

export default { render };
