// PathMicroscope: lanes on one clock, and the step of each at the place of the scrubber. Text is inserted as text only.

const SIGNS = { send: "▲", receive: "▼", decision: "◆", redirect: "■" };
const KINDS = {
  call: "system call",
  decision: "step of a program",
  redirect: "address exchanged",
  send: "segment leaves",
  receive: "segment arrives",
  switch: "context switch",
};
const COUNTED = [
  ["call", "system calls"],
  ["switch", "context switches"],
  ["send", "segments"],
];
const TICK = 140; // ms between two steps while playing

const us = (time) => `${time.toFixed(1)} µs`;

// ---- a lane

// Where a process is in a system call while it has the CPU: a wait in the middle is left out.
function inKernel(lane, moment) {
  return lane.stretches
    .filter(([, , row]) => row === moment.row)
    .map(([start, end]) => [Math.max(start, moment.start), Math.min(end, moment.end)])
    .filter(([start, end]) => end > start);
}

function place(element, start, end, scale) {
  element.style.left = `${(100 * start) / scale}%`;
  if (end !== undefined) element.style.width = `${(100 * (end - start)) / scale}%`;
  return element;
}

function timeline(lane, seek) {
  const area = make("div", "kl-pm-timeline", undefined, { "aria-hidden": "true" });
  const names = make("div", "kl-pm-names");
  const tracks = make("div", "kl-pm-tracks");
  const rows = lane.rows.map((name) => {
    names.append(make("div", "kl-pm-name", name));
    const row = make("div", name === "wire" ? "kl-pm-row kl-pm-wire" : "kl-pm-row");
    tracks.append(row);
    return row;
  });
  const placed = []; // [element, start, end]; where they are depends on the scale
  const put = (element, row, start, end) => {
    placed.push([element, start, end]);
    rows[row].append(element);
    return element;
  };
  for (const [start, end, row] of lane.stretches) put(make("i", "kl-pm-own"), row, start, end);
  const marks = lane.moments.map((moment) => {
    if (moment.kind === "switch") return [];
    if (moment.kind !== "call") {
      return [put(make("b", `kl-pm-mark kl-pm-${moment.kind}`, SIGNS[moment.kind]), moment.row, moment.start)];
    }
    return inKernel(lane, moment).map(([start, end]) => put(make("b", "kl-pm-call"), moment.row, start, end));
  });
  const cursor = make("i", "kl-pm-cursor");
  tracks.append(cursor);
  tracks.addEventListener("click", (event) => {
    const { left, width } = tracks.getBoundingClientRect();
    seek((event.clientX - left) / width);
  });
  area.append(names, tracks);
  return { area, marks, cursor, placed };
}

function code(source) {
  const box = make("div", "kl-pm-code", undefined, { tabindex: "0", role: "group", "aria-label": "The C that reported it" });
  const where = make("p", "kl-pm-where");
  where.append(make("code", "", source.file), ` line ${source.line}, `, make("code", "", `${source.function}()`));
  const block = make("pre", "");
  source.lines.forEach((text, at) => {
    const number = source.first + at;
    const line = make("span", number === source.line ? "kl-pm-reported" : "");
    line.append(`${number === source.line ? "▶" : " "}${String(number).padStart(4)}  ${text.replaceAll("\t", "    ")}\n`);
    block.append(line);
  });
  box.append(where, block);
  return box;
}

function step(lane, moment, time) {
  const box = document.createDocumentFragment();
  if (!moment) {
    box.append(make("p", "kl-pm-note", "Not begun yet."));
    return box;
  }
  const head = make("p", "kl-pm-step");
  head.append(make("span", "kl-pm-label", `${SIGNS[moment.kind] ?? ""} ${moment.label}`.trim()));
  head.append(make("span", "kl-pm-when", `${us(moment.start)}, ${KINDS[moment.kind]}${moment.actor ? `, ${moment.actor}` : ""}`));
  box.append(head, make("p", "kl-pm-story", moment.story));
  const end = lane.duration;
  if (time > end) box.append(make("p", "kl-pm-note", `This lane was done after ${us(end)}.`));
  if (moment.end - moment.start >= 0.1) {
    const running = inKernel(lane, moment).reduce((sum, [from, to]) => sum + to - from, 0);
    const waited = moment.end - moment.start - running;
    box.append(make("p", "kl-pm-note", `${us(running)} on the CPU${waited > 0.5 ? `, ${us(waited)} waiting` : ""}`));
  }
  if (moment.bytes) {
    box.append(make("h4", "", `Bytes (${moment.length})`), make("pre", "kl-pm-bytes", moment.bytes));
  }
  if (moment.source) box.append(make("h4", "", "The C that reported it"), code(moment.source));
  return box;
}

// ---- the whole

function legend() {
  const box = make("p", "kl-pm-legend");
  const entries = [
    ["i", "kl-pm-own", "", "on the CPU, own code"],
    ["b", "kl-pm-call", "", "on the CPU, in a system call"],
    ["b", "kl-pm-send", "▲▼", "segment leaves, arrives"],
    ["b", "kl-pm-decision", "◆", "step of a program"],
    ["b", "kl-pm-redirect", "■", "address exchanged"],
  ];
  for (const [tag, name, sign, words] of entries) {
    const entry = make("span", "kl-pm-entry");
    entry.append(make(tag, name, sign), words);
    box.append(entry);
  }
  return box;
}

