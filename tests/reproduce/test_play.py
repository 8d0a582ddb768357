"""The pages to play with: what Python writes into them, and what a real browser computes from it without a network."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import statistics
import wave

import pytest
import torch
from browser import Browser, installed, wait_for
from scipy import stats

from dgl_core import data
from dgl_core.data.generated.emotions import emotion_files
from dgl_core.data.generated.emotions.emotion_files import Settings
from dgl_core.data.recipe import random_split
from dgl_core.gradients import FUSED
from dgl_core.paper.theory import cases, toy
from dgl_core.reproduce import play
from dgl_core.reproduce.play import model, pages, protocol, trained, training
from dgl_core.training.records import unpack_bits
from dgl_core.verdicts import families
from dgl_core.verdicts.selection import own_rates
from dgl_core.verdicts.statistics import mean_interval, percent

CHROMIUM = pytest.mark.skipif(not installed(), reason="needs Chromium (Debian: apt-get install chromium)")
MOST = 3_000_000  # bytes of all pages together


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pages as they are written into a report."""
    place = tmp_path_factory.mktemp("report")
    play.write(place)
    return place


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Browser(tmp_path_factory.mktemp("chromium"))
    made.call("Network.enable")
    heard = "window.faults = []; addEventListener('error', event => faults.push(event.message));"
    made.call("Page.enable")
    made.call("Page.addScriptToEvaluateOnNewDocument", source=heard)
    made.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    try:
        yield made
    finally:
        made.close()


def opened(browser, folder, file: str):
    """Show a page from the disk."""
    browser.call("Page.navigate", url=(folder / file).as_uri())
    ready = "document.readyState === 'complete' && typeof data === 'object'"
    wait_for(lambda: browser.evaluate(ready), 60, f"{file} to be shown")
    return browser


def ask(browser, expression: str):
    """A value of the page, through JSON, so that infinities become null."""
    return json.loads(browser.evaluate(f"JSON.stringify({expression})"))


def inside(folder, file: str) -> dict:
    """The data that a page carries."""
    text = (folder / file).read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


# -- what is written --------------------------------------------------------------------------------------------------


def test_every_page_is_one_file_that_needs_no_other(folder):
    found = {page.file: (folder / page.file).read_text(encoding="utf-8") for page in pages.PAGES}
    assert sorted(found) == sorted(path.name for path in folder.iterdir()) and len(found) == 4
    assert sum(len(text.encode()) for text in found.values()) < MOST
    for page, text in zip(pages.PAGES, found.values(), strict=True):
        links = set(re.findall(r'(?:href|src)="([^"]+)"', text))
        assert links <= {"index.html", *found}, f"{page.file} asks for {links}"
        assert "index.html" in links and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert page.sentence in text and page.sentence.count(".") == 2 and page.sentence.endswith(".")


def test_pages_say_in_a_sentence_that_the_records_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "reference", lambda specs: [])
    with pytest.raises(ValueError, match="no reference record of vanilla on emotions is here; the pages need"):
        training.data()
    monkeypatch.setattr(protocol, "reference", lambda rows: dict.fromkeys(rows, []))
    with pytest.raises(ValueError, match="Table 1 on emotions are not here"):
        protocol.data()


# -- the two networks -------------------------------------------------------------------------------------------------


def test_the_kept_networks_are_those_that_the_tool_trains():
    assert sum(path.stat().st_size for path in trained.KEPT.iterdir()) < 1_000_000
    shapes = {name: tensor.shape for name, tensor in trained.network().state_dict().items()}
    for row in trained.ROWS:
        network, wanted = trained.predictor(row), trained.spec(row)
        assert {name: tensor.shape for name, tensor in network.model.state_dict().items()} == shapes
        options = {field: getattr(wanted, field) for field in (*trained.FIELDS, "method", "method_options")}
        assert {field: getattr(network.spec, field) for field in options} == options
        curves = trained.history()[row]["curves"]
        assert {len(values) for values in curves.values()} == {wanted.epochs}
        assert set(training.COLUMNS) <= set(curves)


