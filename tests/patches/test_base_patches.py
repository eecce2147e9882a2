"""Several patches at once: residuals add to the bit, and whose LoRA works where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer

from helpers import tiny, tiny_patch
from helpers.tiny_patch import Case, tokens
from pave.answer import questions_about
from pave.bases import Visual
from pave.data import ClipFeatures
from pave.errors import ConfigError, PatchError
from pave.model import PatchedModel
from pave.model.routes import routes_of
from pave.patches import LoraSpec, read_config


@pytest.fixture
def two() -> Case:
    """Two awake patches on different channels; the second clip has only the first channel."""
    made = tiny_patch.case()
    tiny_patch.add(made.model, "features", name="dense", seed=1)
    tiny_patch.add(made.model, "audio", name="sound", seed=2)
    made.side = [{"features": tokens(4), "audio": tokens(2, cells=3)}, {"features": tokens(3)}]
    return made


def residual(case: Case, name: str, clip: int) -> torch.Tensor:
    """What one patch says about one clip, computed by its fusion alone."""
    channel = str(case.model.patches[name].config.channel)
    visual, side = case.visuals()[clip], case.side[clip][channel]
    assert visual.query is not None
    query = visual.query.float()
    with torch.no_grad():
        return case.model.patches[name].fusion(
            [query], [side.values], [case.times[clip]], [side.times]
        )[0]


def add(visual: Visual, total: torch.Tensor) -> torch.Tensor:
    """The clip's tokens with a residual on its grid."""
    tokens = visual.tokens.clone()
    layout = visual.layout
    assert layout.cls == 0
    rows = tokens[layout.lead : len(tokens) - layout.trail or None]
    rows += total.to(tokens.dtype).flatten(0, 1)
    return tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 0), (0, 1), (0, 0), (0.5, 2.0), (-1, 1)])
def test_residuals_add_to_the_bit(two: Case, a: float, b: float, dtype: torch.dtype) -> None:
    """Tokens are z + a g1 + b g2, summed in float32, rounded once; weight 0 is not there at all."""
    two.base.model.to(dtype)
    two.model.set_patches({"dense": a, "sound": b})
    visuals = two.visuals()
    with torch.no_grad():
        fused = two.model.seam.fuse(visuals, two.side, two.times)
    if a == b == 0:
        assert all(one is other for one, other in zip(fused, visuals, strict=True))
        return
    g1, g2 = residual(two, "dense", 0), residual(two, "sound", 0)
    assert g1.dtype == g2.dtype == torch.float32 and g1.any() and g2.any()
    total = {(1, 1): g1 + g2, (1, 0): g1, (0, 1): g2}.get((a, b), a * g1 + b * g2)
    # A ragged batch and a clip by itself go through products of other sizes; here the first clip is
    # alone where sound is heard.
    with torch.no_grad():
        alone = two.model.seam.fuse(visuals[:1], two.side[:1], two.times[:1])
    assert torch.equal(alone[0].tokens, add(visuals[0], total))
    only = {"dense": a}.get("dense", 0)
    if only == 0:
        assert fused[1] is visuals[1]


def on_top(continued: bool) -> Case:
    """An awake sound patch on top of a dense one; a clip with both channels, one without sound."""
    case = tiny_patch.case()
    tiny_patch.add(case.model, "features", name="dense", seed=1)
    lora = None if continued else LoraSpec(rank=2, alpha=4)
    options = {
        "base_patches": ["dense"],
        "continue_lora": "dense" if continued else None,
        "lora": lora,
    }
    tiny_patch.add(case.model, "audio", name="sound", seed=2, awake=False, **options)
    case.side = [{"features": tokens(4), "audio": tokens(2)}, {"features": tokens(3)}]
    return case


@pytest.mark.parametrize("continued", [False, True])
def test_a_fresh_patch_on_top_changes_nothing(continued: bool) -> None:
    case = on_top(continued)
    assert {key.split(".")[0] for key in case.model.trainable_parameters()} == {"sound"}
    fresh = case.run()
    case.model.set_patches({"dense": 1.0})
    assert torch.equal(case.run(), fresh)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("continued", [False, True])
