// Prediction: choices first, then predicted and observed side by side. The page reveals; Python remembers.

let nextId = 0;

// Results come as the HTML that JupyterLab would show. What could act is taken out before it becomes part of the page.
function parsed(markup) {
  const body = new DOMParser().parseFromString(markup, "text/html").body;
  body.querySelectorAll("script, iframe, object, embed, link, form").forEach((each) => each.remove());
  for (const element of body.querySelectorAll("*"))
    for (const { name, value } of [...element.attributes])
      if (name.startsWith("on") || /^\s*javascript:/i.test(value)) element.removeAttribute(name);
  return [...body.childNodes];
}

function render({ model, el }) {
  const id = `kl-predict-${++nextId}`;
  const root = make("section", "kl-view kl-predict", undefined, { "aria-label": "A prediction" });
  el.append(root);
  let chosen = ""; // not committed yet
  let said = ""; // committed here, perhaps before the kernel has heard of it
  let skipped = false;
  let unheard = "";

  // The answer is shown either way; only remembering it needs a kernel.
  function tell(message) {
    try {
      model.send(message);
    } catch {
      unheard = "There is no kernel to remember this prediction.";
    }
  }

  function card(title, text, mark = "", kind = "") {
    const box = make("div", `kl-predict-card ${kind}`);
    box.append(make("span", "kl-predict-title", title));
    if (mark) box.append(make("span", "kl-predict-mark", mark, { "aria-hidden": "true" }));
    box.append(make("strong", "", text));
    return box;
  }

  function question(frame) {
    const form = make("form", "kl-predict-form");
    const set = make("fieldset");
    set.append(make("legend", "", frame.question));
    for (const text of frame.choices) {
      const label = make("label", "kl-predict-choice");
      const input = make("input", "", undefined, { type: "radio", name: id });
      input.checked = text === chosen;
      input.addEventListener("change", () => {
        chosen = text;
        hint.textContent = "";
      });
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault(); // JupyterLab: Shift+Enter runs the cell again
        event.stopPropagation();
        form.requestSubmit();
      });
      label.append(input, make("span", "", text));
      set.append(label);
    }
    const skip = make("button", "kl-predict-plain", "Show without predicting", { type: "button" });
    skip.addEventListener("click", () => {
      skipped = true;
      tell({ do: "skip" });
      draw(true);
    });
    const row = make("div", "kl-predict-row");
    const hint = make("span", "kl-predict-hint", "", { role: "alert" });
    row.append(make("button", "kl-primary", "Commit the prediction", { type: "submit" }), skip, hint);
    form.append(set, row);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!chosen) {
        hint.textContent = "Choose one first.";
        set.querySelector("input").focus();
        return;
      }
      said = chosen;
      tell({ do: "commit", choice: chosen });
      draw(true);
    });
    return form;
  }

  function answer(frame, predicted) {
    const box = make("div", "kl-predict-answer", undefined, { tabindex: "-1" });
    const right = predicted === frame.observed;
    const cards = make("div", "kl-predict-cards", undefined, { role: "status" });
    if (predicted) cards.append(card("You predicted", predicted));
    const kind = !predicted ? "" : right ? "kl-predict-right" : "kl-predict-wrong";
    cards.append(card(predicted ? `Observed, ${right ? "as predicted" : "not as predicted"}` : "Observed", frame.observed,
      !predicted ? "" : right ? "✓" : "✗", kind));
    box.append(make("p", "kl-predict-question", frame.question), cards);
    const note = frame.note || unheard;
    if (note) box.append(make("p", "kl-predict-hint", note));
    const results = make("div", "kl-predict-results jp-RenderedHTMLCommon");
    for (const markup of frame.shown) results.append(...parsed(markup));
    box.append(results);
    return box;
  }

  function draw(focus = false) {
    const frame = model.get("frame");
    const predicted = frame.committed || said;
    const open = !predicted && !frame.skipped && !skipped;
    root.replaceChildren(open ? question(frame) : answer(frame, predicted));
    if (focus) root.firstChild.focus({ preventScroll: true });
  }

  const changed = () => draw(root.contains(document.activeElement));
  model.on("change:frame", changed);
  draw();
  return () => model.off("change:frame", changed);
}

export default { render };
