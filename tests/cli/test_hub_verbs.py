"""`pave push`, `pull`, `search` and `check --patch`: what they print, and their exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import tiny, tinyrun
from helpers.hub_server import HubServer, use
from pave.cli import main
from pave.model import PatchedModel
from pave.model.published import make_probe
from pave.patches import read_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    """A base, a patch and records."""
    return tinyrun.make(tmp_path_factory.mktemp("run"), clips=1, questions=1)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on which we are `someone`."""
    with HubServer() as server:
        use(server, tmp_path, monkeypatch, token="someone")
        yield server


def test_push_search_pull(
    hub: HubServer, run: tinyrun.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--private", "--licence", "apache-2.0", "--language", "en"]
    words += ["--dataset", "someone/clips=cc-by-4.0", "--dataset", "our own"]
    assert main(["push", str(run.patch), "someone/hearing", *words]) == 0
    assert capsys.readouterr().out.startswith(f"{hub.address}/someone/hearing/commit/")
    config = read_config(run.patch)
    assert (config.licence, config.language) == ("apache-2.0", ["en"])
    assert [data.licence for data in config.datasets] == ["cc-by-4.0", None]
    assert main(["search", "hear", "--channel", "audio"]) == 0
    assert "someone/hearing" in capsys.readouterr().out
    assert main(["search", "nothing-like-it"]) == 0
    assert "no patch on the Hub matches" in capsys.readouterr().err
    assert main(["pull", "someone/hearing", "--json"]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folder"])
    assert read_config(folder) == config
    assert main(["info", "someone/hearing"]) == 0
    assert "someone/clips" in capsys.readouterr().out


def test_push_makes_a_probe_where_the_base_is_at_hand(
    hub: HubServer, run: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "patch"
    shutil.copytree(run.patch, folder)
    manifest = json.loads((folder / "patch.json").read_text())
    for name in ("nobody/nowhere", str(run.base)):
        manifest["base"]["name"] = name
        (folder / "patch.json").write_text(json.dumps(manifest))
        assert main(["push", str(folder), "someone/probed"]) == 0
        if name == "nobody/nowhere":
            told = capsys.readouterr().err
            assert "without a probe" in told and f"{name} is not on this machine" in told
            assert read_config(folder).probe is None
    assert "without a probe" not in capsys.readouterr().err
    assert read_config(folder).probe is not None
    assert main(["check", str(run.base), "--patch", str(folder)]) == 0
    assert "equal bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["pull", "someone/missing"], "it does not exist"),
        (["pull", "./here"], "is not a repository on the Hub"),
        (["pull", "someone/half"], "its upload was not finished"),
        (["info", "someone/missing"], "it does not exist"),
        (["search", "--limit", "0"], "--limit"),
        (["push", "/nowhere", "someone/x"], "there is no patch folder"),
    ],
)
def test_a_mistake_is_a_line_and_exit_code_2(
    words: list[str], told: str, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add("someone/half", {"README.md": b""})
    assert main(words) == 2
    # A progress bar may come before, where another test has turned bars on.
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_a_probe_is_checked_on_its_base_and_on_another(
    run: tinyrun.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(run.base), "--patch", str(run.patch)]) == 2
    assert "holds no probe" in capsys.readouterr().err
    from pave.bases import load_base

    model = PatchedModel(load_base(str(run.base)))
    name = model.load_patch(run.patch)
    probed = model.save_patch(tmp_path / "probed", name, probe=make_probe(model))
    assert main(["check", str(run.base), "--patch", str(probed)]) == 0
    assert "equal bit for bit" in capsys.readouterr().out
    other = tiny.base(seed=1)
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    assert main(["check", str(tmp_path / "other"), "--patch", str(probed), "--json"]) == 1
    (match,) = json.loads(capsys.readouterr().out).values()
    assert match["verdict"] == "different"
    assert match["base"] > match["tolerance"]
