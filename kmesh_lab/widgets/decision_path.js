// DecisionPath: the stations of one connection, and the step that is looked at. Text is inserted as text only.

const C_TOKENS =
  /(\/\*.*?(?:\*\/|$)|\/\/.*$|^\s+\*.*$)|("(?:[^"\\]|\\.)*")|\b(?:(if|else|return|for|while|switch|case|break|continue|sizeof|goto)|(struct|union|enum|const|static|volatile|int|bool|void|char|long|unsigned|__u8|__u16|__u32|__u64|__s32|__always_inline|inline))\b|([\w.&]+(?:->[\w.]+)+)/g;
const TOKEN_CLASSES = ["comment", "string", "keyword", "type", "member"];

const hidden = (text) => make("span", "kl-hidden", text);

// ---- the path

function station(step, number, show) {
  const button = make("button", "kl-dp-station", undefined, { type: "button", tabindex: "-1" });
  const result = step.ret || step.short;
  button.setAttribute("aria-label", `Step ${number + 1}, ${step.label}: ${step.story}`);
  button.append(make("span", "kl-dp-disc", String(number + 1)), make("span", "kl-dp-name", step.label));
  if (result) button.append(short(result));
  button.addEventListener("click", () => show(number));
  return button;
}

// An address that does not fit is broken before its port.
function short(text) {
  const box = make("span", "kl-dp-short");
  const [, head, port] = /^(.*?)(:\d+)?$/s.exec(text);
  box.append(head);
  if (port) box.append(document.createElement("wbr"), port);
  return box;
}

function branches(step) {
  const list = make("ul", "kl-dp-branches", undefined, { "aria-label": `Branches at ${step.label}` });
  for (const branch of step.branches) {
    const item = make("li", branch.taken ? "kl-dp-taken" : "kl-dp-not");
    item.append(make("span", "kl-dp-mark", branch.taken ? "●" : "○", { "aria-hidden": "true" }));
    item.append(make("span", "", branch.text), hidden(branch.taken ? ", taken" : ", not taken"));
    list.append(item);
  }
  return list;
}

function pass(frame, group, index, buttons, show) {
  const box = make("div", `kl-dp-group kl-dp-${group.kind}`, undefined, { role: "group", "aria-label": group.title });
  const title = make("p", "kl-dp-title", group.title, { "aria-hidden": "true" });
  const grid = make("div", "kl-dp-grid");
  const visited = new Set();
  frame.steps.forEach((step, number) => {
    if (step.group !== index) return;
    const button = station(step, number, show);
    buttons[number] = button;
    if (step.lane === "entry") {
      button.classList.add("kl-dp-entry");
      button.lastChild.after(make("span", "kl-dp-short", step.story));
      box.append(button);
      return;
    }
    const cell = make("div", `kl-dp-cell kl-dp-lane-${step.lane}`);
    cell.style.gridColumn = (step.column % frame.stations.length) + 1;
    cell.append(button);
    if (step.branches.length) cell.append(branches(step));
    if (step.lane === "main") visited.add(step.column);
    grid.append(cell);
  });
  if (group.kind === "pass") {
    frame.stations.forEach((name, column) => {
      if (visited.has(column)) return;
      const cell = make("div", "kl-dp-cell kl-dp-lane-main kl-dp-unvisited");
      cell.style.gridColumn = column + 1;
      const place = make("div", "kl-dp-station");
      place.append(make("span", "kl-dp-disc", "", { "aria-hidden": "true" }), make("span", "kl-dp-name", name));
      place.append(hidden(", not reached"));
      cell.append(place);
      grid.append(cell);
    });
  }
  if (!box.firstChild) box.append(title);
  box.append(grid);
  return box;
}

// ---- the lines between the stations

function draw(map, svg, frame, buttons, current) {
  svg.style.width = svg.style.height = "0";
  const origin = map.getBoundingClientRect();
  if (!origin.width) return;
  svg.setAttribute("viewBox", `0 0 ${map.scrollWidth} ${map.scrollHeight}`);
  svg.style.width = `${map.scrollWidth}px`;
  svg.style.height = `${map.scrollHeight}px`;
  const centre = (element) => {
    const disc = element.querySelector(".kl-dp-disc").getBoundingClientRect();
    return {
      x: disc.left - origin.left + map.scrollLeft + disc.width / 2,
      y: disc.top - origin.top + disc.height / 2,
    };
  };
  const line = (d, kind) => {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    path.setAttribute("class", `kl-dp-line kl-dp-line-${kind}`);
    svg.append(path);
  };
  svg.replaceChildren();
  for (const grid of map.querySelectorAll(".kl-dp-pass .kl-dp-grid")) {
    const main = [...grid.querySelectorAll(".kl-dp-lane-main")]
      .map((cell) => ({ ...centre(cell), number: buttons.indexOf(cell.firstChild) }))
      .sort((a, b) => a.x - b.x);
    for (let i = 1; i < main.length; i++) {
      const direct = main[i - 1].number >= 0 && main[i].number === main[i - 1].number + 1;
      if (!direct) line(`M${main[i - 1].x} ${main[i - 1].y}H${main[i].x}`, "not");
    }
  }
  const right = map.scrollWidth - 5;
  const way = frame.steps.map((step, number) => ({ step, at: centre(buttons[number]) }));
  for (let i = way.length - 1; i > 0; i--) {
    const [{ step: before, at: a }, { step, at: b }] = [way[i - 1], way[i]];
    const kind = i <= current ? "passed" : "ahead";
    if (before.group === step.group) {
      if (before.lane === "entry") line(`M${a.x} ${a.y}V${b.y}`, kind);
      else if (b.y < a.y) line(curve(a, b, true), kind);
      else line(curve(a, b, false), kind);
    } else if (step.lane === "entry") {
      line(around(a, b, right), kind);
    }
  }
}