def test_a_training_by_the_tool_writes_what_is_kept(tmp_path, monkeypatch):
    small = data.load("emotions", clips=36)
    monkeypatch.setattr(trained.data, "load", lambda name: small)
    spec = trained.spec
    monkeypatch.setattr(trained, "spec", lambda row: spec(row).but(epochs=2, milestones=(1,), batch_size=12))
    trained.train(tmp_path, say=lambda line: None)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in trained.KEPT.iterdir()}
    made, kept = json.loads((tmp_path / "history.json").read_text()), trained.history()
    assert made.keys() == kept.keys()
    for row in trained.ROWS:
        assert made[row].keys() == kept[row].keys() and made[row]["curves"].keys() == kept[row]["curves"].keys()
        ratio = torch.tensor(made[row]["ratio"]["audio"])
        assert ratio.shape == (2, len(made["clips"])) and (ratio > 0).all()


def test_the_networks_score_what_the_page_says(folder):
    settings = Settings()
    listed = emotion_files.clip_list(settings)
    parts = random_split([clip.label for clip in listed], seed=settings.seed)
    tested = sorted((clip for clip, part in zip(listed, parts, strict=True) if part == "test"), key=lambda c: c.name)
    some = slice(None, None, 10)  # thirty of them are made and asked again
    inputs = [model.stored(settings, clip) for clip in tested[some]]
    batch = {m: torch.stack([values[m][0] for values in inputs]) for m in trained.SHAPES}
    labels = torch.tensor([clip.label for clip in tested[some]])
    for row, scores in inside(folder, "play_model.html")["accuracy"].items():
        for branch, said in scores.items():
            noted = unpack_bits(trained.history()[row]["right"][branch], len(tested))
            assert noted.mean() == pytest.approx(said, abs=1e-6)
            found = trained.predictor(row).outputs(batch, None if branch == FUSED else (branch,)).argmax(1) == labels
            assert (found.numpy() != noted[some]).sum() <= 1, "one may lie on the edge on another processor"


def test_what_a_network_is_given_is_what_the_data_set_holds():
    settings = Settings(clips=18)
    held = data.load("emotions", clips=18)
    for clip in emotion_files.clip_list(settings)[:2]:
        row, made = held.ids.index(clip.name), model.stored(settings, clip)
        for m, stored in held.inputs.items():
            assert torch.equal(stored[row], made[m][0]) and not torch.equal(stored[row], made[m][1])


def test_the_clips_are_test_clips_two_of_each_emotion(folder):
    clips = model.chosen(Settings())
    assert [clip.label for clip in clips] == [k for k in range(6) for _ in range(model.EACH)]
    watched = set(trained.history()["clips"])
    assert not watched & {clip.name for clip in clips}, "a clip to ask about was trained on"
    for shown in inside(folder, "play_model.html")["clips"]:
        for sound in shown["sounds"]:
            with wave.open(io.BytesIO(base64.b64decode(sound.split(",")[1]))) as file:
                assert 1 < file.getnframes() / file.getframerate() < 6


def test_answers_are_those_of_the_networks(folder):
    settings = Settings()
    answers = inside(folder, "play_model.html")["answers"]
    clip = model.chosen(settings)[3]
    stored = model.stored(settings, clip)
    for row in trained.ROWS:
        network, found = trained.predictor(row), answers[row][3]
        for (a, audio), (v, visual) in itertools.product(enumerate(model.STATES), repeat=2):
            keep = [m for m, state in (("audio", audio), ("visual", visual)) if state != "absent"]
            given = {"audio": stored["audio"][a % 2][None], "visual": stored["visual"][v % 2][None]}
            wanted = network.outputs(given, keep)[0] if keep else network.model.fusion.head.bias.detach()
            torch.testing.assert_close(torch.tensor(found["fused"][a][v]), wanted, atol=1e-4, rtol=1e-4)
        for mixed, branch in ((found["fused"][1][2], found["audio"][1]), (found["fused"][2][0], found["visual"][0])):
            assert mixed == pytest.approx(branch, abs=1e-4, rel=1e-4)  # Eq. 12


# -- what the browser computes ----------------------------------------------------------------------------------------


@CHROMIUM
def test_the_explorer_of_one_sample_equals_python(browser, folder):
    opened(browser, folder, "play_theory.html")
    grid = itertools.product((0.02, 0.5, 0.98), (0.1, 0.6), (-3.0, 0.7), (-1.0, 1.4), cases.HEADS)
    names = ("confidence", "confusion", "second", "third", "head")
    points = [dict(zip(names, values, strict=True)) for values in grid]
    for point, found in zip(points, ask(browser, f"{json.dumps(points)}.map(explore)"), strict=True):
        case = cases.explored(**point)
        wanted = [*case.p_uni, *case.p_multi, case.s_bar, case.ratio, *case.g_uni, *case.g_multi]
        got = [*found["alone"], *found["fused"], found["sBar"], found["ratio"], *found["gUni"], *found["gMulti"]]
        assert got == pytest.approx([float(x) for x in wanted], abs=1e-6, rel=1e-6)


