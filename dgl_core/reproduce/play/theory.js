// The two explorers of notebook 02. Equations are those of the paper's section 3; T1 to T3 are proved in the notebook.

/** Probabilities of logits. */
function softmax(logits) {
  const top = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

// -- one sample ------------------------------------------------------------------------------------------------------

/** Gradient of cross-entropy at the feature (T1, Eq. 4 and 7 put right): sum_k (p_k - [k = y]) W_k, with y = 0. */
function featureGradient(p, rows) {
  const wrong = 1 - p[0];
  return [0, 1].map((d) => p.reduce((sum, value, k) => sum + (k ? value : -wrong) * rows[k][d], 0));
}

/** What fusion does to one sample of K = 3 classes whose target is the first.
 *  confidence: p_y of the modality alone; confusion: share of the rest that class 2 has;
 *  second, third: margins v_y - v_k that the partner adds (Eq. 5 says that both are positive). */
function explore({ confidence, confusion, second, third, head }) {
  const alone = [confidence, (1 - confidence) * confusion, (1 - confidence) * (1 - confusion)];
  const partner = [0, -second, -third];
  const fused = softmax(alone.map((p, k) => Math.log(p) + partner[k]));
  const s = partner.map(Math.exp); // s_k = exp(v_k - v_y), Eq. 6
  const sBar = confusion * s[1] + (1 - confusion) * s[2]; // mean of s_k over the wrong classes, T2
  const ratio = sBar / (confidence + (1 - confidence) * sBar); // R = (1 - p_y^multi) / (1 - p_y^uni), T3
  const rows = data.heads[head];
  return { alone, fused, s, sBar, ratio, gUni: featureGradient(alone, rows), gMulti: featureGradient(fused, rows) };
}

function drawBeliefs(found) {
  const drawn = drawing(300, 236, `Belief of the modality alone ${found.alone.map((p) => number(p)).join(", ")}; fused ${found.fused.map((p) => number(p)).join(", ")}`);
  const names = ["true class", "class 2", "class 3"];
  drawn.append(shape("text", { x: 0, y: 15, "font-weight": 600 }, "What each one believes"));
  names.forEach((name, k) => {
    const y = 32 + 56 * k;
    drawn.append(shape("text", { x: 0, y: y + 27 }, name));
    [[found.alone[k], "var(--audio)", "none"], [found.fused[k], "var(--fused)", "var(--fused)"]].forEach(([p, ink, fill], i) => {
      drawn.append(shape("rect", { x: 78, y: y + 20 * i, width: Math.max(1, 170 * p), height: 15, stroke: ink, "stroke-width": 1.6, "stroke-dasharray": i ? "none" : "5 3", fill }));
      drawn.append(shape("text", { class: "quiet", x: 84 + 170 * p, y: y + 12 + 20 * i }, number(p)));
    });
  });
  drawn.append(shape("text", { class: "quiet", x: 78, y: 214 }, "dashed: the modality alone"));
  drawn.append(shape("text", { class: "quiet", x: 78, y: 230 }, "filled: the fused model"));
  return drawn;
}

function arrow(from, to, look, wide = 2.4) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  if (length < 1) return [shape("circle", { cx: from[0], cy: from[1], r: 5, fill: "none", "stroke-width": 2, stroke: look.stroke })];
  const [ux, uy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
  const tip = Math.min(length, 11);
  const base = [to[0] - tip * ux, to[1] - tip * uy];
  const corners = [to, [base[0] - 0.45 * tip * uy, base[1] + 0.45 * tip * ux], [base[0] + 0.45 * tip * uy, base[1] - 0.45 * tip * ux]];
  return [
    shape("line", { x1: from[0], y1: from[1], x2: base[0], y2: base[1], "stroke-width": wide, ...look }),
    shape("polygon", { points: corners.map((c) => c.map((v) => v.toFixed(1)).join(",")).join(" "), fill: look.stroke }),
  ];
}

function drawPlane(found, rows) {
  const norms = [found.gUni, found.gMulti].map((g) => Math.hypot(...g));
  const drawn = drawing(300, 236, `Push on the feature: length ${number(norms[0])} from the modality alone, ${number(norms[1])} from the fused model`);
  const place = ([x, y]) => [150 + 84 * x, 128 - 84 * y];
  drawn.append(shape("text", { x: 0, y: 15, "font-weight": 600 }, "Push on the feature"));
  rows.forEach((row, k) => {
    const [x, y] = place(row);
    drawn.append(shape("line", { class: "axis", x1: 150, y1: 128, x2: x, y2: y, style: "stroke-width: 2" }));
    const name = k ? `class ${k + 1}` : "true class";
    const [dx, anchor] = Math.abs(row[0]) < 0.1 ? [8, "start"] : [0, "middle"];
    drawn.append(shape("text", { class: "quiet", x: x + dx, y: y + (row[1] < 0 || (row[0] && !row[1]) ? 16 : row[1] ? 0 : -14), "text-anchor": anchor }, name));
  });
  drawn.append(...arrow([150, 128], place(found.gUni.map((g) => -g)), LOOK.first, 3));
  drawn.append(...arrow([150, 128], place(found.gMulti.map((g) => -g)), LOOK.fused));
  drawn.append(shape("text", { class: "quiet", x: 0, y: 214 }, `dashed: from the modality alone, length ${number(norms[0])}`));
  drawn.append(shape("text", { class: "quiet", x: 0, y: 230 }, `solid: from the fused model, length ${number(norms[1])}`));
  return drawn;
}

function showSample() {
  const found = explore(sample());
  at("beliefs").replaceChildren(drawBeliefs(found));
  at("plane").replaceChildren(drawPlane(found, data.heads[sample().head]));
  const [own, fused] = [found.gUni, found.gMulti].map((g) => Math.hypot(...g));
  const all = found.s.slice(1).every((s) => s < 1);
  const kept = found.ratio < 1 ? "Fusion shrinks" : found.ratio > 1 ? "Fusion enlarges" : "Fusion keeps";
  const same = Math.abs(fused - own) < 5e-4;
  const norm = same ? "keeps its length" : fused < own ? "becomes shorter" : "becomes longer";
  at("sample-finding").textContent =
    `${kept} the error at the true class: the mean score s\u0304 is ${number(found.sBar)}, so R = ${number(found.ratio)}. `
    + `The push ${norm} (${number(own)} to ${number(fused)}). Eq. 5, every s below 1, ${all ? "holds" : "fails"} for this sample.`;
}

const controls = at("sample-controls");
const drawSample = soon(showSample);
const inputs = {
  confidence: slider(controls, { id: "confidence", words: "How sure the modality is", hint: "Its probability of the true class, alone.", min: 0.02, max: 0.98, step: 0.02, value: 0.5, say: (v) => number(v), changed: drawSample }),
  confusion: slider(controls, { id: "confusion", words: "What it confuses", hint: "The share of the rest that class 2 has.", min: 0.02, max: 0.98, step: 0.02, value: 0.6, say: (v) => number(v), changed: drawSample }),
  second: slider(controls, { id: "second", words: "Partner against class 2", hint: "By how many logits it prefers the true class.", min: -3, max: 3, step: 0.1, value: 0.7, say: (v) => number(v, 1), changed: drawSample }),
  third: slider(controls, { id: "third", words: "Partner against class 3", hint: "By how many logits it prefers the true class.", min: -3, max: 3, step: 0.1, value: 1.4, say: (v) => number(v, 1), changed: drawSample }),
};
const head = choice(controls, { id: "head", words: "Rows of the classifier", options: Object.keys(data.heads).map((name) => [name, name]), changed: drawSample });
const sample = () => ({ ...Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, Number(input.value)])), head: head.value });

