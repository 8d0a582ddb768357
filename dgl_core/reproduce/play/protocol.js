// Choose the protocol: which seeds, which epoch, which learning rate, which correction; the ranking follows.

const LEVEL = 0.05;
const MAIN = "DGL";

// -- statistics, equal to dgl_core.verdicts ---------------------------------------------------------------------------

/** Sum without an error of rounding, as Python's math.fsum: methods that tie must tie here too.
 *  Source: Shewchuk, Discrete and Computational Geometry 18 (1997); `parts` never overlap. */
function exactSum(values) {
  let parts = [];
  for (let x of values) {
    const kept = [];
    for (let y of parts) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) kept.push(low);
      x = high;
    }
    parts = [...kept, x];
  }
  return parts.reduceRight((a, b) => a + b, 0); // the largest part first
}

const mean = (values) => exactSum(values) / values.length;

/** Standard deviation with n - 1. */
function deviation(values) {
  const middle = mean(values);
  return Math.sqrt(values.reduce((sum, v) => sum + (v - middle) ** 2, 0) / (values.length - 1));
}

/** P(|T| > t) of Student's t for a whole number of degrees of freedom.
 *  Source: Abramowitz and Stegun, 26.7.3 and 26.7.4 (finite sums of cosines of theta = atan(t / sqrt(df))). */
function twoSided(t, df) {
  const theta = Math.atan(Math.abs(t) / Math.sqrt(df));
  const [sine, cosine] = [Math.sin(theta), Math.cos(theta)];
  let [term, sum] = df % 2 ? [cosine, df > 1 ? cosine : 0] : [1, 1];
  for (let k = df % 2 ? 3 : 2; k <= df - 2; k += 2) {
    term *= (cosine * cosine * (k - 1)) / k;
    sum += term;
  }
  return df % 2 ? 1 - (2 / Math.PI) * (theta + sine * sum) : 1 - sine * sum;
}

