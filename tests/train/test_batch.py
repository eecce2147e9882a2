"""What a training step gets: which of its labels count, and when its clips are moved."""

from __future__ import annotations

import torch
from accelerate.utils import send_to_device

from helpers import tiny_patch
from pave.bases.visual import Layout, Visual
from pave.train.batch import UNCOUNTED, TrainBatch
from pave.train.gated import CLOSED, OPEN, GateTerms


def _batch() -> TrainBatch:
    """Four tokens: plain, of a right answer, of a wrong one, and of a second row."""
    sides = torch.tensor([[OPEN, OPEN, OPEN, CLOSED], [CLOSED, 0, 0, CLOSED]])
    gate = GateTerms(
        names=["one", "other"],
        questions=torch.zeros(1, 2),
        owners=torch.zeros(4, dtype=torch.long),
        sides=sides,
        tested=torch.tensor([[True] * 4, [False] * 4]),
        alone=torch.zeros(4, dtype=torch.bool),
    )
    return TrainBatch(
        inputs={"input_ids": torch.zeros(1, 5, dtype=torch.long)},
        keep=torch.ones(1, 5, dtype=torch.bool),
        targets=torch.tensor([5, 6, 7, 8]),
        visuals=[Visual(torch.zeros(4, 3), Layout(1, 2, 2), torch.zeros(1, 4, 2))],
        channels=[{"sound": tiny_patch.tokens()}],
        times=[torch.zeros(1)],
        pairs=torch.tensor([0, 1, -1, 0]),
        gate=gate,
    )


def test_wrong_answers_and_second_rows_do_not_count() -> None:
    """A gate that is closed in both rows, as the second one in the first token, changes nothing."""
    assert _batch().labels.tolist() == [5, 6, UNCOUNTED, UNCOUNTED]


def test_accelerate_leaves_a_batch_where_it_is() -> None:
    """It moves what it is handed, many batches ahead; a clip is moved in its own step."""
    batch = _batch()
    inputs = {"batch": batch, "labels": batch.labels}
    sent = send_to_device(inputs, torch.device("meta"))
    assert sent["batch"] is batch
    assert sent["labels"].is_meta
    moved = batch.moved(torch.device("cpu"))
    assert torch.equal(moved.visuals[0].tokens, batch.visuals[0].tokens)
    assert torch.equal(moved.channels[0]["sound"].values, batch.channels[0]["sound"].values)
