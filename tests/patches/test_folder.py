"""The patch folder: round trips, what saving refuses, and broken folders that loading refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny, tiny_patch
from pave.errors import PatchError
from pave.model import PatchedModel
from pave.paper import AUTHORS_INPUTS
from pave.patches import LoraSpec, read_config
from pave.patches import folder as folder_module
from pave.patches.lora import Lora
from pave.train.checkpoints import save_weights

FILES = [
    "README.md",
    "fusion.safetensors",
    "lora/adapter_config.json",
    "lora/adapter_model.safetensors",
    "patch.json",
]


def listing(folder: Path) -> list[str]:
    """All files of a folder."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good patch folder."""
    model = PatchedModel(tiny.base())
    model.new_patch(
        "audio",
        fusion={"hidden": 16},
        lora=LoraSpec(rank=2),
        seed=0,
        task="demo",
        prompt="Q: {question}",
    )
    tiny_patch.wake(model, "audio")
    scores = [{"arm": "base", "accuracy": 0.2}, {"arm": "patch", "accuracy": 0.7}]
    return model.save_patch(
        tmp_path_factory.mktemp("saved") / "hearing",
        training={"steps": 3},
        scores=scores,
        licence="Apache-2.0",
    )


@pytest.fixture(scope="module")
def model() -> PatchedModel:
    """A plain patched model; nothing that fails to load may change it."""
    return PatchedModel(tiny.base())


def test_the_folder_holds_what_it_should(saved: Path) -> None:
    assert listing(saved) == FILES
    config = read_config(saved)
    assert config.training == {"steps": 3}
    assert config.channel == "audio"
    assert config.encoder is not None
    assert config.encoder.name == "mel"
    assert config.encoder.settings  # spelt out, so that later defaults cannot change it
    for name, digest in config.files.items():
        assert hashlib.sha256((saved / name).read_bytes()).hexdigest() == digest
    fusion = load_file(saved / "fusion.safetensors")
    assert {tensor.dtype for tensor in fusion.values()} == {torch.float32}
    assert not [path.name for path in saved.parent.iterdir() if path != saved]


def test_the_card_says_what_it_is_and_how_to_use_it(saved: Path) -> None:
    card = (saved / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pave\n")
    assert "| patch | 0.7 |" in card
    assert "hears the video's sound" in card
    code = card.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) == 6
    compile(code, "card", "exec")


def test_saving_again_replaces_and_keeps_what_is_known(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(saved, folder)
    loaded = PatchedModel(tiny.base())
    name = loaded.load_patch(folder)
    assert name == "x"
    tiny_patch.wake(loaded, name, seed=9)
    loaded.set_trainable(name, True)
    tiny_patch.wake(loaded, name, seed=9)
    loaded.save_patch(folder)
    assert listing(folder) == FILES
    assert read_config(folder).training == {"steps": 3}
    assert read_config(folder).files != read_config(saved).files
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_lora_only_and_a_fusion_only_patch_save_what_they_have(tmp_path: Path) -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model, None)
    tiny_patch.add(case.model, "audio", lora=None)
    on = case.run()
    case.model.save_patch(tmp_path / "control", "lora")
    case.model.save_patch(tmp_path / "hearing", "audio")
    assert listing(tmp_path / "control") == [
        name for name in FILES if not name.startswith("fusion")
    ]
    assert listing(tmp_path / "hearing") == [name for name in FILES if not name.startswith("lora")]
    again = tiny_patch.case()
    again.model.load_patch(tmp_path / "control")
    again.model.load_patch(tmp_path / "hearing")
    assert torch.equal(again.run(), on)
    assert again.model.trainable_parameters() == {}


