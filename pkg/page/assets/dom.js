// h makes an element: properties that begin with "on" are listeners, the rest are attributes; children are nodes or texts.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// fill replaces what is in an element; what is false or null is left out. Who had the focus keeps it, if it is there again.
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  if (!focused) return;
  const same = ["id", "data-action", "href"].filter((name) => focused.hasAttribute(name)).map((name) => `[${name}="${CSS.escape(focused.getAttribute(name))}"]`)[0];
  if (same) element.querySelector(same)?.focus({ preventScroll: true });
}

// renew makes the children of an element equal to others. What is equal already stays: a button that is being pressed, a
// text that is being typed, and the focus are not lost when a page is brought up to date. Listeners that stay are the old ones.
export function renew(element, ...children) {
  const wanted = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  wanted.forEach((child, i) => {
    const there = element.childNodes[i];
    if (!there) element.append(child);
    else if (!there.isEqualNode(typeof child === "string" ? document.createTextNode(child) : child)) become(there, child);
  });
  while (element.childNodes.length > wanted.length) element.lastChild.remove();
}

// become replaces a node, or only what differs inside of it. A button is a new one: it does something else.
function become(there, wanted) {
  if (there.nodeType !== Node.ELEMENT_NODE || there.nodeName !== wanted.nodeName || there.nodeName === "BUTTON") {
    there.replaceWith(wanted);
    return;
  }
  for (const name of there.getAttributeNames()) if (!wanted.hasAttribute(name)) there.removeAttribute(name);
  for (const { name, value } of wanted.attributes) if (there.getAttribute(name) !== value) there.setAttribute(name, value);
  renew(there, [...wanted.childNodes]);
}

// field is a labelled control.
export function field(label, control) {
  return h("label", {}, label, control);
}

// say tells readers of the screen what has changed.
export function say(text) {
  document.getElementById("said").textContent = text;
}

// every calls a function now and then until its place has left the page.
export function every(milliseconds, place, call) {
  const turn = async () => {
    if (!place.isConnected) return;
    if (!document.hidden) await call();
    setTimeout(turn, milliseconds);
  };
  turn();
}
