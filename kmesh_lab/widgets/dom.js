// What views share: `h` says what should be there, `patch` makes it so; `make` makes one element, for views that keep
// their elements. Text goes into text nodes, never into HTML.

const SVG = "http://www.w3.org/2000/svg";

const h = (tag, props, ...children) => ({ tag, props: props ?? {}, children: children.flat(Infinity) });

// Make the children of `parent` what is wanted, keeping the elements (and so focus, caret and scroll) that stay.
function patch(parent, wanted) {
  const old = new Map([...parent.childNodes].map((node) => [node.klKey, node]));
  const drawn = parent.namespaceURI === SVG;
  let next = parent.firstChild;
  wanted.forEach((item, index) => {
    if (item === null || item === undefined || item === false) return;
    const text = typeof item !== "object";
    const key = text ? `#${index}` : `${item.tag} ${item.props.key ?? index}`;
    let node = old.get(key);
    if (!node) {
      if (text) node = document.createTextNode("");
      else if (drawn || item.tag === "svg") node = document.createElementNS(SVG, item.tag);
      else node = document.createElement(item.tag);
      node.klKey = key;
      // Keys are for the view: JupyterLab's shortcuts leave out only what has this mark itself, not what is inside it.
      if (!text && !drawn) node.setAttribute("data-lm-suppress-shortcuts", "true");
    }
    old.delete(key);
    if (node === next) next = node.nextSibling;
    else parent.insertBefore(node, next);
    if (text) {
      if (node.data !== String(item)) node.data = String(item);
      return;
    }
    patch(node, item.children);
    setProps(node, item.props);
  });
  old.forEach((node) => node.remove());
}

function setProps(node, props) {
  for (const name of Object.keys(node.klProps ?? {})) if (!(name in props)) node.removeAttribute(name);
  for (const [name, value] of Object.entries(props)) {
    if (name === "key") continue;
    if (name.startsWith("on") || ["checked", "value", "disabled", "max"].includes(name)) {
      if (node[name] !== value) node[name] = value;
    } else if (value === false || value === null || value === undefined) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
  node.klProps = props;
}

function make(tag, name, text, attributes = {}) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  // JupyterLab's shortcuts (b: a new cell, d d: delete it) look for this on the element that has the focus, and only there.
  if (["button", "input", "select", "textarea", "summary"].includes(tag) || "tabindex" in attributes)
    element.dataset.lmSuppressShortcuts = "true";
  return element;
}

// Call `gone` when the kernel was restarted or has ended; returns how to stop watching.
function watchKernel(model, gone) {
  const kernel = model.widget_manager?.kernel; // JupyterLab's; elsewhere an answer that does not come has to do
  const status = (_, now) => /restarting|terminating|dead/.test(now) && gone();
  kernel?.statusChanged?.connect(status);
  return () => kernel?.statusChanged?.disconnect(status);
}