def test_without_its_channel_the_patch_below_is_exactly_what_it_was(
    continued: bool, cached: bool
) -> None:
    case = on_top(continued)
    tiny_patch.wake(case.model, "sound", seed=5)

    def run() -> torch.Tensor:
        if not cached:
            return case.run()
        with torch.no_grad():
            logits: torch.Tensor = case.model(
                case.side, case.times, case.visuals(), **case.light()
            ).logits
        return logits

    both = run()
    case.model.set_patches({"dense": 1.0})
    alone = run()
    assert torch.equal(both[1], alone[1]) and not torch.equal(both[0], alone[0])
    case.model.set_patches({"dense": 1.0, "sound": 1.0})
    case.side = [{"features": side["features"]} for side in case.side]
    assert torch.equal(run(), alone)
    case.model.set_patches({})
    assert torch.equal(case.run(), case.logits)


def test_a_continued_lora_works_instead_of_the_one_it_came_from() -> None:
    """With equal weights and no residual, on top of it is the same as it: not twice as much."""
    case = on_top(continued=True)
    fresh = case.run()
    with torch.no_grad():
        for parameter in case.model.patches["sound"].lora.parameters().values():
            parameter.zero_()
    without = case.run()
    assert torch.equal(fresh[1], without[1]) and not torch.equal(fresh[0], without[0])
    case.model.train()
    case.model.eval()
    active = next(m for m in case.model.modules() if isinstance(m, LoraLayer))
    assert list(active.active_adapters) == [
        "sound"
    ]  # also while training, when no rows are told apart
    case.model.set_patches({"dense": 1.0})
    assert list(active.active_adapters) == ["dense"]


@pytest.mark.parametrize(
    ("side", "rows", "expected"),
    [
        ([{"f": 1, "s": 1}] * 2, [0, 1], (["top"], {})),
        (
            [{"f": 1, "s": 1}, {"f": 1}],
            [0, 1],
            (["low", "top"], {"low": [False, True], "top": [True, False]}),
        ),
        ([{"f": 1}] * 2, [0, 1], (["low"], {})),
        ([{"s": 1}, {}], [0, 1], (["top"], {"top": [True, False]})),
        ([{"f": 1, "s": 1}, {}], [0, 1], (["top"], {"top": [True, False]})),
        ([{"f": 1, "s": 1}] * 2, None, (["top"], {})),
    ],
)
def test_where_each_lora_works(
    side: list[dict[str, int]], rows: list[int] | None, expected: object
) -> None:
    clips = [{name: tokens() for name in clip} for clip in side]
    patches = {"low": tiny_patch.lora_of("low", "f"), "top": tiny_patch.lora_of("top", "s")}
    routes = routes_of(patches, clips, rows, 2, {"low": ["top"]})
    assert (routes.on, routes.masks) == expected


def test_saving_and_loading_a_stack(tmp_path: Path) -> None:
    case = on_top(continued=True)
    tiny_patch.wake(case.model, "sound", seed=5)
    wanted = case.run()
    with pytest.raises(PatchError, match="'dense', which has not been saved; save that one first"):
        case.model.save_patch(tmp_path / "sound", "sound")
    case.model.save_patch(tmp_path / "dense", "dense")
    case.model.save_patch(tmp_path / "sound", "sound")
    case.model.unpatch()

    again = PatchedModel(case.base)
    tiny_patch.add(again, "features", name="stranger", seed=9)
    again.save_patch(tmp_path / "stranger", "stranger")
    with pytest.raises(
        PatchError, match="on top of the patch 'dense'"
    ):  # a patch of that channel, but not that patch
        again.load_patch(tmp_path / "sound")
    again.delete_patch("stranger")
    again.load_patch(tmp_path / "dense", name="low")
    again.load_patch(tmp_path / "sound", name="high")
    case.model = again
    assert torch.equal(case.run(), wanted)
    assert again.info()["patches"]["high"]["base_patches"] == ["low"]


