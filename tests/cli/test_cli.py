"""The command line: help without torch, verbs on a tiny base.

Every user error one line and exit code 2.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pave
from helpers import tinyrun
from pave.cli.app import make_app
from pave.cli.verbs import OWN

Pave = Callable[..., tuple[int, str, str]]
SOURCE = str(Path(pave.__file__).parents[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("made"))


def _process(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )


def test_help_is_quick_and_imports_no_torch() -> None:
    """At most twice what the library behind it takes to show the help of an empty program."""
    ours = (
        "import sys; from pave.cli import main; code = main(['--help']); "
        "heavy = {'torch', 'transformers', 'numpy', 'av', 'peft'} & set(sys.modules); "
        "assert code == 0 and not heavy, heavy"
    )
    peer = "from cyclopts import App; App(name='empty', result_action='return_value')(['--help'])"
    ratios: list[float] = []
    while len(ratios) < 12 and min(ratios, default=9.0) >= 2.0:
        # In turn, because other work on the machine makes CPU seconds longer.
        done, spent = _cpu_seconds(ours)
        _, bare = _cpu_seconds(peer)
        ratios.append(spent / bare)
    assert all(verb in done.stdout for verb in OWN)
    assert min(ratios) < 2.0, ratios


def _cpu_seconds(code: str) -> tuple[subprocess.CompletedProcess[str], float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = _process(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_module_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pave", "bogus"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pave: error: unknown command 'bogus' (see: pave --help)\n"


@pytest.mark.parametrize("verb", OWN)
def test_every_verb_explains_itself(run: Pave, verb: str) -> None:
    code, out, err = run(verb, "--help")
    assert (code, err) == (0, "")
    assert f"pave {verb}" in out.split("Parameters")[0].replace("Usage: ", "", 1), (
        "the help shows examples"
    )
    parameters = [
        line for line in out.splitlines() if line.startswith(("│ *  --", "│    --", "│ --"))
    ]
    assert (parameters or "╭─ Arguments" in out) and "Usage:" in out


def test_root_list_has_the_verbs_in_the_order_of_use(run: Pave) -> None:
    _, out, _ = run("--help")
    places = [out.index(f"│ {verb} ") for verb in OWN]
    assert places == sorted(places)
    assert run("--version")[1] == f"{pave.__version__}\n"
    assert make_app() is not None


# ---------------------------------------------------------------- ask and info


def test_ask_with_patch_without_and_off(run: Pave, made: tinyrun.Run) -> None:
    asked = ("ask", made.loud, "Hm?", "--max-new-tokens", 6)
    bare = run(*asked, "--base", made.base)
    patched = run(*asked, "--base", made.base, "--patch", made.patch)
    off = run(*asked, "--base", made.base, "--patch", made.patch, "--off")
    assert {bare[0], patched[0], off[0]} == {0}
    assert bare[1] == off[1] != patched[1]
    assert run("ask", made.silent, "Hm?", "--base", made.base, "--patch", made.patch)[0] == 0


def test_ask_finds_the_base_in_the_patch_and_speaks_json(
    run: Pave, made: tinyrun.Run, tmp_path: Path
) -> None:
    patch = tinyrun.patch(pave.load_base(made.base), tmp_path / "patch", "audio")
    code, out, _ = run(
        "ask", made.loud, "Hm?", "What?", "--patch", patch, "--json", "--max-new-tokens", 3
    )
    assert code == 0
    said = json.loads(out)
    assert said["base"] == str(made.base) and said["off"] is False
    assert [turn["question"] for turn in said["turns"]] == ["Hm?", "What?"]


def test_user_errors_are_one_line_and_exit_2(run: Pave, made: tinyrun.Run, tmp_path: Path) -> None:
    text, cut, other = tmp_path / "notes.mp4", tmp_path / "cut.mp4", tmp_path / "other"
    text.write_text("not a video\n" * 50)
    cut.write_bytes(made.loud.read_bytes()[: made.loud.stat().st_size // 2])
    (other / "lora").mkdir(parents=True)
    for file in made.patch.rglob("*"):
        if file.is_file():
            (other / file.relative_to(made.patch)).write_bytes(file.read_bytes())
    config = json.loads((other / "patch.json").read_text())
    config["base"]["fingerprint"]["hidden_dim"] = 4096
    (other / "patch.json").write_text(json.dumps(config))
    for words in (
        ("ask", text, "Hm?", "--base", made.base),
        ("ask", cut, "Hm?", "--base", made.base),
        ("ask", tmp_path / "gone.mp4", "Hm?", "--base", made.base),
        ("ask", made.loud, "Hm?", "--base", made.base, "--patch", other),
        ("ask", made.loud, "Hm?", "--base", made.base, "--patch", tmp_path / "gone"),
        ("ask", made.loud, "Hm?", "--base", tmp_path / "gone"),
        ("ask", made.loud, "--base", made.base),
        ("ask", made.loud, "Hm?", "--base", made.base, "--frames", 0),
        ("ask",),
        ("ask", made.loud, "Hm?", "--bass", made.base),
        ("info", text),
        ("info", tmp_path / "gone.mp4"),
        ("info", tmp_path),
        ("bases", "--build", "huge"),
        ("infos",),
        ("ask", made.loud, "Hm?", "  ", "--base", made.base),
        ("train", "--records", made.records, "--base", made.base, "--out", text / "run"),
        ("eval", "--records", made.records, "--base", made.base, "--out", text / "eval"),
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, ""), (words, err)
        assert err.startswith("pave: error: ") and err.count("\n") == 1 and len(err) > 30, (
            words,
            err,
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("train",), "--out is missing (see: pave train --help)"),
        (("ask",), "VIDEO is missing (see: pave ask --help)"),
        (("ask", "clip.mp4", "Hm?", "--patch"), "--patch needs a value (see: pave ask --help)"),
        (
            ("info", "a", "b"),
            "unexpected argument 'b'; quote words that belong together (see: pave info --help)",
        ),
    ],
)
def test_usage_errors_speak_of_the_words_typed(
    run: Pave, words: tuple[str, ...], expected: str
) -> None:
    assert run(*words) == (2, "", f"pave: error: {expected}\n")


def test_an_unexpected_error_is_one_line_too(run: Pave, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("pave.cli.output.facts", broken)
    code, _, err = run("info")
    assert code == 1
    advice = "(run again with --debug for the traceback)"
    assert err == f"pave: unexpected error: RuntimeError: two lines {advice}\n"
    assert "Traceback" in run("info", "--debug")[2]
    monkeypatch.setenv("PAVE_DEBUG", "1")
    assert "Traceback" in run("info")[2]


def test_interruption_has_its_own_code(run: Pave, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pave.cli.output.facts", stop)
    assert run("info") == (130, "", "pave: interrupted\n")


def test_info_of_patch_video_and_installation(run: Pave, made: tinyrun.Run) -> None:
    facts = json.loads(run("info", made.patch, "--json")[1])
    assert (
        facts["channel"] == "audio"
        and facts["encoder"]["name"] == "mel"
        and facts["parameters"] > 1000
    )
    assert facts["bytes"] > 4 * facts["parameters"]
    assert "channel" in run("info", made.patch)[1]
    loud, silent = (
        json.loads(run("info", video, "--json")[1]) for video in (made.loud, made.silent)
    )
    assert (loud["picture"]["width"], loud["picture"]["height"], loud["sound"]["channels"]) == (
        64,
        48,
        1,
    )
    assert silent["sound"] is None
    assert "none" in run("info", made.silent)[1]
    assert json.loads(run("info", "--json")[1])["pave"] == pave.__version__


@pytest.mark.parametrize("kind", ["pictures", "color", "stack"])
def test_info_of_a_folder_of_frames(run: Pave, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "color" if kind == "color" else tmp_path
    place.mkdir(exist_ok=True)
    if kind == "stack":
        np.save(tmp_path / "stacked_images.npy", np.zeros((3, 32, 48, 3), np.uint8))
    else:
        for number in range(3):
            Image.new("RGB", (48, 32)).save(place / f"{number}.JPEG", "JPEG")
    facts = json.loads(run("info", tmp_path, "--json")[1])
    assert (facts["pictures"], facts["picture"]) == (3, {"width": 48, "height": 32})
    assert facts["sound"] is None and "pictures" in run("info", tmp_path)[1]


def test_info_of_a_name_that_begins_with_a_dash(
    run: Pave, made: tinyrun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-a.mp4").write_bytes(Path(made.silent).read_bytes())
    facts = json.loads(run("info", "./-a.mp4", "--json")[1])
    assert (facts["picture"]["width"], facts["picture"]["height"]) == (64, 48)


def test_info_of_a_patch_without_its_weights(run: Pave, made: tinyrun.Run, tmp_path: Path) -> None:
    (tmp_path / "patch.json").write_bytes((made.patch / "patch.json").read_bytes())
    code, out, err = run("info", tmp_path)
    assert (code, out) == (2, "") and "fusion.safetensors is missing" in err


def test_bases_lists_families(run: Pave) -> None:
    rows = json.loads(run("bases", "--json")[1])
    assert {"llava_onevision", "qwen2_vl"} <= {row["name"] for row in rows["families"]}
    assert isinstance(rows["smol"]["ready"], bool)
    assert "llava_onevision" in run("bases")[1]


# ---------------------------------------------------------------- settings files


def test_eval_reads_a_file_and_flags_win(run: Pave, made: tinyrun.Run, tmp_path: Path) -> None:
    file = tmp_path / "eval.yaml"
    file.write_text(
        f"records: {made.records}\nout: {tmp_path / 'a'}\nbase: {made.base}\nmax_new_tokens: "
        "4\nplot: false\nlimit: 1\n"
    )
    arms = ("--arms.base", "none", "--arms.sound", made.patch)
    code, out, err = run(
        "eval", "--config", file, "--out", tmp_path / "b", "--resamples", 200, *arms, "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert [row["arm"] for row in report["arms"] if row["family"] == "all"] == ["base", "sound"]
    assert report["settings"]["max_new_tokens"] == 4 and report["settings"]["resamples"] == 200
    assert (tmp_path / "b" / "results.json").is_file() and not (tmp_path / "a").exists()
    code, out, err = run(
        "eval", f"--config={file}", "--out", tmp_path / "b", "--resamples", 200, *arms
    )
    assert code == 0 and "needs sound" in out and "sound - base" in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recrds: a.jsonl", "--records"),
        ("records: a.jsonl\nout: o\nlora: {rnk: 3}", "--lora.rank"),
        ("records: a.jsonl\nout: o\nsteps: many", "steps"),
        ("records: a.jsonl\nout: o\nsteps: 3\nepochs: 2", "not both"),
        ("records: a.jsonl\nout: o\nsteps: 3", "a.jsonl"),
        ("records: [", "settings file"),
        ("records: a.jsonl\nout: o\neval: {a: 1}", "[eval]"),
        ("- records", "mapping"),
        ("", "mapping"),
        ("1: 2", "must be a word, got 1"),
        ("records: a.jsonl\nout: o\nlora: {2: 3}", "must be a word, got 2"),
    ],
)
def test_train_says_what_is_wrong_in_a_file(
    run: Pave, tmp_path: Path, text: str, expected: str
) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(text)
    code, _, err = run("train", "--config", file)
    assert code == 2 and expected in err and err.count("\n") == 1, err


def test_config_flag_itself_is_checked(run: Pave, tmp_path: Path) -> None:
    for words in (
        ("--config",),
        ("--config", tmp_path / "gone.yaml"),
        ("--config", "a", "--config", "b"),
    ):
        code, _, err = run("train", *words)
        assert code == 2 and "--config" in err


def test_null_on_the_command_line_is_no_value(
    run: Pave, made: tinyrun.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fake(config: object) -> None:
        seen.append(config)
        raise pave.TrainError("enough")

    monkeypatch.setattr("pave.train.train", fake)
    file = tmp_path / "train.yaml"
    file.write_text(
        f"records: {made.records}\nout: o\nchannel: audio\nencoder: mel\nlora: "
        f"{{rank: 8, targets: [q_proj, v_proj]}}\n"
        "fusion: {hidden: 64, rope: null, sections: [1, 2], rate: 1.0e-3, word: '1', "
        "more: {tie_kv: true}}\n"
        "store: tokens\ninputs: {newline: grid, frames: 32}\non_top_of: [a/patch, "
        "b/patch]\nlora_below: continued\n"
    )
    run("train", "--config", file, "--lora.alpha", 4)
    run(
        "train",
        "--config",
        file,
        "--channel",
        "null",
        "--encoder",
        "none",
        "--fusion.layers",
        1,
        "--steps",
        5,
    )
    heard, control = seen
    fusion = {
        "hidden": 64,
        "rope": None,
        "sections": [1, 2],
        "rate": 1e-3,
        "word": "1",
        "more": {"tie_kv": True},
    }
    assert (heard.channel, heard.lora.rank, heard.lora.alpha, heard.fusion) == (
        "audio",
        8,
        4,
        fusion,
    )
    assert heard.lora.targets == ("q_proj", "v_proj")
    assert heard.cache == Path("tokens")  # a setting that is called like a verb
    assert (heard.inputs.newline, heard.inputs.frames) == ("grid", 32)
    assert (heard.base_patches, heard.base_lora) == (("a/patch", "b/patch"), "continued")
    assert (control.channel, control.encoder, control.steps) == (None, None, 5)


@pytest.mark.slow
def test_train_then_eval_then_info(run: Pave, made: tinyrun.Run, tmp_path: Path) -> None:
    common = (
        "--records",
        made.records,
        "--base",
        made.base,
        "--out",
        tmp_path / "run",
        "--store",
        tmp_path / "store",
    )
    sound = ("--channel", "audio", "--encoder", "mel", "--fusion.hidden", 32, "--lora.rank", 2)
    code, out, err = run("train", *common, *sound, "--steps", 3, "--questions-per-video", 2)
    assert code == 0, err
    assert str(tmp_path / "run" / "patch") in out
    facts = json.loads(run("info", tmp_path / "run" / "patch", "--json")[1])
    assert facts["training"]["steps"] == 3 and facts["base"] == str(made.base)
    eval_words = (
        "--records",
        made.records,
        "--base",
        made.base,
        "--out",
        tmp_path / "eval",
        "--no-plot",
        "--max-new-tokens",
        3,
    )
    code, out, err = run(
        "eval", *eval_words, "--arms.base", "none", "--arms.sound", tmp_path / "run" / "patch"
    )
    assert code == 0, err


# ---------------------------------------------------------------- channels


def test_channels_lists_licences(run: Pave) -> None:
    """Every encoder of pave's own says where its weights come from.

    Plug-ins say what their package says.
    """
    rows = json.loads(run("channels", "--json")[1])["encoders"]
    found = {(row["channel"], row["name"]): row for row in rows}
    assert {"audio", "features", "frames", "scene3d", "views"} <= {row["channel"] for row in rows}
    assert found["audio", "imagebind"]["licence"] == "CC-BY-NC-SA-4.0"
    assert (
        found["views", "tower"]["needs_tower"]
        and found["views", "tower"]["weights"] == "the base's own tower"
    )
    assert all(
        row["weights"] and row["summary"] for row in rows if row["module"].startswith("pave.")
    )
    code, out, _ = run("channels")
    assert code == 0 and "CC-BY-NC-SA-4.0" in out and "scene3d" in out


def test_ask_with_other_cameras(run: Pave, made: tinyrun.Run, tmp_path: Path) -> None:
    """A list, a JSON object, and nothing: with the cameras the patch speaks.

    Without them the base does.
    """
    base = pave.load_base(made.base)
    model = pave.PatchedModel(base)
    settings = {"frames": 4, "side": 1}
    name = model.new_patch(
        "views", encoder="tower", encoder_settings=settings, fusion={"hidden": 16}, seed=0
    )
    model.patches[name].fusion.norm.weight.data.fill_(3.0)
    patch = model.save_patch(tmp_path / "patch", name)
    asked = ("ask", made.silent, "Hm?", "--patch", patch, "--max-new-tokens", 6)
    listed = run(*asked, "--channel", f"views={made.loud},{made.silent}")
    videos = json.dumps({"videos": [str(made.loud), str(made.silent)], "offsets": [0.0, 0.0]})
    objected = run(*asked, "--channel", f"views={videos}")
    alone = run(*asked)
    assert listed[0] == alone[0] == 0 and listed[1] == objected[1] != alone[1], (
        listed,
        objected,
        alone,
    )
    for words in ("views", "views=", "=a.mp4", "views={", "sound=a.mp4", "views=gone.mp4"):
        code, out, err = run(*asked, "--channel", words)
        assert (code, out) == (2, "") and err.count("\n") == 1, (words, err)


def test_new_channel_writes_a_package(run: Pave, tmp_path: Path) -> None:
    code, out, _ = run("new-channel", "heart", "--out", tmp_path / "package")
    assert (
        code == 0
        and "pip install -e" in out
        and (tmp_path / "package" / "pyproject.toml").is_file()
    )
    assert run("new-channel", "heart", "--out", tmp_path / "package")[0] == 2
    assert run("new-channel", "audio", "--out", tmp_path / "other")[0] == 2
