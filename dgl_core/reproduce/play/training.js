// Scrub two trainings: gradient norms as arrows (Fig. 2) and the suppression ratio R (T3) after every epoch.

const ROWS = ["vanilla", "DGL"];
const NAMES = { vanilla: "Joint training (vanilla)", DGL: "DGL" };
const MODALITIES = ["audio", "visual"];
const INK = { fused: "var(--fused)", audio: "var(--audio)", visual: "var(--visual)" };
const WIDEST = 26; // width of the widest arrow, in units of the drawing

const source = () => data.sources[sourceChoice.value];
const epoch = () => Number(epochSlider.value) - 1;

/** Norm of the gradient that reaches a part, as drawn: DGL's encoders receive alpha times their own gradient. */
function norm(row, part) {
  const value = source().rows[row].curves[`gradient/${part}`][epoch()];
  return row === "DGL" && part !== "fusion" && divide.checked ? value / data.alpha : value;
}

/** A norm in two or three digits. */
const digits = (value) => value.toFixed(value < 1 ? 2 : 1);

/** The largest norm of the whole history, which has the widest arrow, so that widths can be compared over time. */
function most() {
  return Math.max(...ROWS.flatMap((row) => [...MODALITIES, "fusion"].flatMap((part) => source().rows[row].curves[`gradient/${part}`])));
}

/** A wide arrow from right to left: its shaft has the width, its head is a little wider. */
function flow([x1, y1], [x2, y2], width, ink) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
  const [half, head] = [Math.max(0.6, width / 2), Math.max(5, width * 0.85)];
  const tip = Math.min(length * 0.45, head * 1.5);
  const corner = (along, across) => `${(x1 + along * ux - across * uy).toFixed(1)},${(y1 + along * uy + across * ux).toFixed(1)}`;
  const points = [corner(0, half), corner(length - tip, half), corner(length - tip, head), corner(length, 0), corner(length - tip, -head), corner(length - tip, -half), corner(0, -half)];
  return shape("polygon", { points: points.join(" "), style: `fill: ${ink}; fill-opacity: 0.75` });
}

function box(drawn, x, y, width, height, lines) {
  drawn.append(shape("rect", { x, y, width, height, rx: 8, style: "fill: var(--soft); stroke: var(--line); stroke-width: 1.5" }));
  lines.forEach((text, i) => drawn.append(shape("text", { x: x + width / 2, y: y + height / 2 + 5 + 17 * (i - (lines.length - 1) / 2), "text-anchor": "middle" }, text)));
}

/** A number on a patch of the background, so that it can be read over an arrow. */
function tag(drawn, x, y, text, ink) {
  const width = 10 * text.length + 6;
  drawn.append(shape("rect", { x: x - width / 2, y: y - 10, width, height: 20, rx: 5, style: `fill: var(--card); stroke: ${ink}` }));
  drawn.append(shape("text", { x, y: y + 4.5, "text-anchor": "middle", style: `fill: ${ink}` }, text));
}

function cross(drawn, x, y) {
  for (const side of [-1, 1]) drawn.append(shape("line", { x1: x - 7, y1: y - 7 * side, x2: x + 7, y2: y + 7 * side, style: "stroke: var(--cut); stroke-width: 4" }));
}

const HEIGHT = { audio: 52, visual: 206, fused: 129 };