/** The t that |T| exceeds with probability `level`, by bisection. */
function quantile(level, df) {
  let [low, high] = [0, 1];
  while (twoSided(high, df) > level) high *= 2;
  for (let i = 0; i < 200 && high - low > 1e-15 * high; i += 1) {
    const middle = (low + high) / 2;
    if (twoSided(middle, df) > level) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

/** Mean and two-sided t-interval (`statistics.mean_interval`); one value has an infinite one. */
function interval(values, level = LEVEL) {
  const middle = mean(values);
  if (values.length < 2) return { mean: middle, low: -Infinity, high: Infinity, n: values.length };
  const half = (quantile(level, values.length - 1) * deviation(values)) / Math.sqrt(values.length);
  return { mean: middle, low: middle - half, high: middle + half, n: values.length };
}

/** p-value of the paired t-test (`inference.Draws`): equal differences say nothing about their spread. */
function pValue(differences) {
  if (Math.max(...differences) === Math.min(...differences)) return 1;
  return twoSided((mean(differences) * Math.sqrt(differences.length)) / deviation(differences), differences.length - 1);
}

/** The level with which each p-value is compared, in the order of `p` (`families.holm`, `families.benjamini_hochberg`). */
const CORRECTIONS = {
  holm: (p) => {
    const levels = p.map(() => 0);
    let left = p.length;
    for (const i of p.map((_, k) => k).sort((a, b) => p[a] - p[b])) {
      levels[i] = LEVEL / left;
      if (p[i] <= levels[i]) left -= 1;
    }
    return levels;
  },
  "benjamini-hochberg": (p) => {
    const ranked = [...p].sort((a, b) => a - b);
    const rejected = ranked.reduce((most, value, i) => (value <= (LEVEL * (i + 1)) / p.length ? i + 1 : most), 0);
    return p.map(() => (LEVEL * Math.max(rejected, 1)) / p.length);
  },
  bonferroni: (p) => p.map(() => LEVEL / p.length),
  none: (p) => p.map(() => LEVEL),
};

// -- the ranking ----------------------------------------------------------------------------------------------------

/** The runs of each method under a rule for the rate: row -> { rate, runs }. */
function chosenRuns(set, rate, seeds) {
  const grid = data.sets[set].rates;
  const rates = Object.keys(grid).sort((a, b) => a - b);
  const of = (r, row) => (grid[r][row] ?? []).filter((run) => seeds.includes(run.seed));
  const found = {};
  for (const row of Object.keys(grid[data.sets[set].common])) {
    if (rate !== "own") {
      found[row] = { rate, runs: of(rate, row) };
    } else if (rates.every((r) => of(r, row).length)) { // every method has the same rates to choose from
      const score = (r) => mean(of(r, row).map((run) => run.val));
      const best = rates.reduce((a, b) => (score(b) > score(a) ? b : a)); // ties go to the smallest
      found[row] = { rate: best, runs: of(best, row) };
    }
  }
  return Object.fromEntries(Object.entries(found).filter(([, { runs }]) => runs.length));
}

/** Rank the methods: mean and interval of each, DGL's lead over it, its p-value, and the level of the correction. */
function rank({ set, rate, protocol, seeds, correction }) {
  const rows = chosenRuns(set, rate, seeds);
  const own = new Map((rows[MAIN]?.runs ?? []).map((run) => [run.seed, run[protocol]]));
  const ranked = Object.entries(rows).map(([row, { rate: at, runs }]) => {
    const scores = runs.map((run) => run[protocol]);
    const differences = row === MAIN ? [] : runs.filter((run) => own.has(run.seed)).map((run) => own.get(run.seed) - run[protocol]);
    return { row, rate: at, scores, ...interval(scores), differences };
  });
  ranked.sort((a, b) => b.mean - a.mean);
  const judged = ranked.filter(({ differences }) => differences.length > 1);
  const p = judged.map(({ differences }) => pValue(differences));
  const levels = CORRECTIONS[correction](p);
  judged.forEach((entry, i) => Object.assign(entry, { p: p[i], level: levels[i], lead: interval(entry.differences, levels[i]) }));
  return ranked;
}

/** What DGL's lead over a method says. */
function verdict(entry) {
  if (entry.row === MAIN) return "";
  const n = entry.differences.length;
  if (!n) return "no seed in common with DGL";
  const [sign, size] = [(v) => (v > 0 ? "+" : "") + number(v, 1), entry.lead ?? { mean: mean(entry.differences) }];
  if (n < 2) return `DGL ${sign(size.mean)}, one pair`;
  const text = `DGL ${sign(size.mean)} [${sign(size.low)}, ${sign(size.high)}]`;
  if (n < data.deciding) return `${text}, ${n} pairs: too few`;
  return `${text}, ${entry.p <= entry.level ? (size.mean > 0 ? "ahead" : "behind") : "undecided"}`;
}

// -- the picture ----------------------------------------------------------------------------------------------------

const marks = new Map(); // row -> its group in the drawing, kept so that it can move to its new place
let picture = null;

function range(ranked) {
  const means = ranked.map((entry) => entry.mean).sort((a, b) => a - b);
  const middle = means[Math.floor(means.length / 2)];
  const scores = ranked.flatMap((entry) => entry.scores);
  const high = Math.ceil((Math.max(...scores) + 0.5) / 5) * 5;
  return [Math.max(Math.floor(Math.min(...scores) / 5) * 5, Math.floor((middle - 1.5 * (high - middle + 1)) / 5) * 5), Math.min(100, high)];
}

function draw(ranked) {
  const width = Math.max(300, Math.min(880, at("ranking").clientWidth || 880));
  const narrow = width < 620;
  const [left, step] = narrow ? [8, 74] : [330, 44];
  const height = step * ranked.length + 40;
  const [low, high] = range(ranked);
  const px = (value) => left + 8 + ((Math.max(low, Math.min(high, value)) - low) / (high - low)) * (width - left - 24);
  if (!picture) {
    picture = { svg: drawing(width, height, ""), axis: shape("g") };
    picture.svg.append(picture.axis);
    at("ranking").replaceChildren(picture.svg);
  }
  picture.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.svg.setAttribute("aria-label", `Ranking: ${ranked.map((entry, i) => `${i + 1}. ${entry.row} ${number(entry.mean, 1)}`).join(", ")}`);
  picture.axis.replaceChildren();
  const gap = (high - low) / (narrow ? 4 : 8) > 5 ? 10 : 5;
  for (let tick = low; tick <= high; tick += gap) {
    picture.axis.append(shape("line", { class: "axis", x1: px(tick), x2: px(tick), y1: 0, y2: height - 34 }));
    picture.axis.append(shape("text", { class: "quiet", x: px(tick), y: height - 19, "text-anchor": "middle" }, String(tick)));
  }
  picture.axis.append(shape("text", { class: "quiet", x: (left + width) / 2, y: height - 3, "text-anchor": "middle" }, "fused test accuracy (%)"));
  for (const [row, group] of marks) if (!ranked.some((entry) => entry.row === row)) { group.remove(); marks.delete(row); }
  ranked.forEach((entry, place) => {
    if (!marks.has(entry.row)) {
      marks.set(entry.row, shape("g", { class: "moves" }));
      picture.svg.append(marks.get(entry.row));
    }
    const group = marks.get(entry.row);
    group.style.transform = `translateY(${step * place}px)`;
    const lane = narrow ? 52 : 20;
    const ink = entry.row === MAIN ? "var(--accent)" : "var(--fused)";
    const printed = data.paper[entry.row];
    const about = `learning rate ${entry.rate}${printed ? `; the paper prints ${printed.toFixed(1)} on CREMA-D` : ""}`;
    group.replaceChildren(
      shape("text", { x: 0, y: 16, "font-weight": entry.row === MAIN ? 700 : 600, style: `fill: ${ink}` }, `${place + 1}. ${entry.row}  ${number(entry.mean, 1)}`),
      shape("text", { class: "quiet", x: narrow ? 0 : 0, y: 33 }, entry.row === MAIN ? about : verdict(entry)),
      shape("line", { class: "axis", x1: left, x2: width - 8, y1: lane, y2: lane }),
      ...(entry.low > -Infinity && entry.high > low ? [shape("line", { x1: px(entry.low), x2: px(entry.high), y1: lane, y2: lane, style: `stroke: ${ink}; stroke-width: 3` })] : []),
      ...entry.scores.filter((score) => score >= low).map((score) => shape("circle", { cx: px(score), cy: lane, r: 3, style: `fill: ${ink}; fill-opacity: 0.35` })),
      entry.mean < low
        ? shape("text", { class: "quiet", x: px(low) + 2, y: lane - 5 }, `\u25c2 ${number(entry.mean, 1)}`)
        : shape("circle", { cx: px(entry.mean), cy: lane, r: 6.5, style: `fill: ${ink}; stroke: var(--card); stroke-width: 1.5` }, shape("title", {}, about)),
    );
  });
}

function table(ranked) {
  const columns = ["method", "learning rate", "seeds", "mean", "95 % interval", "DGL's lead", "p", "compared with", "paper, CREMA-D"];
  const cells = (entry) => [
    entry.row, entry.rate, String(entry.scores.length), number(entry.mean, 2),
    entry.low > -Infinity ? `${number(entry.low, 2)} to ${number(entry.high, 2)}` : "\u2013",
    entry.row === MAIN ? "\u2013" : verdict(entry), entry.p === undefined ? "\u2013" : entry.p.toPrecision(2),
    entry.level === undefined ? "\u2013" : entry.level.toPrecision(2), data.paper[entry.row]?.toFixed(1) ?? "\u2013",
  ];
  return element("table", {},
    element("thead", {}, element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...ranked.map((entry) => {
      const [name, ...rest] = cells(entry);
      return element("tr", {}, element("th", { scope: "row" }, name), ...rest.map((text) => element("td", {}, text)));
    })));
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function show() {
  const state = protocol();
  if (!state.seeds.length) {
    at("protocol-finding").textContent = "Choose at least one seed.";
    return;
  }
  const ranked = rank(state);
  draw(ranked);
  at("ranking-table").replaceChildren(table(ranked));
  const place = ranked.findIndex((entry) => entry.row === MAIN) + 1;
  const decided = (sign) => ranked.filter(({ differences, p, level, lead }) => differences.length >= data.deciding && p <= level && Math.sign(lead.mean) === sign);
  const missing = Object.keys(data.sets[state.set].rates[data.sets[state.set].common]).filter((row) => !ranked.some((entry) => entry.row === row));
  const left = missing.length ? ` Left out, because they lack these seeds at some rate: ${missing.join(", ")}.` : "";
  at("protocol-finding").textContent = `DGL has place ${place} of ${ranked.length}. It is ahead of ${decided(1).length} methods and behind ${decided(-1).length}; the others are undecided.${left}`;
  const rate = state.rate === "own" ? "each method at its own learning rate" : `all methods at the learning rate ${state.rate}`;
  at("protocol-said").textContent = `${capital(data.sets[state.set].title)}, ${rate}, ${state.seeds.length} ${state.seeds.length > 1 ? "seeds" : "seed"}, ${data.protocols[state.protocol]}.`;
}

const panel = at("protocol-controls");
const grid = element("div", { class: "fields" });
panel.append(grid);
const changed = () => show();
const setChoice = choice(grid, { id: "set", words: "Data set", options: Object.entries(data.sets).map(([name, { title }]) => [name, title]), changed });
const epochChoice = choice(grid, {
  id: "protocol", words: "Which epoch is scored",
  options: [["last", "the last one"], ["best_val", "the best one on validation"], ["best_test", "the best one on test (as the paper)"]], changed,
});
const { common, rates } = Object.values(data.sets)[0];
const others = Object.keys(rates).filter((rate) => rate !== common).sort((a, b) => a - b);
const rateChoice = choice(grid, {
  id: "rate", words: "Learning rate",
  options: [[common, `${common} for all methods`], ["own", "its own best for each"], ...others.map((rate) => [rate, `${rate} for all methods`])], changed,
});
const correctionChoice = choice(grid, {
  id: "correction", words: "Correction",
  options: [["holm", "Holm"], ["benjamini-hochberg", "Benjamini and Hochberg"], ["bonferroni", "Bonferroni"], ["none", "none"]], changed,
});
const boxes = data.seeds.map((seed) => {
  const input = element("input", { type: "checkbox", id: `seed-${seed}` });
  input.checked = true;
  input.addEventListener("change", changed);
  return input;
});
panel.append(element("fieldset", {}, element("legend", {}, "Seeds"), element("div", { class: "options" },
  ...boxes.map((input, i) => element("label", { for: input.id }, input, String(data.seeds[i]))))));
const take = (count, words) => {
  const button = element("button", { type: "button" }, words);
  button.addEventListener("click", () => { boxes.forEach((input, i) => { input.checked = i < count; }); show(); });
  return button;
};
panel.append(element("div", { class: "buttons" }, take(1, "one seed"), take(3, "three seeds"), take(5, "five seeds"), take(boxes.length, "all seeds")));
const protocol = () => ({
  set: setChoice.value, rate: rateChoice.value, protocol: epochChoice.value, correction: correctionChoice.value,
  seeds: data.seeds.filter((_, i) => boxes[i].checked),
});
addEventListener("resize", soon(show));
show();