// From a to b; on another level it rises close to a, and comes down close to b.
function curve(a, b, rises) {
  if (Math.abs(a.y - b.y) < 1) return `M${a.x} ${a.y}H${b.x}`;
  const reach = Math.min(Math.abs(b.x - a.x), 90);
  const [from, to] = rises ? [a.x, a.x + reach] : [b.x - reach, b.x];
  const middle = (from + to) / 2;
  return `M${a.x} ${a.y}H${from}C${middle} ${a.y} ${middle} ${b.y} ${to} ${b.y}H${b.x}`;
}

// From the end of one pass around the right side to the start of the next.
function around(a, b, right) {
  const r = 12;
  return `M${a.x} ${a.y}H${right - r}Q${right} ${a.y} ${right} ${a.y + r}V${b.y - r}Q${right} ${b.y} ${right - r} ${b.y}H${b.x}`;
}

// ---- the step that is looked at

function bytes(text, zeros) {
  const box = make("code", "kl-dp-bytes");
  const all = text.split(" ");
  for (let i = 0; i < all.length; i += 4) {
    const group = all.slice(i, i + 4);
    const zero = group.every((byte) => byte === "00");
    box.append(make("span", zero ? "kl-dp-zero" : "", group.join("\u00a0")), " ");
  }
  if (zeros) box.append(make("span", "kl-dp-zeros", `+ ${zeros} zero bytes`));
  return box;
}

function lookup(frame, row) {
  const box = make("div", "kl-dp-lookup");
  if (!row.map) {
    box.append(make("h4", "", "What it looked up"), make("p", "kl-dp-note", row.note));
    return box;
  }
  const list = make("dl", "kl-dp-facts");
  for (const [term, text] of [["map", row.map], ["key", row.key], ["value", row.value]]) {
    const value = make("dd");
    value.append(term === "map" ? make("code", "", text) : text);
    list.append(make("dt", "", term), value);
  }
  box.append(make("h4", "", "What it looked up"), list);
  if (row.note) box.append(make("p", "kl-dp-note", row.note));
  if (row.bytes) {
    const where = frame.node ? `The row on ${frame.node}, as it was when this was drawn` : "The row as bytes";
    const table = make("table", "kl-dp-row");
    table.append(make("caption", "", where));
    let part = "";
    for (const [which, name, data, zeros] of row.bytes) {
      const line = make("tr", which === part ? "" : "kl-dp-part");
      const head = make("th", "", undefined, { scope: "row" });
      head.append(which === part ? hidden(which) : make("span", "kl-dp-which", which), " ", name);
      part = which;
      const cell = make("td");
      cell.append(bytes(data, zeros));
      line.append(head, cell);
      table.append(line);
    }
    box.append(table);
  }
  return box;
}

function code(source) {
  const box = make("div", "kl-dp-code");
  box.append(make("h4", "", "The C that reported it"));
  if (!source) {
    box.append(make("p", "kl-dp-note", "The source of this step is not known."));
    return box;
  }
  const where = `${source.file}, line ${source.line}, ${source.function}()`;
  const caption = make("p", "kl-dp-where");
  caption.append(make("code", "", source.file), ` line ${source.line}, `, make("code", "", `${source.function}()`));
  const block = make("div", "kl-dp-source", undefined, { tabindex: "0", role: "group", "aria-label": where });
  source.lines.forEach((text, at) => {
    const number = source.first + at;
    const line = make("div", number === source.line ? "kl-dp-reported" : "");
    line.append(make("span", "kl-dp-arrow", number === source.line ? "▶" : "", { "aria-hidden": "true" }));
    line.append(make("span", "kl-dp-number", String(number), { "aria-hidden": "true" }));
    line.append(coloured(text));
    if (number === source.line) line.append(hidden(" ← this line reported the step"));
    block.append(line);
  });
  box.append(caption, block);
  return box;
}

