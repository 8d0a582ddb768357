// Ask the two networks: answers were computed in Python for every clip and every state of its modalities.

const STATES = ["whole", "weakened", "absent"];
const PER_CENT = (share) => `${(100 * share).toFixed(1)} %`;

/** Probabilities of logits. */
function softmax(logits) {
  const top = Math.max(...logits);
  const powers = logits.map((value) => Math.exp(value - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}

/** Logits of one network on one clip: fused, audio and visual; null for the branch of a modality that is absent. */
function answer(row, clip, audio, visual) {
  const known = data.answers[row][clip];
  const [a, v] = [STATES.indexOf(audio), STATES.indexOf(visual)];
  return { fused: known.fused[a][v], audio: known.audio[a] ?? null, visual: known.visual[v] ?? null };
}

/** The place of the largest value. */
const largest = (values) => values.indexOf(Math.max(...values));

/** How many of the clips the fused answer of a network has right in these states. */
function right(row, audio, visual) {
  return data.clips.filter((clip, i) => largest(answer(row, i, audio, visual).fused) === clip.label).length;
}

const TITLES = { fused: "both together (fused)", audio: "the sound alone (branch)", visual: "the face alone (branch)" };
const INK = { fused: "var(--fused)", audio: "var(--audio)", visual: "var(--visual)" };

function bars(row, branch, logits, label) {
  const p = logits ? softmax(logits) : null;
  const said = p ? data.emotions.map((name, k) => `${name} ${PER_CENT(p[k])}`).join(", ") : "no answer, because this modality is absent";
  const drawn = drawing(320, 136, `${row}, ${TITLES[branch]}: ${said}`);
  drawn.append(shape("text", { x: 0, y: 13, "font-weight": 600, style: `fill: ${INK[branch]}` }, TITLES[branch]));
  if (!p) {
    drawn.append(shape("text", { class: "quiet", x: 0, y: 40 }, "This modality is absent, so it has no answer."));
    return drawn;
  }
  const best = largest(p);
  data.emotions.forEach((name, k) => {
    const y = 23 + 19 * k;
    drawn.append(shape("text", { x: 76, y: y + 12, "text-anchor": "end", "font-weight": k === label ? 700 : 400 }, name));
    drawn.append(shape("rect", { x: 84, y: y + 1, width: 158, height: 13, rx: 3, style: "fill: var(--soft)" }));
    drawn.append(shape("rect", { x: 84, y: y + 1, width: Math.max(2, 158 * p[k]), height: 13, rx: 3, style: `fill: ${INK[branch]}; fill-opacity: ${k === best ? 1 : 0.25}; stroke: ${INK[branch]}` }));
    drawn.append(shape("text", { class: "quiet", x: 249, y: y + 12 }, `${PER_CENT(p[k])}${k === best ? (k === label ? " \u2713" : " \u2717") : ""}`));
  });
  return drawn;
}

function show() {
  const [i, audio, visual] = [Number(clipChoice.value), audioState(), visualState()];
  const clip = data.clips[i];
  const emotion = data.emotions[clip.label];
  const [a, v] = [Math.min(1, STATES.indexOf(audio)), Math.min(1, STATES.indexOf(visual))];
  at("face").src = clip.faces[v];
  at("face").alt = visual === "absent" ? "The face is hidden." : `The generated face of actor ${clip.actor}, who acts ${emotion}${v ? ", blurred" : ""}.`;
  at("face").dataset.absent = visual === "absent";
  at("face-words").textContent = { whole: "The network sees this face.", weakened: "The network sees this blurred face.", absent: "The face is hidden: its features count as zero." }[visual];
  const player = at("sound");
  if (player.getAttribute("src") !== clip.sounds[a]) player.src = clip.sounds[a];
  if (audio === "absent") player.pause();
  player.dataset.absent = audio === "absent";
  at("heard").src = clip.heard[a];
  at("heard").alt = audio === "absent" ? "The sound is silenced." : `Spectrogram of the voice${a ? ", muffled" : ""}: time to the right, low tones below.`;
  at("heard").dataset.absent = audio === "absent";
  at("sound-words").textContent = { whole: "The network hears this spectrogram of the voice.", weakened: "The network hears this muffled voice.", absent: "The sound is silenced: its features count as zero." }[audio];
  at("answers").replaceChildren(...Object.keys(data.answers).map((row) => {
    const found = answer(row, i, audio, visual);
    const parts = ["fused", "audio", "visual"].map((branch) => bars(row, branch, found[branch], clip.label));
    return element("div", {}, element("h3", {}, row === "vanilla" ? "Joint training (vanilla)" : row), ...parts);
  }));
  const both = audio === "absent" && visual === "absent";
  const counts = Object.keys(data.answers).map((row) => `${row} ${right(row, audio, visual)}`).join(", ");
  at("model-finding").textContent = both
    ? "Nothing is left to look at or to listen to: the answer is the bias of the classifier, whatever the clip."
    : `Over all ${data.clips.length} clips in this state, the fused answer is right so often: ${counts}.`;
}

const panel = at("model-controls");
const count = {};
const clipChoice = choice(panel, {
  id: "clip", words: "Clip",
  options: data.clips.map((clip, i) => {
    const emotion = data.emotions[clip.label];
    count[emotion] = (count[emotion] ?? 0) + 1;
    return [i, `${emotion} ${count[emotion]}, actor ${clip.actor}`];
  }),
  changed: show,
});
const audioState = radios(panel, { id: "audio", words: "Sound", options: [["whole", "as it is"], ["weakened", "muffled"], ["absent", "silenced"]], changed: show });
const visualState = radios(panel, { id: "visual", words: "Face", options: [["whole", "as it is"], ["weakened", "blurred"], ["absent", "hidden"]], changed: show });

at("weights").textContent = data.weights.toLocaleString("en");
const branches = ["fused", "audio", "visual"];
at("accuracies").append(element("table", {},
  element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "network"), ...branches.map((name) => element("th", { scope: "col" }, { fused: "fused", audio: "sound alone", visual: "face alone" }[name])))),
  element("tbody", {}, ...Object.entries(data.accuracy).map(([row, scores]) => element("tr", {},
    element("th", { scope: "row" }, row), ...branches.map((name) => element("td", {}, (100 * scores[name]).toFixed(1))))))));
show();
