"use strict";
// What the four pages share: their data, elements, controls with words, and a line chart.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

/** Find the element of an id. */
const at = (id) => document.getElementById(id);

/** Make an element: name, attributes, children (elements or text). */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Make an element of a drawing. */
function shape(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Make an empty drawing of so many units, which says in words what it shows. */
function drawing(width, height, words) {
  return shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
}

/** Write a number with so many decimals and a true minus sign; never "-0.00". */
function number(value, digits = 2) {
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "\u2212");
}

/** Write a norm or a ratio with two digits that count. */
const brief = (value) => (value >= 99.5 ? value.toFixed(0) : String(Number(value.toPrecision(2))));

/** Add a slider whose label and value are words. `say` turns the value into text. Returns the input. */
function slider(parent, { id, words, hint = "", min, max, step, value, say = String, changed }) {
  const input = element("input", { type: "range", id, min, max, step, value });
  const shown = element("output", { for: id });
  const label = element("label", { for: id }, words, shown);
  const tell = () => {
    shown.textContent = say(Number(input.value));
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { tell(); changed(); });
  input.refresh = tell;
  tell();
  parent.append(element("div", { class: "slider" }, label, ...(hint ? [element("span", { class: "hint" }, hint)] : []), input));
  return input;
}

/** Add a list to choose one value from: pairs of value and words. Returns the select. */
function choice(parent, { id, words, options, value, changed }) {
  const select = element("select", { id }, ...options.map(([key, text]) => element("option", { value: key }, text)));
  if (value !== undefined) select.value = value;
  select.addEventListener("change", changed);
  parent.append(element("div", {}, element("label", { for: id }, words), select));
  return select;
}

/** Add radio buttons: pairs of value and words. Returns a function that gives the chosen value. */
function radios(parent, { id, words, options, changed }) {
  const buttons = options.map(([key, text], place) => {
    const input = element("input", { type: "radio", name: id, id: `${id}-${key}`, value: key });
    input.checked = place === 0;
    input.addEventListener("change", changed);
    return element("label", { for: `${id}-${key}` }, input, text);
  });
  parent.append(element("fieldset", {}, element("legend", {}, words), element("div", { class: "options" }, ...buttons)));
  return () => document.querySelector(`input[name="${id}"]:checked`).value;
}

/** Call `work` at most once a frame, however often the returned function is called. */
function soon(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; work(); });
  };
}

/** Show how lines look: pairs of words and the attributes of a line. */
function key(parent, lines) {
  parent.replaceChildren(...lines.map(([words, look]) => element("span", {},
    shape("svg", { viewBox: "0 0 30 10", "aria-hidden": "true" }, shape("line", { x1: 1, x2: 29, y1: 5, y2: 5, "stroke-width": 2.5, ...look })), words)));
}

const LOOK = {
  fused: { stroke: "var(--fused)" },
  first: { stroke: "var(--audio)", "stroke-dasharray": "7 4" },
  second: { stroke: "var(--visual)", "stroke-dasharray": "8 3 2 3" },
};

/** Draw curves: `lines` are {x, y, look}; `low`, `high` of the y axis, which may be logarithmic. */
function chart({ words, title, xlabel, lines, low, high, log = false, ticks, format = String }) {
  const [width, height, left, right, top, bottom] = [380, 250, 46, 10, 26, 38];
  const drawn = drawing(width, height, words);
  const far = Math.max(...lines.flatMap((line) => line.x));
  const scale = (value) => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const px = (value) => left + (value / far) * (width - left - right);
  const py = (value) => height - bottom - Math.min(1, Math.max(0, scale(value))) * (height - top - bottom);
  drawn.append(shape("text", { x: left, y: 15, "font-weight": 600 }, title));
  for (const tick of ticks) {
    drawn.append(shape("line", { class: "axis", x1: left, x2: width - right, y1: py(tick), y2: py(tick) }));
    drawn.append(shape("text", { class: "quiet", x: left - 6, y: py(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  for (let share = 0; share <= 3; share += 1) {
    const value = (far * share) / 3;
    drawn.append(shape("text", { class: "quiet", x: px(value), y: height - bottom + 17, "text-anchor": share === 3 ? "end" : "middle" }, String(Math.round(value))));
  }
  drawn.append(shape("text", { class: "quiet", x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle" }, xlabel));
  for (const line of lines) {
    const points = line.x.map((value, i) => `${px(value).toFixed(1)},${py(line.y[i]).toFixed(1)}`).join(" ");
    drawn.append(shape("polyline", { points, fill: "none", "stroke-width": 2.2, "stroke-linejoin": "round", ...line.look }));
  }
  return drawn;
}