function render({ model, el }) {
  const root = make("section", "kl-view kl-pm", undefined, { "aria-label": "One request over several paths" });
  el.append(root);
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
  };

  function build() {
    stop();
    const lanes = model.get("frame").lanes ?? [];
    const longest = Math.max(...lanes.map((lane) => lane.duration), 1);
    const scaleOf = (lane) => 1.01 * (same.checked ? longest : Math.max(lane.duration, 1));
    // Every step of every lane is a place of the scrubber.
    const places = lanes
      .flatMap((lane, of) => lane.moments.map((moment, number) => ({ time: moment.start, of, number })))
      .sort((a, b) => a.time - b.time || a.of - b.of || a.number - b.number);
    const last = places.length - 1;
    let at = 0;

    const slider = make("input", "kl-pm-slider", undefined, {
      type: "range",
      min: "0",
      max: String(last),
      step: "1",
      "aria-label": "Step of the request",
    });
    const clock = make("span", "kl-pm-clock");
    const same = make("input", "", undefined, { type: "checkbox" });
    same.checked = true;
    const scales = make("label", "kl-pm-same");
    scales.append(same, "one scale for all lanes");
    const button = (label, sign, action) => {
      const one = make("button", "kl-pm-button", undefined, { type: "button", "aria-label": label, title: label });
      one.append(make("span", "", sign, { "aria-hidden": "true" }));
      one.addEventListener("click", action);
      return one;
    };
    const by = (move) => () => {
      stop();
      show(at + move);
    };
    const play = button("Play", "▶", () => {
      if (timer) return show(at);
      if (at === last) show(0);
      timer = setInterval(() => show(at + 1, true), TICK);
      show(at, true);
    });
    const tools = make("div", "kl-pm-tools", undefined, { role: "toolbar", "aria-label": "Move through the request" });
    const [back, forward] = [button("Step back", "‹", by(-1)), button("Step forward", "›", by(1))];
    tools.append(back, play, forward, slider, clock);
    const scaled = () => {
      for (const { lane, placed } of shown)
        for (const [element, start, end] of placed) place(element, start, end, scaleOf(lane));
      show(at);
    };
    same.addEventListener("change", scaled);
    const said = make("p", "kl-hidden", "", { role: "status", "aria-live": "polite" });

    const seek = (time) => {
      let nearest = 0;
      places.forEach((each, index) => {
        if (Math.abs(each.time - time) < Math.abs(places[nearest].time - time)) nearest = index;
      });
      show(nearest);
    };
    const shown = lanes.map((lane) => {
      const box = make("div", "kl-pm-lane", undefined, { role: "group", "aria-label": lane.name });
      const head = make("div", "kl-pm-head");
      const counts = make("span", "kl-pm-counts");
      head.append(make("h3", "", lane.name), make("span", "kl-pm-way", lane.way), counts);
      const drawn = timeline(lane, (share) => {
        stop();
        seek(share * scaleOf(lane));
      });
      box.append(head, drawn.area);
      const detail = make("div", "kl-pm-detail", undefined, { role: "region", "aria-label": `The step of ${lane.name}` });
      return { lane, box, counts, detail, ...drawn };
    });
    const details = make("div", "kl-pm-details");
    details.append(...shown.map(({ lane, detail }) => {
      const column = make("div", "kl-pm-column");
      column.append(make("h3", "", lane.name), detail);
      return column;
    }));
    const key = legend();
    if (lanes.length > 1) key.append(scales);
    root.replaceChildren(tools, key, ...shown.map(({ box }) => box), said, details);

    slider.addEventListener("input", () => {
      stop();
      show(Number(slider.value));
    });
    root.onkeydown = (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target === slider) return;
      const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
      if (move === undefined || event.target.closest(".kl-pm-code")) return;
      event.preventDefault();
      event.stopPropagation();
      by(move)();
    };

    function show(where, playing = false) {
      if (!places.length) return;
      at = Math.max(0, Math.min(last, where));
      if (!playing || at === last) stop();
      play.firstChild.textContent = timer ? "❚❚" : "▶";
      play.setAttribute("aria-label", timer ? "Pause" : "Play");
      play.title = timer ? "Pause" : "Play";
      const here = places[at];
      const current = lanes.map(() => -1);
      for (let index = 0; index <= at; index++) current[places[index].of] = places[index].number;
      const moment = lanes[here.of].moments[here.number];
      const words = `${us(here.time)}, ${lanes[here.of].name}: ${moment.actor}, ${moment.label}: ${moment.story}`;
      slider.value = String(at);
      slider.setAttribute("aria-valuetext", words);
      clock.textContent = `${us(here.time)} · step ${at + 1} of ${last + 1}`;
      back.setAttribute("aria-disabled", String(at === 0));
      forward.setAttribute("aria-disabled", String(at === last));
      shown.forEach(({ lane, marks, cursor, counts, detail }, of) => {
        cursor.style.left = `${Math.min(100, (100 * here.time) / scaleOf(lane))}%`;
        marks.forEach((elements, number) => {
          for (const element of elements) {
            element.classList.toggle("kl-pm-ahead", number > current[of]);
            element.classList.toggle("kl-pm-current", number === current[of]);
          }
        });
        const done = lane.moments.slice(0, current[of] + 1);
        const numbers = COUNTED.map(([kind, name]) => `${done.filter((each) => each.kind === kind).length} ${name}`);
        counts.textContent = `so far ${numbers.join(", ")}`;
        detail.classList.toggle("kl-pm-here", of === here.of);
        detail.replaceChildren(step(lane, lane.moments[current[of]], here.time));
      });
      if (!timer) said.textContent = words;
    }
    scaled();
  }

  model.on("change:frame", build);
  build();
  return () => {
    stop();
    model.off("change:frame", build);
  };
}

export default { render };