@CHROMIUM
def test_the_toy_training_equals_python(browser, folder):
    opened(browser, folder, "play_theory.html")
    points = [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2.5, 0.3, 0.7)]
    for alpha, encoder_gate, fusion_gate in points:
        setting = {"alpha": alpha, "encoderGate": encoder_gate, "fusionGate": fusion_gate, "every": 300}
        found = ask(browser, f"trainToy({json.dumps(setting)})")
        task = toy.toy_data()
        curves = toy.train_toy(toy.toy_model(task), task, alpha=alpha, encoder_gate=encoder_gate,
                               fusion_gate=fusion_gate, every=300)  # fmt: skip
        for branch in (FUSED, *toy.TWO):
            assert found["loss"][branch] == pytest.approx(curves[f"train/{branch}/loss"], abs=1e-6)
            assert found["accuracy"][branch] == pytest.approx(curves[f"test/{branch}/accuracy"], abs=1e-6)


def ranked(records, rate: str, protocol_: str, seeds, correction: str) -> dict[str, dict]:
    """What the page says of every row, by the functions of ``dgl_core.verdicts``."""
    grid = {
        r: {row: kept for row, of in rows.items() if (kept := [x for x in of if x.spec.seed in seeds])}
        for r, rows in records.items()
    }
    rows = own_rates(grid)[0] if rate == "own" else grid[float(rate)]
    own = {x.spec.seed: percent([x], protocol=protocol_)[0] for x in rows["DGL"]}
    lines, p = {}, {}
    for row, of in rows.items():
        scores = {x.spec.seed: percent([x], protocol=protocol_)[0] for x in of}
        gaps = [own[seed] - score for seed, score in scores.items() if seed in own]
        lines[row] = {"rate": of[0].spec.lr, "interval": mean_interval(list(scores.values())), "gaps": gaps}
        if row != "DGL" and len(gaps) > 1:
            p[row] = float(stats.ttest_1samp(gaps, 0.0).pvalue)
    rules = families.CORRECTIONS | {
        "none": lambda p, size, level: dict.fromkeys(p, level),
        "bonferroni": lambda p, size, level: dict.fromkeys(p, level / size),
    }
    levels = rules[correction](p, len(p), 0.05)
    for row in p:
        lead = mean_interval(lines[row]["gaps"], 1 - levels[row])
        lines[row] |= {"p": p[row], "level": levels[row], "lead": lead}
    return lines


@CHROMIUM
def test_the_ranking_equals_python(browser, folder):
    opened(browser, folder, "play_protocol.html")
    sets = {name: protocol.records(name) for name in ("emotions", "grid_letters")}
    some = [
        ("emotions", "0.03", "last", range(10), "holm"),
        ("grid_letters", "0.03", "last", range(10), "none"),
        ("emotions", "own", "last", range(10), "benjamini-hochberg"),
        ("grid_letters", "own", "best_val", (0, 1, 2), "bonferroni"),
        ("emotions", "own", "best_test", (2, 5, 7, 8), "holm"),
        ("grid_letters", "0.1", "best_test", (1,), "holm"),
    ]
    assert some[0] == (*ask(browser, "Object.values(protocol()).slice(0, 3)"), range(10), "holm"), "the default"
    for name, rate, epoch, seeds, correction in some:
        state = {"set": name, "rate": rate, "protocol": epoch, "seeds": list(seeds), "correction": correction}
        found = ask(browser, f"rank({json.dumps(state)})")
        wanted = ranked(sets[name], rate, epoch, seeds, correction)
        assert {line["row"] for line in found} == wanted.keys(), (name, rate, epoch)
        assert [line["mean"] for line in found] == sorted((line["mean"] for line in found), reverse=True)
        for got in found:
            line = wanted[got["row"]]
            interval = line["interval"]
            assert float(got["rate"]) == line["rate"] and got["mean"] == pytest.approx(interval.mean, abs=1e-9)
            if interval.n > 1:
                assert [got["low"], got["high"]] == pytest.approx([interval.low, interval.high], abs=1e-9)
            if "p" in line:
                lead = line["lead"]
                assert [got["p"], got["level"]] == pytest.approx([line["p"], line["level"]], abs=1e-9)
                assert [got["lead"][k] for k in ("mean", "low", "high")] == pytest.approx(
                    [lead.mean, lead.low, lead.high], abs=1e-9
                )