function coloured(raw) {
  const line = make("code");
  const text = raw.trimStart();
  const indent = raw.slice(0, raw.length - text.length).replaceAll("\t", "    ").length;
  line.style.marginLeft = `${indent}ch`;
  let done = 0;
  for (const match of text.matchAll(C_TOKENS)) {
    const kind = TOKEN_CLASSES[[1, 2, 3, 4, 5].findIndex((index) => match[index] !== undefined)];
    line.append(text.slice(done, match.index), make("span", `kl-dp-${kind}`, match[0]));
    done = match.index + match[0].length;
  }
  line.append(text.slice(done));
  return line;
}

// ---- the whole

function heading(frame) {
  const box = make("p", "kl-dp-heading");
  if (frame.who) box.append(make("strong", "", frame.who), " asks for ");
  else box.append("asked for ");
  box.append(make("code", "", frame.asked || "an address"));
  if (!frame.rewritten) box.append(" and keeps that destination");
  else {
    box.append(make("span", "kl-dp-to", " → "));
    if (frame.whom) box.append(make("strong", "", frame.whom), " ");
    box.append(make("code", "", frame.went));
  }
  return box;
}

function render({ model, el }) {
  const root = make("section", "kl-view kl-dp", undefined, {
    "aria-label": "The way of one connection",
  });
  el.append(root);
  let current = 0;
  let redraw = () => {};
  const observer = new ResizeObserver(() => redraw());
  observer.observe(root);

  function build() {
    const frame = model.get("frame");
    if (!frame.steps?.length) {
      redraw = () => {};
      root.replaceChildren(make("p", "kl-dp-note", frame.nothing));
      return;
    }
    current = Math.min(current, frame.steps.length - 1);
    const last = frame.steps.length - 1;
    const buttons = [];
    const map = make("div", "kl-dp-map", undefined, { role: "group", "aria-label": "Stations" });
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("aria-hidden", "true");
    map.append(svg, ...frame.groups.map((group, index) => pass(frame, group, index, buttons, show)));
    if (frame.left_out) map.append(make("p", "kl-dp-note", `${frame.left_out} later steps of this socket not shown.`));

    const tools = make("div", "kl-dp-tools", undefined, { role: "toolbar", "aria-label": "Step through the decision" });
    const counter = make("span", "kl-dp-counter");
    const moves = [
      ["First step", "«", () => 0],
      ["Step back", "‹", () => Math.max(0, current - 1)],
      ["Step forward", "›", () => Math.min(last, current + 1)],
      ["Last step", "»", () => last],
    ].map(([label, sign, where]) => {
      const button = make("button", "kl-dp-move", undefined, { type: "button", "aria-label": label, title: label });
      button.append(make("span", "", sign, { "aria-hidden": "true" }));
      button.addEventListener("click", () => show(where()));
      return button;
    });
    tools.append(moves[0], moves[1], counter, moves[2], moves[3]);
    const said = make("p", "kl-hidden", "", { role: "status", "aria-live": "polite" });
    const detail = make("div", "kl-dp-detail", undefined, { role: "region", "aria-label": "The step" });
    const top = make("header", "kl-dp-top");
    top.append(heading(frame), tools);
    root.replaceChildren(top, map, said, detail);

    function show(number, quiet = false) {
      current = number;
      const step = frame.steps[number];
      counter.textContent = `step ${number + 1} of ${last + 1}`;
      moves.forEach((move, at) => move.setAttribute("aria-disabled", String(at < 2 ? number === 0 : number === last)));
      buttons.forEach((button, at) => {
        button.tabIndex = at === number ? 0 : -1;
        button.classList.toggle("kl-dp-passed", at < number);
        button.classList.toggle("kl-dp-current", at === number);
        if (at === number) button.setAttribute("aria-current", "step");
        else button.removeAttribute("aria-current");
      });
      const title = make("h3", "kl-dp-story");
      title.append(make("span", "kl-dp-station-name", `${number + 1} ${step.label}`), make("span", "", step.story));
      if (step.ret) title.append(make("code", "kl-dp-ret", step.ret));
      detail.replaceChildren(title, lookup(frame, step.row), code(step.source));
      if (!quiet) said.textContent = `Step ${number + 1} of ${last + 1}, ${step.label}: ${step.story}`;
      redraw();
    }

    root.onkeydown = (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest(".kl-dp-source")) return;
      const at = { ArrowLeft: 1, ArrowRight: 2, Home: 0, End: 3 }[event.key];
      if (at === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      const onStation = event.target.closest("button.kl-dp-station");
      moves[at].click();
      if (onStation) buttons[current].focus({ preventScroll: true });
    };
    redraw = () => draw(map, svg, frame, buttons, current);
    show(current, true);
  }

  model.on("change:frame", build);
  build();
  return () => {
    model.off("change:frame", build);
    observer.disconnect();
  };
}

export default { render };