@pytest.mark.parametrize("what", ["file", "strangers", "stranger beside a patch", "broken link"])
def test_saving_over_something_else_is_refused_and_leaves_it(
    saved: Path, tmp_path: Path, what: str
) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.write_text("mine")
    elif what == "strangers":
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
    elif what == "stranger beside a patch":
        shutil.copytree(saved, target)
        (target / "thesis.txt").write_text("mine")
    else:
        target.mkdir()
        (target / "thesis.txt").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    with pytest.raises(PatchError, match="choose|name a folder"):
        case.model.save_patch(target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_while_saving_leaves_the_old_patch(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "x"
    shutil.copytree(saved, folder)
    case = tiny_patch.case()
    tiny_patch.add(case.model)

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_module, "sync", fail)
    with pytest.raises(PatchError, match="No space left on device"):
        case.model.save_patch(folder)
    monkeypatch.undo()
    rename = Path.rename

    def fail_second(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(PatchError, match="Input/output error"):
        case.model.save_patch(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert read_config(folder) == read_config(saved)


def test_diverged_weights_are_not_saved(tmp_path: Path) -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    with torch.no_grad():
        next(iter(case.model.trainable_parameters().values())).fill_(float("nan"))
    with pytest.raises(PatchError, match="NaN"):
        case.model.save_patch(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# -------------------------------------------------------------------- broken folders


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of patch.json."""
    content = json.loads((folder / "patch.json").read_text())
    content.update(changes)
    (folder / "patch.json").write_text(json.dumps(content))


def resign(folder: Path) -> None:
    """Record the present hashes, as somebody would who tampers with a patch on purpose."""
    names = [name for name in FILES if name not in ("README.md", "patch.json")]
    edit(
        folder,
        files={name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    )


def retensor(folder: Path, name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change a tensor file and sign it."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name)
    resign(folder)


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and sign it."""
    (folder / name).write_bytes(data)
    resign(folder)


def linked(folder: Path, name: str) -> None:
    """Move a file out of the folder and leave a link."""
    outside = folder.parent / ("outside-" + name.replace("/", "-"))
    shutil.move(folder / name, outside)
    (folder / name).symlink_to(outside)


def link_dir(folder: Path) -> None:
    """Move the adapter out of the folder and leave a link."""
    shutil.move(folder / "lora", folder.parent / "elsewhere")
    (folder / "lora").symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    """A named pipe would block whoever opens it."""
    (folder / "fusion.safetensors").unlink()
    os.mkfifo(folder / "fusion.safetensors")


def rebase(folder: Path, **facts: Any) -> None:
    """Pretend the patch was made for another base."""
    base = json.loads((folder / "patch.json").read_text())["base"]
    edit(folder, base={"name": "other/base", "fingerprint": {**base["fingerprint"], **facts}})


def lacking(folder: Path, *keys: str) -> None:
    """Take keys out of the adapter's own config."""
    file = folder / "lora" / "adapter_config.json"
    content = json.loads(file.read_text())
    for key in keys:
        del content[key]
    file.write_text(json.dumps(content))
    resign(folder)


def adapter(folder: Path, **changes: Any) -> None:
    """Change the adapter's own config and sign it."""
    path = folder / "lora/adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    resign(folder)


F, L = "fusion.safetensors", "lora/adapter_model.safetensors"
TORTURE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda f: (f / "patch.json").unlink(), "patch.json is missing"),
    "empty manifest": (lambda f: (f / "patch.json").write_text(""), "cannot be read as JSON"),
    "binary manifest": (
        lambda f: (f / "patch.json").write_bytes(b"\xff\xfe\x00"),
        "cannot be read as JSON",
    ),
    "list manifest": (lambda f: (f / "patch.json").write_text("[]"), "schema version None"),
    "deep manifest": (
        lambda f: (f / "patch.json").write_text("[" * 100_000),
        "cannot be read as JSON",
    ),
    "huge manifest": (lambda f: (f / "patch.json").write_text(" " * (1 << 22) + "{}"), "too large"),
    "manifest is a folder": (
        lambda f: ((f / "patch.json").unlink(), (f / "patch.json").mkdir()),
        "is not a file",
    ),
    "manifest leads out": (lambda f: linked(f, "patch.json"), "points outside"),
    "future schema": (
        lambda f: edit(f, schema_version=3),
        "version 3, this pave reads 1 to 2",
    ),
    "no channels": (lambda f: edit(f, schema_version=2), "one channel needs 1"),
    "boolean schema": (lambda f: edit(f, schema_version=True), "schema version True"),
    "unknown field": (lambda f: edit(f, colour="red"), "colour: there is no such field"),
    "wrong type": (lambda f: edit(f, training=3), "training: "),
    "no fusion config": (lambda f: edit(f, fusion=None), "a channel needs a fusion"),
    "contradicting fusion": (
        lambda f: edit(
            f, fusion={**json.loads((f / "patch.json").read_text())["fusion"], "heads": 3}
        ),
        "not a multiple of heads",
    ),
    "nothing in it": (
        lambda f: edit(f, fusion=None, channel=None, encoder=None, lora=None),
        "needs a fusion or a LoRA",
    ),
    "another width": (
        lambda f: rebase(f, hidden_dim=3584),
        "made for another base, other/base .hidden_dim 3584 instead of 32",
    ),
    "another fact": (lambda f: rebase(f, colour="red"), "made for another base"),
    "escaping path": (
        lambda f: edit(
            f, files={**json.loads((f / "patch.json").read_text())["files"], "../evil": "0" * 64}
        ),
        "must list exactly .* ../evil is wrong",
    ),
    "unlisted file": (lambda f: edit(f, files={}), "must list exactly"),
    "no fusion file": (lambda f: (f / F).unlink(), "fusion.safetensors is missing"),
    "no adapter": (lambda f: shutil.rmtree(f / "lora"), "is missing"),
    "changed byte": (
        lambda f: (f / F).write_bytes((f / F).read_bytes()[:-1] + b"\x01"),
        "does not have the hash",
    ),
    "fusion leads out": (lambda f: linked(f, F), "points outside"),
    "adapter folder leads out": (link_dir, "points outside"),
    "link to itself": (lambda f: ((f / F).unlink(), (f / F).symlink_to(f / F)), "is missing"),
    "pipe": (pipe, "is not a file"),
    "pickle inside": (
        lambda f: rewrite(f, F, b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        "cannot be read as safetensors",
    ),
    "truncated": (
        lambda f: rewrite(f, L, (f / L).read_bytes()[:-9]),
        "cannot be read as safetensors",
    ),
    "empty file": (lambda f: rewrite(f, L, b""), "cannot be read as safetensors"),
    "lost tensor": (lambda f: retensor(f, F, lambda t: t.popitem()), "is missing .1 in all"),
    "lost lora tensor": (lambda f: retensor(f, L, lambda t: t.popitem()), "is missing .1 in all"),
    "extra tensor": (
        lambda f: retensor(f, F, lambda t: t.update(more=torch.ones(1))),
        "more is unexpected",
    ),
    "extra lora tensor": (
        lambda f: retensor(f, L, lambda t: t.update(more=torch.ones(1))),
        "more is unexpected",
    ),
    "empty tensor": (
        lambda f: retensor(f, F, lambda t: t.update({"side_map.bias": torch.zeros(0)})),
        "is empty",
    ),
    "wrong shape": (
        lambda f: retensor(f, F, lambda t: t.update({"side_map.bias": torch.zeros(3)})),
        "has shape .3,., expected",
    ),
    "integers": (
        lambda f: retensor(f, F, lambda t: t.update({"side_map.bias": torch.zeros(16).int()})),
        "not floating-point",
    ),
    "nan": (
        lambda f: retensor(f, F, lambda t: t["side_map.bias"].fill_(float("nan"))),
        "NaN or infinite",
    ),
    "adapter is no JSON": (
        lambda f: rewrite(f, "lora/adapter_config.json", b"{"),
        "cannot be read as JSON",
    ),
    "adapter without its scale": (lambda f: lacking(f, "lora_alpha"), "lacks lora_alpha, so peft"),
    "adapter without its rank": (
        lambda f: lacking(f, "r", "lora_dropout"),
        "lacks r, lora_dropout",
    ),
    "adapter without its targets": (lambda f: lacking(f, "target_modules"), "lacks target_modules"),
    "other peft method": (lambda f: adapter(f, peft_type="IA3"), "does not describe a LoRA"),
    "other rank": (lambda f: adapter(f, r=4), "says r=4 but patch.json needs 2"),
    "tower targets": (lambda f: adapter(f, target_modules=["q_proj"]), "says target_modules="),
    "dora": (lambda f: adapter(f, use_dora=True), "says use_dora=True"),
}


@pytest.mark.parametrize("name", TORTURE)
def test_broken_folders_are_refused_with_one_line(
    name: str, saved: Path, tmp_path: Path, model: PatchedModel
) -> None:
    folder = tmp_path / "patch"
    shutil.copytree(saved, folder)
    damage, message = TORTURE[name]
    damage(folder)
    with pytest.raises(PatchError, match=message) as caught:
        model.load_patch(folder)
    assert "\n" not in str(caught.value)
    assert list(model.patches) == []
    assert not any("lora" in key for key in model.state_dict())


def test_a_patch_of_another_family_is_refused(saved: Path) -> None:
    other = PatchedModel(tiny.base("qwen2_vl"))
    with pytest.raises(PatchError, match="made for another base, tiny-llava_onevision"):
        other.load_patch(saved)


@pytest.mark.parametrize("source", ["nowhere/at/all", "missing-folder", "/no/such/folder", ""])
def test_what_is_no_folder_is_said_to_be_none(
    source: str, model: PatchedModel, tmp_path: Path
) -> None:
    with pytest.raises(PatchError, match="there is no patch folder|is missing"):
        model.load_patch(tmp_path / source)


def test_an_adapter_alone_is_called_one(model: PatchedModel, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PatchError, match="holds only a PEFT adapter"):
        model.load_patch(tmp_path)


def test_a_hub_cache_may_link_to_its_blobs_only(
    saved: Path, tmp_path: Path, model: PatchedModel
) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    for number, name in enumerate(FILES):
        shutil.copy(saved / name, blobs / str(number))
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blobs / str(number), (snapshot / name).parent))
    model.load_patch(snapshot, "cached")
    model.delete_patch("cached")
    shutil.move(blobs / "1", tmp_path / "outside")
    (snapshot / FILES[1]).unlink()
    (snapshot / FILES[1]).symlink_to(tmp_path / "outside")
    with pytest.raises(PatchError, match="points outside"):
        model.load_patch(snapshot, "cached")


def test_hub_ids_download_only_what_a_patch_has(
    saved: Path, model: PatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def download(repo: str, *, allow_patterns: list[str], **options: Any) -> str:
        asked.append((repo, sorted(allow_patterns), options))
        return str(saved)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert model.load_patch("someone/pave-v1.0") == "pave-v1-0"
    model.delete_patch("pave-v1-0")
    of_channels = ["lora-*/adapter_config.json", "lora-*/adapter_model.safetensors"]
    files = sorted([*FILES, *of_channels, "scores.json"])
    assert asked == [("someone/pave-v1.0", files, {"revision": None, "token": None})]


@pytest.mark.parametrize(
    "error", ["LocalEntryNotFoundError", "OfflineModeIsEnabled", "HFValidationError"]
)
def test_an_unreachable_hub_is_one_line(
    error: str, model: PatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    def download(*args: Any, **options: Any) -> str:
        raise getattr(errors, error)("no\nway")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(PatchError, match="'some/patch' is not a local folder") as caught:
        model.load_patch("some/patch")
    assert "\n" not in str(caught.value)


def test_a_patch_that_fails_to_load_leaves_the_base_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its way of feeding the base included, which also goes with the last patch."""
    base = tiny.base()
    native = base.inputs
    base.use(AUTHORS_INPUTS)
    made = PatchedModel(base)
    tiny_patch.add(made)
    made.save_patch(tmp_path / "theirs")
    made.unpatch()
    base.use(native)
    model = PatchedModel(base)
    keys = list(model.state_dict())

    def fill(*arguments: object) -> None:
        raise PatchError("no")

    with monkeypatch.context() as patch:
        patch.setattr(Lora, "parameters", fill)
        with pytest.raises(PatchError):
            model.load_patch(tmp_path / "theirs")
    assert (base.inputs, list(model.patches), list(model.state_dict())) == (native, [], keys)
    model.load_patch(tmp_path / "theirs")
    assert base.inputs == AUTHORS_INPUTS
    model.delete_patch("theirs")
    assert base.inputs == native
    base.use(AUTHORS_INPUTS)  # one's own choice, and no patch's: it stays
    tiny_patch.add(model)
    model.delete_patch("audio")
    assert base.inputs == AUTHORS_INPUTS


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_files_have_the_rights_of_the_umask(tmp_path: Path, mask: int, model: PatchedModel) -> None:
    """Weights too, which safetensors writes for their owner alone."""
    before = os.umask(mask)
    try:
        name = model.new_patch(None, name="rights", lora=LoraSpec(rank=2))
        model.save_patch(tmp_path / "p", name)
        model.delete_patch(name)
        save_weights(tmp_path / "c", {"a": torch.zeros(2)})
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o666 & ~mask}


def test_a_save_that_was_killed_between_its_renames(
    saved: Path, tmp_path: Path, model: PatchedModel
) -> None:
    """Nothing is lost: a line says where the older patch lies, and the next save sweeps it up."""
    folder = tmp_path / "hearing [1]"
    aside = tmp_path / f".{folder.name}.0123abcd.old"
    shutil.copytree(saved, aside)
    said = r"no patch folder at .*hearing \[1\]; saving it was interrupted, .* lies in .*\.old"
    with pytest.raises(PatchError, match=said):
        read_config(folder)
    other = tmp_path / ".hearing.0123abcd.old"
    shutil.copytree(saved, other)
    aside.rename(folder)  # as the line says
    assert read_config(folder).task == "demo"
    shutil.copytree(folder, aside)
    again = PatchedModel(tiny.base())
    again.load_patch(folder, name="hearing")
    again.save_patch(folder, name="hearing")
    assert not aside.exists() and other.exists()
    assert read_config(folder).task == "demo"