PUT = """(() => {{
  const control = document.getElementById({id}), main = document.querySelector('main'), before = main.innerHTML;
  control.{property} = {value};
  control.dispatchEvent(new Event({event}, {{bubbles: true}}));
  return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(main.innerHTML !== before))));
}})()"""


def put(browser, id_: str, value, property_: str = "value", event: str = "change") -> bool:
    """Set a control as a reader would; tells whether the page shows something else afterwards, without an error."""
    words = {"id": json.dumps(id_), "value": json.dumps(value), "property": property_, "event": json.dumps(event)}
    return browser.evaluate(PUT.format(**words)) and ask(browser, "faults") == []


@CHROMIUM
def test_every_control_changes_what_is_shown(browser, folder):
    opened(browser, folder, "play_theory.html")
    for name, value in (("confidence", 0.9), ("confusion", 0.2), ("second", -2), ("third", -1), ("alpha", 3),
                        ("encoder-gate", 0.5), ("fusion-gate", 1)):  # fmt: skip
        assert put(browser, name, value, event="input"), name
    assert put(browser, "head", list(cases.HEADS)[1])
    for place, setting in enumerate(([0, 1, 0], [1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0])):
        browser.evaluate(f"at('presets').children[{place}].click()")
        assert ask(browser, "Object.values(gates())") == setting
    opened(browser, folder, "play_model.html")
    for name in ("audio-weakened", "audio-absent", "visual-weakened", "visual-absent"):
        assert put(browser, name, True, "checked"), name
    assert "bias of the classifier" in browser.evaluate("at('model-finding').textContent")
    assert put(browser, "clip", "5")
    opened(browser, folder, "play_training.html")
    assert put(browser, "epoch", 20, event="input")
    assert put(browser, "divide", True, "checked")
    assert put(browser, "source", "grid_letters")
    browser.evaluate("play.click()")
    assert wait_for(lambda: browser.evaluate("epoch()") in range(1, 19), 30, "the epochs to play")
    opened(browser, folder, "play_protocol.html")
    for name, value in (("set", "grid_letters"), ("protocol", "best_test"), ("rate", "own"), ("correction", "none")):
        assert put(browser, name, value), name
    assert put(browser, "seed-3", False, "checked")
    for button, count in (("one seed", 1), ("three seeds", 3), ("five seeds", 5), ("all seeds", 10)):
        browser.evaluate(f"[...document.querySelectorAll('button')].find(b => b.innerText === '{button}').click()")
        assert ask(browser, "protocol().seeds") == list(range(count))


# Elements without a name for a screen reader, and texts whose contrast with what is behind them is below 4.5.
FAULTS = r"""(() => {
  const rgb = (text) => (text.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const linear = (v) => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const named = (e) => e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.alt
    || e.getAttribute('aria-hidden');
  const faults = [...document.querySelectorAll('input, select, button, audio, img, svg, a')].filter(e => !named(e))
    .map(e => 'no name: ' + (e.id || e.outerHTML.slice(0, 80)));
  const silent = ['SCRIPT', 'STYLE', 'OPTION', 'NOSCRIPT', 'title'];
  const holds = (e) => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  for (const e of [...document.querySelectorAll('body *')].filter(e => holds(e) && !silent.includes(e.tagName))) {
    const style = getComputedStyle(e), ink = rgb(e.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [high, low] = [light(ink), light(behind(e))].sort((x, y) => y - x);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${e.textContent.slice(0, 40)}`);
  }
  return faults;
})()"""


@CHROMIUM
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_has_a_name_a_contrast_and_fits_a_phone(browser, folder, scheme):
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    try:
        for page in pages.PAGES:
            opened(browser, folder, page.file)
            assert ask(browser, FAULTS) == [], page.file
            assert browser.evaluate("document.documentElement.scrollWidth") == 390, page.file
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_the_digest_of_the_protocol_is_that_of_the_records(folder):
    held = inside(folder, "play_protocol.html")["sets"]["emotions"]
    records = protocol.records("emotions")
    assert held["common"] == "0.03" and set(held["rates"]) == {"0.01", "0.03", "0.1"}
    for protocol_ in ("last", "best_val", "best_test"):
        kept = [run[protocol_] for run in held["rates"]["0.1"]["DGL"]]
        assert statistics.fmean(kept) == pytest.approx(
            statistics.fmean(percent(records[0.1]["DGL"], protocol=protocol_))
        )