def test_what_is_no_base_patch_is_told() -> None:
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, "features", name="dense", lora=None)
    for options, error, message in (
        ({"base_patches": ["nobody"]}, PatchError, "no patch 'nobody' to train on top of"),
        (
            {"base_patches": ["dense"], "continue_lora": "dense", "lora": None},
            PatchError,
            "has no LoRA to continue",
        ),
        ({"continue_lora": "dense", "lora": None}, PatchError, "name it in base_patches"),
        ({"base_patches": ["dense", "dense"]}, ConfigError, "only once in base_patches"),
    ):
        with pytest.raises(error, match=message):
            tiny_patch.add(model, "audio", **options)
    tiny_patch.add(model, None, name="lora")
    with pytest.raises(ConfigError, match="leave `lora` out"):
        tiny_patch.add(
            model, "audio", base_patches=["lora"], continue_lora="lora", lora=LoraSpec(rank=7)
        )
    assert set(model.patches) == {"dense", "lora"}


def test_the_question_is_put_as_the_topmost_patch_learnt_it() -> None:
    model = on_top(continued=False).model
    patches = model.patches
    for name, prompt in (("dense", "Look. {question}"), ("sound", "Listen. {question}")):
        patches[name].config = patches[name].config.model_copy(update={"prompt": prompt})
    clip = model.base.clip(tiny.frames(2))
    visual = model.base.visual([clip])[0]

    def put(*channels: str) -> str:
        """The question about a clip that has these channels."""
        side = {channel: tokens(2) for channel in channels}
        features = ClipFeatures(clip, visual, side)
        asked = questions_about(model, features, [[("Who?", None)]]).asked[0]
        text = str(model.base.tokenizer.decode(asked)).partition("<|im_end|>")[0]
        return text.strip()  # the format's line break before a question is tokenised with it

    assert put("features", "audio") == "Listen. Who?"
    assert put("features") == "Look. Who?"
    assert put() == "Who?"
    model.set_patches({"dense": 1.0})
    assert put("features", "audio") == "Look. Who?"


def test_a_base_patch_that_changed_since_it_was_saved_is_not_the_one_trained_on(
    tmp_path: Path,
) -> None:
    case = on_top(continued=False)
    case.model.save_patch(tmp_path / "dense", "dense")
    case.model.set_trainable("dense", True)
    tiny_patch.wake(case.model, "dense", seed=8)
    with pytest.raises(
        PatchError, match="'dense', which has changed since it was saved; save that one again first"
    ):
        case.model.save_patch(tmp_path / "sound", "sound")
    assert not (tmp_path / "sound").exists()
    case.model.save_patch(tmp_path / "dense", "dense")
    case.model.save_patch(tmp_path / "sound", "sound")
    wanted = case.run()
    case.model.unpatch()
    case.model = PatchedModel(case.base)
    for name in ("dense", "sound"):
        case.model.load_patch(tmp_path / name)
    assert torch.equal(case.run(), wanted)


def test_the_old_name_of_base_patches_still_loads(tmp_path: Path) -> None:
    """Older files say `stands_on`; without any the file says nothing, as theirs did."""
    case = on_top(continued=True)
    tiny_patch.wake(case.model, "sound", seed=5)
    for name in ("dense", "sound"):
        case.model.save_patch(tmp_path / name, name)
    wanted = case.run()
    plain = json.loads((tmp_path / "dense" / "patch.json").read_text())
    assert "base_patches" not in plain and plain["schema_version"] == 1
    manifest = tmp_path / "sound" / "patch.json"
    fields = json.loads(manifest.read_text())
    assert [base_patch["name"] for base_patch in fields["base_patches"]] == ["dense"]
    fields["stands_on"] = fields.pop("base_patches")
    manifest.write_text(json.dumps(fields))
    case.model.unpatch()
    case.model = PatchedModel(case.base)
    for name in ("dense", "sound"):
        case.model.load_patch(tmp_path / name)
    assert torch.equal(case.run(), wanted)
    fields["base_patches"] = fields["stands_on"]
    manifest.write_text(json.dumps(fields))
    with pytest.raises(PatchError, match="stands_on is the old name of base_patches"):
        read_config(tmp_path / "sound")