// -- the toy training ------------------------------------------------------------------------------------------------

/** Read float64 numbers that were packed as base64, little-endian. */
const floats = (text) => new Float64Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

const toy = data.toy;
const MODALITIES = Object.keys(toy.train); // the easy one and the hard one
const [INPUT, WIDTH, CLASSES] = [8, 4, 4];
const parts = {
  train: { x: MODALITIES.map((m) => floats(toy.train[m])), y: toy.train_target },
  test: { x: MODALITIES.map((m) => floats(toy.test[m])), y: toy.test_target },
};

/** Features z [N, 4] of one modality: its linear encoder E [4, 8] applied to x [N, 8]. */
function encode(encoder, x) {
  const count = x.length / INPUT;
  const z = new Float64Array(count * WIDTH);
  for (let n = 0; n < count; n += 1) {
    for (let j = 0; j < WIDTH; j += 1) {
      let sum = 0;
      for (let i = 0; i < INPUT; i += 1) sum += encoder[j * INPUT + i] * x[n * INPUT + i];
      z[n * WIDTH + j] = sum;
    }
  }
  return z;
}

/** Logits [N, 4] = W z + b (Eq. 2); modalities that are not kept count as zero (Eq. 12). */
function classify(weight, bias, z, keep) {
  const count = z[0].length / WIDTH;
  const width = WIDTH * z.length;
  const logits = new Float64Array(count * CLASSES);
  for (let n = 0; n < count; n += 1) {
    for (let k = 0; k < CLASSES; k += 1) {
      let sum = bias[k];
      for (const m of keep) {
        for (let j = 0; j < WIDTH; j += 1) sum += weight[k * width + m * WIDTH + j] * z[m][n * WIDTH + j];
      }
      logits[n * CLASSES + k] = sum;
    }
  }
  return logits;
}

