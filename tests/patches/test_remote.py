"""Publishing, fetching and finding patches: the Hub's own client against a Hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants, snapshot_download

from helpers import tiny, tiny_patch
from helpers.hub_server import HubServer, use
from pave.errors import PatchError
from pave.model import PatchedModel, check_probe
from pave.patches import read_config
from pave.patches.folder_card import describe_folder
from pave.patches.remote import locate, push_folder, search_patches

REPO = "someone/hearing"
BASE = "llava-hf/some-base"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub on which we are `someone`."""
    with HubServer() as server:
        use(server, tmp_path, monkeypatch, token="someone")
        yield server


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch for a base that is on the Hub."""
    base = tiny.base()
    base.name = BASE
    model = PatchedModel(base)
    tiny_patch.add(model)
    return model.save_patch(tmp_path_factory.mktemp("saved") / "hearing", licence="MIT")


def local(folder: Path) -> dict[str, bytes]:
    """Content of a folder by path."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def be(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as another user, or as nobody."""
    monkeypatch.setenv("HF_TOKEN", name)


def test_a_folder_comes_back_as_it_was_pushed(hub: HubServer, saved: Path) -> None:
    address = push_folder(saved, REPO)
    assert address.startswith(hub.address)
    there = hub.repos[REPO].files()
    card = there.pop("README.md").decode()
    del there[".gitattributes"]
    mine = local(saved)
    del mine["README.md"]
    assert there == mine
    assert f'model.load_patch("{REPO}")' in card
    found = locate(REPO)
    assert {path: (found / path).read_bytes() for path in mine} == mine
    model = PatchedModel(tiny.base())
    assert model.load_patch(REPO) == "hearing"


def test_the_hubs_card_is_read_by_its_client(hub: HubServer, saved: Path) -> None:
    push_folder(saved, REPO)
    card = ModelCard(hub.repos[REPO].files()["README.md"].decode())
    data = card.data.to_dict()
    assert data["library_name"] == "pave"
    assert data["license"] == "mit"
    assert (data["base_model"], data["base_model_relation"]) == (BASE, "adapter")
    assert data["pipeline_tag"] == "video-text-to-text"
    assert {"pave", "adapter", "audio", "lora"} <= set(data["tags"])
    # What it writes again is what it has read.
    assert ModelCard(str(card)).data.to_dict() == data


def test_one_commit_replaces_all_of_an_older_patch(hub: HubServer, saved: Path) -> None:
    push_folder(saved, REPO)
    before = dict(hub.repos[REPO].files())
    before |= {".eval_results/pave-old.yaml": b"[]", ".eval_results/theirs.yaml": b"[]"}
    hub.repos[REPO].commit("main", before)
    commits = len(hub.repos[REPO].commits)
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, None)  # no fusion
    model.push_to_hub(REPO)
    assert len(hub.repos[REPO].commits) == commits + 1
    left = hub.repos[REPO].files()
    assert "fusion.safetensors" not in left
    assert ".eval_results/pave-old.yaml" not in left
    assert ".eval_results/theirs.yaml" in left


def test_a_model_pushes_with_a_probe_and_loads_by_revision(hub: HubServer, saved: Path) -> None:
    push_folder(saved, REPO)
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, seed=5)
    model.push_to_hub(REPO, revision="louder")
    assert model.patches["audio"].folder is None
    other = PatchedModel(tiny.base())
    other.load_patch(REPO, name="old")
    other.load_patch(REPO, name="new", revision="louder")
    assert other.patches["old"].config.probe is None
    assert check_probe(other, "new").verdict == "equal"
    commit = hub.repos[REPO].branches["louder"]
    assert locate(REPO, commit) == locate(REPO, "louder") != locate(REPO)
    with pytest.raises(PatchError, match="it has no revision 'quiet'"):
        other.load_patch(REPO, revision="quiet")
    with pytest.raises(PatchError, match="is not a Hub id; leave it out"):
        locate(saved, "louder")