function graph(row) {
  const norms = Object.fromEntries([...MODALITIES, "fusion"].map((part) => [part, norm(row, part)]));
  const said = Object.entries(norms).map(([part, value]) => `${part} ${digits(value)}`).join(", ");
  const drawn = drawing(480, 274, `${NAMES[row]}, norms of the gradients that arrive: ${said}`);
  const wide = (part) => (WIDEST * norms[part]) / most();
  for (const m of MODALITIES) box(drawn, 4, HEIGHT[m] - 32, 106, 64, ["encoder", m]);
  box(drawn, 270, 8, 74, 242, []);
  drawn.append(shape("text", { x: 307, y: 268, "text-anchor": "middle" }, "fusion and classifier"));
  const losses = row === "DGL" ? [...MODALITIES, "fused"] : ["fused"];
  for (const loss of losses) {
    drawn.append(shape("circle", { cx: 450, cy: HEIGHT[loss], r: 27, style: `fill: var(--card); stroke: ${INK[loss]}; stroke-width: 2` }));
    drawn.append(shape("text", { x: 450, y: HEIGHT[loss] - 2, "text-anchor": "middle", style: `fill: ${INK[loss]}` }, "loss"));
    drawn.append(shape("text", { x: 450, y: HEIGHT[loss] + 13, "text-anchor": "middle", class: "quiet", style: `fill: ${INK[loss]}` }, loss));
  }
  drawn.append(flow([420, HEIGHT.fused], [308, HEIGHT.fused], wide("fusion"), INK.fused));
  tag(drawn, 382, HEIGHT.fused, digits(norms.fusion), INK.fused);
  for (const m of MODALITIES) {
    if (row === "DGL") {
      drawn.append(flow([420, HEIGHT[m]], [112, HEIGHT[m]], wide(m), INK[m]));
      const start = [270, HEIGHT.fused + (m === "audio" ? -10 : 10)];
      const end = [112, HEIGHT[m] + (m === "audio" ? 26 : -26)];
      drawn.append(shape("line", { x1: start[0], y1: start[1], x2: end[0], y2: end[1], class: "even" }));
      cross(drawn, (start[0] + end[0]) / 2 + 20, (start[1] + end[1]) / 2 + (start[1] - end[1]) * (20 / (start[0] - end[0])));
      cross(drawn, 330, HEIGHT[m]);
    } else {
      drawn.append(flow([270, HEIGHT.fused + (m === "audio" ? -12 : 12)], [112, HEIGHT[m]], wide(m), INK.fused));
    }
    const ink = row === "DGL" ? INK[m] : INK.fused;
    tag(drawn, 190, row === "DGL" ? HEIGHT[m] : (HEIGHT[m] + HEIGHT.fused + (m === "audio" ? -12 : 12)) / 2, digits(norms[m]), ink);
  }
  return element("div", {}, element("h3", {}, NAMES[row]), drawn);
}

// -- R on a logarithmic axis from a thousandth to thirty; what is beyond lies at its ends ---------------------------------

const [FEWEST, MOST] = [1e-3, 30];
const along = (ratio) => 62 + (Math.log(Math.min(MOST, Math.max(FEWEST, ratio)) / FEWEST) / Math.log(MOST / FEWEST)) * 410;

/** Sort values and take quartiles by linear interpolation. */
function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

function quartiles(row, m) {
  const clips = source().rows[row].ratio?.[m][epoch()];
  return clips ? [0.25, 0.5, 0.75].map((share) => quantile(clips, share)) : [25, 50, 75].map((q) => source().rows[row].curves[`suppression/${m}/R_q${q}`][epoch()]);
}