/** Mean cross-entropy, accuracy, and the residual (p - e_y) / N [N, 4], its gradient at the logits. */
function crossEntropy(logits, y) {
  const count = y.length;
  const residual = new Float64Array(logits.length);
  let [loss, right] = [0, 0];
  for (let n = 0; n < count; n += 1) {
    let [top, best, sum] = [-Infinity, 0, 0];
    for (let k = 0; k < CLASSES; k += 1) if (logits[n * CLASSES + k] > top) { top = logits[n * CLASSES + k]; best = k; }
    for (let k = 0; k < CLASSES; k += 1) sum += Math.exp(logits[n * CLASSES + k] - top);
    for (let k = 0; k < CLASSES; k += 1) residual[n * CLASSES + k] = (Math.exp(logits[n * CLASSES + k] - top) / sum - (k === y[n])) / count;
    loss += (Math.log(sum) + top - logits[n * CLASSES + y[n]]) / count;
    right += best === y[n];
  }
  return { loss, accuracy: right / count, residual };
}

/** Add `share` times the gradient of one loss: to the classifier (W, b) and to the encoders of the kept modalities. */
function addGradient(gradient, model, x, z, residual, keep, toFusion, toEncoder) {
  const count = residual.length / CLASSES;
  const width = WIDTH * z.length;
  const dz = new Float64Array(WIDTH);
  for (let n = 0; n < count; n += 1) {
    for (let k = 0; k < CLASSES; k += 1) gradient.bias[k] += toFusion * residual[n * CLASSES + k];
    for (const m of keep) {
      dz.fill(0);
      for (let k = 0; k < CLASSES; k += 1) {
        const r = residual[n * CLASSES + k];
        for (let j = 0; j < WIDTH; j += 1) {
          gradient.weight[k * width + m * WIDTH + j] += toFusion * r * z[m][n * WIDTH + j];
          dz[j] += r * model.weight[k * width + m * WIDTH + j];
        }
      }
      if (!toEncoder) continue;
      for (let j = 0; j < WIDTH; j += 1) {
        for (let i = 0; i < INPUT; i += 1) gradient.encoders[m][j * INPUT + i] += toEncoder * dz[j] * x[m][n * INPUT + i];
      }
    }
  }
}

const blank = () => ({ weight: new Float64Array(CLASSES * WIDTH * MODALITIES.length), bias: new Float64Array(CLASSES), encoders: MODALITIES.map(() => new Float64Array(WIDTH * INPUT)) });
const tensors = (model) => [model.weight, model.bias, ...model.encoders];

/** Train with L_multi + alpha sum_m L_m (Eq. 15). `encoderGate`: share of L_multi's gradient that reaches the encoders
 *  (0 is the multimodal truncation, Eq. 9 and 10); `fusionGate`: share of L_m's gradient that reaches the fusion module (0
 *  is the unimodal truncation, Algorithm 1). SGD with momentum 0.9 and rate 0.02 on the full batch, as `theory.toy.train_toy`. */