def test_private_gated_and_missing_repositories_are_a_line_each(
    hub: HubServer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_folder(saved, REPO, private=True)
    assert hub.repos[REPO].private
    hub.add("someone/gated", local(saved), gated=True)
    push_folder(saved, "someone/open")
    with pytest.raises(PatchError, match="exists and is public"):
        push_folder(saved, "someone/open", private=True)
    for who in ("", "else"):
        be(who, monkeypatch)
        with pytest.raises(PatchError, match="it does not exist, or you may not read it"):
            locate(REPO)
        with pytest.raises(PatchError, match="it does not exist, or you may not read it"):
            locate("someone/missing")
        with pytest.raises(PatchError, match="access is gated; accept the conditions"):
            locate("someone/gated")
    assert locate(REPO, token="someone").is_dir()
    be("", monkeypatch)
    with pytest.raises(PatchError, match="does not know who you are; log in"):
        push_folder(saved, "someone/open")
    be("else", monkeypatch)
    with pytest.raises(PatchError, match="your token does not allow this"):
        push_folder(saved, "someone/open")


@pytest.mark.parametrize("what", ["patch.json", "fusion.safetensors", "everything"])
def test_half_an_upload_is_told(what: str, hub: HubServer, saved: Path) -> None:
    files = local(saved)
    if what == "everything":
        files = {"config.json": b"{}"}
    else:
        del files[what]
    hub.add(REPO, files)
    with pytest.raises(PatchError, match="its upload was not finished") as caught:
        locate(REPO)
    assert "\n" not in str(caught.value)
    # Once it is whole, it is fetched.
    hub.repos[REPO].commit("main", local(saved))
    assert read_config(locate(REPO)).channel == "audio"


def test_without_a_connection_the_cache_does_what_it_can(
    hub: HubServer, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_folder(saved, REPO)
    found = locate(REPO)
    push_folder(saved, "someone/part")
    snapshot_download("someone/part", allow_patterns=["README.md"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate(REPO) == found
    with pytest.raises(PatchError, match="HF_HUB_OFFLINE is set and it is not in the local cache"):
        locate("someone/never")
    with pytest.raises(PatchError, match="only part of it is in the local cache"):
        locate("someone/part")
    with pytest.raises(PatchError, match="HF_HUB_OFFLINE is set and this needs the Hub"):
        push_folder(saved, REPO)
    with pytest.raises(PatchError, match="HF_HUB_OFFLINE is set and this needs the Hub"):
        search_patches()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert locate(REPO) == found
    with pytest.raises(PatchError, match="the Hub cannot be reached"):
        locate("someone/never")
    with pytest.raises(PatchError, match="the Hub cannot be reached"):
        push_folder(saved, REPO)


def test_a_push_that_breaks_off_publishes_nothing(hub: HubServer, saved: Path) -> None:
    push_folder(saved, REPO)
    before = dict(hub.repos[REPO].branches)
    hub.breaks.append("/commit/")
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, seed=9)
    with pytest.raises(PatchError, match="the Hub cannot be reached"):
        model.push_to_hub(REPO)
    assert hub.repos[REPO].branches == before
    patch = model.patches["audio"]
    assert (patch.folder, patch.saved, patch.config.files) == (None, None, {})


def test_a_damaged_folder_is_not_pushed(hub: HubServer, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    (folder / "fusion.safetensors").write_bytes(b"no")
    with pytest.raises(PatchError, match="does not have the hash"):
        push_folder(folder, REPO)
    with pytest.raises(PatchError, match="is not a repository name"):
        push_folder(saved, "hearing")
    assert hub.requests == []


def test_an_edited_card_goes_up_as_it_is(
    hub: HubServer, saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(saved, folder)
    (folder / "README.md").write_text("# My own words\n")
    (folder / "notes.txt").write_text("private")
    push_folder(folder, REPO)
    there = hub.repos[REPO].files()
    assert there["README.md"] == b"# My own words\n"
    assert "notes.txt" not in there
    assert "uploaded as it is" in caplog.text


def test_words_about_a_patch_go_into_its_folder(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "described"
    shutil.copytree(saved, folder)
    weights = read_config(folder).files
    data = [{"name": "someone/clips", "licence": "cc-by-nc-4.0"}, {"name": "our own recordings"}]
    describe_folder(folder, {"licence": "My Licence", "datasets": data, "language": ["en"]})
    assert read_config(folder).files == weights
    text = (folder / "README.md").read_text()
    card = ModelCard(text).data.to_dict()
    assert (card["license"], card["license_name"]) == ("other", "My Licence")
    assert (card["datasets"], card["language"]) == (["someone/clips"], ["en"])
    assert "| data: someone/clips | cc-by-nc-4.0 |" in text
    assert "| data: our own recordings | licence not stated |" in text
    # A copy in the Hub client's cache is a commit's, and nobody's to change.
    cache = tmp_path / "cache" / "snapshots" / "a"
    shutil.copytree(saved, cache)
    (tmp_path / "cache" / "blobs").mkdir()
    with pytest.raises(PatchError, match="must not be changed"):
        describe_folder(cache, {"licence": "mit"})


def test_patches_are_found_by_channel_base_and_name(
    hub: HubServer, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_folder(saved, REPO)
    push_folder(saved, "someone/secret", private=True)
    hub.add("someone/model", {"README.md": b"---\ntags: [lora]\n---\n"})
    found = {patch.repo: patch for patch in search_patches()}
    assert set(found) == {REPO, "someone/secret"}
    assert found[REPO].base == BASE
    assert "audio" in found[REPO].tags
    assert [patch.repo for patch in search_patches("hear", channel="audio", base=BASE)] == [REPO]
    assert search_patches(channel="views") == []
    assert search_patches(base="other/base") == []
    be("", monkeypatch)
    assert [patch.repo for patch in search_patches()] == [REPO]


def test_the_fusions_header_names_its_patch(saved: Path) -> None:
    raw = (saved / "fusion.safetensors").read_bytes()
    # As the format is defined: 8 bytes of length, then JSON.
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    facts = json.loads(header["__metadata__"]["pave"])
    config = read_config(saved)
    assert facts == {
        "base": BASE,
        "channel": "audio",
        "lora_sha256": config.files["lora/adapter_model.safetensors"],
    }