/** The drawing of one training stays, and its marks move, so that the eye can follow a clip. */
function strip(row) {
  const drawn = drawing(480, 246, "");
  for (const value of [0.001, 0.01, 0.1, 1, 10]) {
    drawn.append(shape("line", { class: value === 1 ? "even" : "axis", x1: along(value), x2: along(value), y1: 8, y2: 202 }));
    drawn.append(shape("text", { class: "quiet", x: along(value), y: 218, "text-anchor": "middle" }, String(value)));
  }
  drawn.append(shape("text", { class: "quiet", x: along(0.18), y: 241, "text-anchor": "middle" }, "R: fusion shrinks the error \u2190 1 \u2192 it enlarges it"));
  const marks = {};
  MODALITIES.forEach((m, place) => {
    const top = 12 + 98 * place;
    drawn.append(shape("text", { x: 0, y: top + 46, style: `fill: ${INK[m]}` }, m));
    const band = shape("rect", { y: top + 4, height: 84, rx: 6, style: `fill: ${INK[m]}; fill-opacity: 0.16` });
    const middle = shape("line", { class: "moves", x1: 0, x2: 0, y1: top, y2: top + 92, style: `stroke: ${INK[m]}; stroke-width: 3` });
    const dots = (data.sources.pair.clips).map((name, i) => shape("circle", { class: "moves", cx: 0, cy: top + 8 + ((i * 37) % 60) * 1.28, r: 3.6, style: `fill: ${INK[m]}; fill-opacity: 0.75` }, shape("title", {}, name)));
    drawn.append(band, ...dots, middle);
    marks[m] = { band, middle, dots };
  });
  const update = () => {
    const said = MODALITIES.map((m) => {
      const [low, middle, high] = quartiles(row, m);
      const { band, middle: line, dots } = marks[m];
      band.setAttribute("x", along(low));
      band.setAttribute("width", Math.max(1, along(high) - along(low)));
      line.style.transform = `translateX(${along(middle)}px)`;
      const clips = source().rows[row].ratio?.[m][epoch()];
      dots.forEach((dot, i) => {
        dot.style.display = clips ? "" : "none";
        if (clips) dot.style.transform = `translateX(${along(clips[i])}px)`;
      });
      return `${m} median ${brief(middle)}, quartiles ${brief(low)} to ${brief(high)}`;
    });
    drawn.setAttribute("aria-label", `${NAMES[row]}, R: ${said.join("; ")}`);
  };
  return { holder: element("div", {}, element("h3", {}, NAMES[row]), drawn), update };
}

function show() {
  at("graphs").replaceChildren(...ROWS.map(graph));
  for (const { update } of strips) update();
  const scores = ROWS.map((row) => {
    const curves = source().rows[row].curves;
    return `${row} ${["fused", ...MODALITIES].map((b) => `${b} ${(100 * curves[`test/${b}/accuracy`][epoch()]).toFixed(1)} %`).join(", ")}`;
  });
  at("training-finding").textContent = `Test accuracy after epoch ${epoch() + 1}: ${scores.join("; ")}.`;
  at("dots-words").textContent = source().clips
    ? "Each dot is a clip, the bar is the median, and the band reaches from the lower to the upper quartile."
    : "The bar is the median, and the band reaches from the lower to the upper quartile.";
}

const update = soon(show);
const choices = at("training-choices");
const sourceChoice = choice(choices, { id: "source", words: "Trainings", options: Object.entries(data.sources).map(([name, { title }]) => [name, title]), changed: update });
const divide = element("input", { type: "checkbox", id: "divide" });
divide.addEventListener("change", update);
choices.append(element("div", { class: "options" }, element("label", { for: "divide" }, divide, "divide the gradients of DGL's encoders by \u03b1 = 4")));
const play = element("button", { type: "button", "aria-pressed": "false" }, "Play the epochs");
choices.append(play);
const last = data.sources.pair.rows.DGL.curves["gradient/audio"].length;
const epochSlider = slider(at("training-epoch"), { id: "epoch", words: "Epoch", min: 1, max: last, step: 1, value: 1, say: (v) => `${v} of ${last}`, changed: update });

let clock = null;
function stop() {
  clearInterval(clock);
  clock = null;
  play.textContent = "Play the epochs";
  play.setAttribute("aria-pressed", "false");
}
play.addEventListener("click", () => {
  if (clock !== null) { stop(); return; }
  if (Number(epochSlider.value) === last) epochSlider.value = 1;
  play.textContent = "Stop";
  play.setAttribute("aria-pressed", "true");
  clock = setInterval(() => {
    epochSlider.value = Number(epochSlider.value) + 1;
    epochSlider.refresh();
    update();
    if (Number(epochSlider.value) === last) stop();
  }, 600);
});
const strips = ROWS.map(strip);
at("strips").append(...strips.map(({ holder }) => holder));
show();