function trainToy({ alpha, encoderGate, fusionGate, steps = 300, every = 10 }) {
  const model = { weight: floats(toy.model.weight), bias: floats(toy.model.bias), encoders: MODALITIES.map((m) => floats(toy.model.encoders[m])) };
  const momentum = blank();
  const all = MODALITIES.map((_, m) => m);
  const branches = [["fused", all], ...all.map((m) => [MODALITIES[m], [m]])];
  const curves = { step: [], accuracy: {}, loss: {} };
  for (const [name] of branches) { curves.accuracy[name] = []; curves.loss[name] = []; }
  for (let step = 0; step <= steps; step += 1) {
    const { x, y } = parts.train;
    const z = all.map((m) => encode(model.encoders[m], x[m]));
    const found = branches.map(([, keep]) => crossEntropy(classify(model.weight, model.bias, z, keep), y));
    if (step % every === 0 || step === steps) {
      const seen = all.map((m) => encode(model.encoders[m], parts.test.x[m]));
      curves.step.push(step);
      branches.forEach(([name, keep], i) => {
        curves.loss[name].push(found[i].loss);
        curves.accuracy[name].push(crossEntropy(classify(model.weight, model.bias, seen, keep), parts.test.y).accuracy);
      });
    }
    if (step === steps) break;
    const gradient = blank();
    branches.forEach(([, keep], i) => {
      const shares = i ? [alpha * fusionGate, alpha] : [1, encoderGate];
      if (!i || alpha) addGradient(gradient, model, x, z, found[i].residual, keep, ...shares);
    });
    const [values, velocities, slopes] = [model, momentum, gradient].map(tensors);
    values.forEach((value, t) => value.forEach((_, i) => {
      velocities[t][i] = 0.9 * velocities[t][i] + slopes[t][i];
      value[i] -= 0.02 * velocities[t][i];
    }));
  }
  return curves;
}

function showToy() {
  const setting = gates();
  const curves = trainToy(setting);
  const looks = [["fused", LOOK.fused], [MODALITIES[0], LOOK.first], [MODALITIES[1], LOOK.second]];
  const lines = (column) => looks.map(([name, look]) => ({ x: curves.step, y: curves[column][name], look }));
  const last = (name) => `${name} ${(100 * curves.accuracy[name].at(-1)).toFixed(1)} %`;
  const ends = ["fused", ...MODALITIES].map(last).join(", ");
  at("accuracy").replaceChildren(chart({ words: `Test accuracy after 300 steps: ${ends}`, title: "Test accuracy (%)", xlabel: "step", lines: lines("accuracy"), low: 0.2, high: 1, ticks: [0.2, 0.4, 0.6, 0.8, 1], format: (v) => String(Math.round(100 * v)) }));
  at("loss").replaceChildren(chart({ words: "Training loss", title: "Training loss", xlabel: "step", lines: lines("loss"), low: 0.01, high: 3, log: true, ticks: [0.01, 0.03, 0.1, 0.3, 1, 3] }));
  at("gate-finding").textContent = `After 300 steps the test accuracies are: ${ends}.`;
  for (const button of at("presets").children) {
    button.setAttribute("aria-pressed", String(button.values.every((value, i) => value === Object.values(setting)[i])));
  }
}

const gateControls = at("gate-controls");
const drawToy = soon(showToy);
const PRESETS = [["joint training", [0, 1, 0]], ["G-Blending", [1, 1, 1]], ["multimodal truncation", [1, 0, 1]], ["unimodal truncation", [1, 1, 0]], ["DGL", [1, 0, 0]]];
const presets = element("div", { class: "buttons", id: "presets" }, ...PRESETS.map(([name, values]) => {
  const button = element("button", { type: "button", "aria-pressed": "false" }, name);
  button.values = values;
  button.addEventListener("click", () => {
    Object.values(gateInputs).forEach((input, i) => { input.value = values[i]; input.refresh(); });
    drawToy();
  });
  return button;
}));
gateControls.append(element("div", { role: "group", "aria-label": "Methods of the paper" }, presets));
const openness = (v) => (v === 0 ? "truncated" : v === 1 ? "let through" : `${Math.round(100 * v)} %`);
const gateInputs = {
  alpha: slider(gateControls, { id: "alpha", words: "Weight of the unimodal losses", hint: "The paper's \u03b1; 0 leaves them out.", min: 0, max: 4, step: 0.25, value: 1, say: (v) => number(v), changed: drawToy }),
  encoderGate: slider(gateControls, { id: "encoder-gate", words: "Multimodal gradient to the encoders", hint: "DGL truncates it.", min: 0, max: 1, step: 0.1, value: 0, say: openness, changed: drawToy }),
  fusionGate: slider(gateControls, { id: "fusion-gate", words: "Unimodal gradients to the fusion", hint: "DGL truncates them.", min: 0, max: 1, step: 0.1, value: 0, say: openness, changed: drawToy }),
};
const gates = () => Object.fromEntries(Object.entries(gateInputs).map(([name, input]) => [name, Number(input.value)]));

key(at("gate-key"), [["fused", LOOK.fused], [`${MODALITIES[0]} modality`, LOOK.first], [`${MODALITIES[1]} modality`, LOOK.second]]);
showSample();
showToy();
