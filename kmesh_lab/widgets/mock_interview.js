// MockInterview: one card at a time, with a clock. Draws `frame`; says what the learner did with model.send.
// Where one is in the round is the page's own business; what was scored is Python's.

const PATIENCE = 2000; // ms without an answer of the kernel
let nextId = 0;

const DEPTHS = [
  ["short", "30 seconds", "30 秒"],
  ["long", "2 minutes", "2 分钟"],
  ["whiteboard", "Whiteboard, 5 minutes", "白板，5 分钟"],
];

function both([en, zh], tag = "p", name = "") {
  const pair = make("div", `kl-mi-both ${tag === "pre" ? "kl-mi-drawn" : ""} ${name}`);
  pair.append(make(tag, "", en, { lang: "en" }), make(tag, "", zh, { lang: "zh" }));
  return pair;
}

const clock = (seconds) => `${Math.floor(Math.max(0, seconds) / 60)}:${String(Math.max(0, seconds) % 60).padStart(2, "0")}`;

function render({ model, el }) {
  const id = `kl-mi-${++nextId}`;
  const root = make("section", "kl-view kl-mi", undefined, { "aria-label": "Mock interview" });
  el.append(root);
  let depth = "short";
  let count = 5;
  let at = 0; // which card
  let revealed = false;
  let said = [];
  let asked = 0; // when the card was shown
  let taken = 0; // seconds until it was revealed
  let deck = []; // the one these belong to
  let ticking = 0;
  let waiting = 0;
  let silence = ""; // what to say when the kernel does not answer

  function tell(message) {
    clearTimeout(waiting);
    const unheard = (text) => {
      silence = text;
      show();
    };
    waiting = setTimeout(() => unheard("The kernel has not answered yet: it is busy, or gone. / 内核还没有响应。"), PATIENCE);
    try {
      model.send(message);
    } catch {
      clearTimeout(waiting);
      unheard("There is no kernel to answer: run the cell again. / 没有内核响应，请重新运行单元格。");
    }
  }

  function show() {
    const alert = root.querySelector(".kl-mi-silence");
    if (alert) alert.textContent = silence;
  }

  const button = (text, name, act, attributes = {}) => {
    const element = make("button", name, text, { type: "button", ...attributes });
    element.addEventListener("click", act);
    return element;
  };

  function focusHeading() {
    root.querySelector("[data-first]")?.focus({ preventScroll: true });
  }

  // ---- before and after a round

  function settings(frame, again) {
    const form = make("form", "kl-mi-form");
    const set = make("fieldset");
    set.append(make("legend", "", "How much time for an answer? / 每个回答多长时间？"));
    for (const [value, en, zh] of DEPTHS) {
      const label = make("label", "kl-mi-choice");
      const input = make("input", "", undefined, { type: "radio", name: `${id}-depth`, value });
      input.checked = value === depth;
      input.addEventListener("change", () => { depth = value; });
      label.append(input, make("span", "", `${en} / ${zh}`));
      set.append(label);
    }
    const many = make("label", "kl-mi-choice");
    const number = make("input", "", undefined, { type: "number", min: "1", max: String(frame.total), value: String(Math.min(count, frame.total)) });
    number.addEventListener("input", () => { count = Number(number.value); });
    many.append(make("span", "", "Questions / 题数"), number);
    const start = make("button", "kl-primary", again ? "Another round / 再来一轮" : "Start / 开始", { type: "submit" });
    form.append(set, many, start);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      count = Math.max(1, Math.min(frame.total, Math.round(count) || 5));
      tell({ do: "start", depth, count });
      drawing.textContent = "Drawing questions …";
    });
    form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
      event.preventDefault();
      event.stopPropagation();
      form.requestSubmit();
    });
    const drawing = make("p", "kl-soft", "", { role: "status" });
    form.append(drawing);
    return form;
  }

  function weakSpots(frame) {
    const box = make("details", "kl-mi-weak");
    box.append(make("summary", "", `Weak spots / 薄弱点 (${frame.weak.length})`));
    if (!frame.weak.length) {
      box.append(make("p", "kl-soft", "None yet: what you predict wrongly or leave out in an answer comes here. / 暂时没有：猜错的预测、漏掉的要点会出现在这里。"));
      return box;
    }
    const list = make("ul");
    for (const each of frame.weak) {
      const item = make("li");
      item.append(make("strong", "", each.question), make("span", "kl-soft", ` (${each.from}) `), make("span", "", each.so), " ",
        button("Forget / 删除", "kl-mi-plain", () => tell({ do: "forget", question: each.question }), { "aria-label": `Forget: ${each.question}` }));
      list.append(item);
    }
    const text = make("textarea", "kl-mi-export", undefined, { readonly: "", rows: "4", "aria-label": "Weak spots as a Markdown list" });
    text.value = frame.export;
    const told = make("span", "kl-soft", "", { role: "status" });
    const copy = button("Copy the list / 复制列表", "kl-mi-plain", () => {
      text.select();
      const done = navigator.clipboard ? navigator.clipboard.writeText(frame.export) : Promise.reject();
      done.then(() => { told.textContent = "Copied."; }, () => { told.textContent = "Selected: copy it with the keyboard."; });
    });
    const row = make("div", "kl-mi-row");
    row.append(copy, told);
    box.append(list, text, row);
    return box;
  }

  function intro(frame) {
    const title = make("h3", "", "Mock interview / 模拟面试", { tabindex: "-1", "data-first": "" });
    const words = both([
      "A question appears and the clock runs. Answer aloud, then reveal the answer and tick the points that you made.",
      "出现问题后开始计时。先开口回答，再揭晓答案，勾选你说到的要点。",
    ]);
    return [title, words, settings(frame, false), weakSpots(frame)];
  }

  function summary(frame) {
    const points = frame.scores.reduce((sum, each) => sum + each.points, 0);
    const of = frame.scores.reduce((sum, each) => sum + each.of, 0);
    const title = make("h3", "", `Round finished: ${points} of ${of} points / 本轮结束：${of} 个要点答对 ${points} 个`, { tabindex: "-1", "data-first": "" });
    const list = make("ul", "kl-mi-scores");
    for (const score of frame.scores) {
      const card = deck.find((each) => each.number === score.number);
      const item = make("li");
      item.append(make("span", "kl-mi-mark", score.points === score.of ? "✓ " : "✗ ", { "aria-hidden": "true" }),
        make("strong", "", `${score.points} of ${score.of} `), make("span", "", `${score.number}. ${card?.asks[0] ?? ""}`));
      list.append(item);
    }
    return [title, list, weakSpots(frame), settings(frame, true)];
  }

  // ---- one card

  function card(frame) {
    const now = deck[at];
    const limit = frame.seconds[frame.depth];
    const head = make("div", "kl-mi-head");
    head.append(make("span", "kl-soft", `Question ${at + 1} of ${deck.length} / 第 ${at + 1} 题，共 ${deck.length} 题`));
    const time = make("span", "kl-mi-clock", "", { role: "timer", "aria-label": "Time left" });
    const late = make("span", "kl-mi-late", "", { role: "status" });
    head.append(time, late);
    const tick = () => {
      const spent = revealed ? taken : Math.floor((Date.now() - asked) / 1000);
      time.textContent = revealed ? `${clock(taken)} used` : clock(limit - spent);
      const over = spent >= limit;
      time.classList.toggle("kl-mi-over", over);
      const words = over ? "Time is up / 时间到" : "";
      if (late.textContent !== words) late.textContent = words;
    };
    clearInterval(ticking);
    tick();
    if (!revealed) ticking = setInterval(tick, 250);
    const question = both(now.asks, "p", "kl-mi-question");
    question.setAttribute("tabindex", "-1");
    question.dataset.first = "";
    question.dataset.lmSuppressShortcuts = "true";
    if (!revealed) {
      const reveal = button("Reveal the answer / 揭晓答案", "kl-primary", () => {
        taken = Math.floor((Date.now() - asked) / 1000);
        revealed = true;
        draw();
        root.querySelector("input")?.focus();
      });
      return [head, question, reveal];
    }
    return [head, question, ...answer(frame, now)];
  }

  function answer(frame, now) {
    const shown = [];
    for (const [value, en, zh] of DEPTHS) {
      const box = make("details", "kl-mi-answer");
      box.open = value === frame.depth;
      box.append(make("summary", "", `${en} / ${zh}`), both(now.answers[value], value === "whiteboard" ? "pre" : "p"));
      shown.push(box);
    }
    const set = make("fieldset", "kl-mi-rubric");
    set.append(make("legend", "", "Which of these did you say? / 你说到了哪些？"));
    const score = make("span", "kl-soft", "", { role: "status" });
    const count = () => { score.textContent = `${said.filter(Boolean).length} of ${said.length} points`; };
    now.points.forEach((point, index) => {
      const label = make("label", "kl-mi-choice");
      const input = make("input", "", undefined, { type: "checkbox" });
      input.checked = said[index];
      input.addEventListener("change", () => { said[index] = input.checked; count(); });
      label.append(input, both(point, "span"));
      set.append(label);
    });
    count();
    shown.push(set);
    for (const [asks, reply] of now.follow_ups) {
      const box = make("details", "kl-mi-answer");
      const title = make("summary", "", "Follow-up / 追问");
      title.append(both(asks, "span"));
      box.append(title, both(reply));
      shown.push(box);
    }
    const last = at + 1 === deck.length;
    const row = make("div", "kl-mi-row");
    row.append(button(last ? "Finish / 结束" : "Next question / 下一题", "kl-primary", () => {
      tell({ do: "score", number: now.number, said: [...said] });
      at += 1;
      if (at < deck.length) begin();
      draw();
      focusHeading();
    }), score);
    shown.push(row);
    return shown;
  }

  function begin() {
    revealed = false;
    asked = Date.now();
    said = deck[at].points.map(() => false);
  }

  function draw() {
    const frame = model.get("frame");
    const parts = !deck.length ? intro(frame) : at < deck.length ? card(frame) : summary(frame);
    if (at >= deck.length) clearInterval(ticking);
    if (frame.note) parts.push(make("p", "kl-mi-late", frame.note));
    parts.push(make("p", "kl-mi-late kl-mi-silence", silence, { role: "alert" }));
    root.replaceChildren(...parts);
  }

  function changed() {
    const frame = model.get("frame");
    clearTimeout(waiting);
    silence = "";
    show();
    const fresh = frame.deck.length && !frame.scores.length && JSON.stringify(frame.deck) !== JSON.stringify(deck);
    const again = frame.deck.length && !frame.scores.length && at >= deck.length;
    if (fresh || again) {
      deck = frame.deck;
      depth = frame.depth;
      at = 0;
      begin();
      draw();
      focusHeading();
    } else if (!deck.length || at >= deck.length) {
      const open = root.querySelector(".kl-mi-weak")?.open;
      const had = root.contains(document.activeElement);
      draw();
      if (open) root.querySelector(".kl-mi-weak").open = true;
      if (had) focusHeading();
    }
  }

  model.on("change:frame", changed);
  draw();
  return () => {
    clearInterval(ticking);
    clearTimeout(waiting);
    model.off("change:frame", changed);
  };
}

export default { render };
