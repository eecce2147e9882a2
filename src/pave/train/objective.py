"""The training objective: negative log-likelihood of the answer tokens.

Logits are computed at the answers' positions only.

A language model head over 150,000 words costs more memory than everything else in a step if it runs
at every position of a long visual prefix; answers are a few tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.bases.head import head_at
from pave.fusion.gate import QuestionGate
from pave.model import PatchedModel
from pave.patches.gates import gated_parts
from pave.patches.lora import Loras
from pave.train.batch import UNCOUNTED, TrainBatch
from pave.train.loudness import Loudness


class AnswerModel(nn.Module):
    """What the Trainer trains: a patched model that returns its loss on cached tokens.

    It holds base, LoRA and fusion, so that one wrapper (DDP) sees every trainable parameter.

    Args:
        patched: The model with the patch to train.
        margin: By how much a right answer is to lead where a batch brings a wrong one, too.

    Attributes:
        ratio: |residual| / |visual tokens| of the last step's clips that have the channel; 0 if
            none has. It starts at 0 and says how loud the patch that trains has become; frozen
            patches below it do not count.
        tokens: Tokens of the batches, padding included, since somebody set it to 0.
    """

    # Tells the Trainer to hand over the number of answer tokens of the whole optimiser step.
    accepts_loss_kwargs = True

    def __init__(self, patched: PatchedModel, margin: float = 1.0) -> None:
        """Listen to what the fusion functions of the patch give."""
        super().__init__()
        self.patched = patched
        self.margin = margin
        # By it the Trainer leaves a base on several devices where it is.
        if hasattr(patched.model, "hf_device_map"):
            self.hf_device_map = patched.model.hf_device_map
        self.ratio = torch.zeros(())
        self.tokens = 0
        self._patches = [patch for patch in patched.patches.values() if patch.trainable]
        # A frozen base patch is as loud as it is.
        self._loudness = Loudness(self._patches)

    def forward(
        self, batch: TrainBatch, num_items_in_batch: Tensor | int | None = None
    ) -> dict[str, Tensor]:
        """The loss of one batch.

        Args:
            batch: What to predict.
            num_items_in_batch: Answer tokens of the whole optimiser step, over all processes; this
                batch's own when None.
        """
        ids = batch.inputs["input_ids"]  # [B, L]
        self.tokens += ids.numel()
        device = batch.targets.device
        batch = batch.moved(device)
        self._loudness.begin(device)
        logits = self.logits(batch)  # [N, vocabulary]
        self.ratio = self._loudness.ratio(batch.visuals, batch.channels)
        count = num_items_in_batch
        if count is None:
            count = batch.labels.ne(UNCOUNTED).sum()
        # A sum over this pass divided by the tokens of the step: accumulation and several processes
        # then weigh every answer token alike.
        loss = self._total(logits, batch) / count
        return {"loss": self._tied(loss)}

    def _total(self, logits: Tensor, batch: TrainBatch) -> Tensor:
        """The loss of all tokens, added up."""
        logits = logits.float()
        if batch.pairs is None and batch.gate is None:
            # Nothing weighs tokens apart.
            return F.cross_entropy(logits, batch.targets, reduction="sum")
        losses = F.cross_entropy(logits, batch.targets, reduction="none")  # [N]
        if batch.pairs is not None:
            losses = answer_losses(losses, batch.pairs, self.margin)
        # After the pairs: a question's hinge is taken in each row by itself.
        if batch.gate is None:
            return losses.sum()
        return batch.gate.expected(losses, self._gates())

    def _gates(self) -> dict[str, QuestionGate]:
        """The question gates that train, by the names of what they mute."""
        trained = {patch.name: patch for patch in self._patches}
        gates = {}
        for part in gated_parts(trained):
            assert part.gate is not None
            gates[part.key] = part.gate
        return gates

    def logits(self, batch: TrainBatch) -> Tensor:
        """Logits `[N, vocabulary]` at the kept positions, row by row."""
        with head_at(self.patched.base.model, batch.keep):
            output = self.patched(
                **batch.inputs,
                visuals=batch.visuals,
                channels=batch.channels,
                times=batch.times,
                use_cache=False,
            )
            return torch.as_tensor(output.logits)

    def _tied(self, loss: Tensor) -> Tensor:
        """The loss plus a zero that holds the LoRAs of channels that this batch lacks.

        Distributed training waits for a gradient of every trainable parameter.
        """
        idle = self._idle()
        if not idle:
            return loss
        sums = [parameter.sum() for parameter in idle]
        total = torch.stack(sums).sum()
        nothing = total * 0
        return loss + nothing

    def _idle(self) -> list[Tensor]:
        """Parameters of LoRAs that work for no clip of the batch."""
        found: list[Tensor] = []
        for patch in self._patches:
            if not isinstance(patch.lora, Loras):
                continue
            for lora in patch.lora.by_channel.values():
                if lora.name not in self.patched.loras.active:
                    found += lora.parameters().values()
        return found


def answer_losses(losses: Tensor, pairs: Tensor, margin: float) -> Tensor:
    """The losses of tokens, where some answers are to win against a wrong one.

    Ordinary tokens keep their own loss. Every token of a right answer gets that of its question,
    `max(0, margin - (s(right) - s(wrong)))`, s being the mean log-probability of an answer's
    tokens, and those of wrong answers get none. So a question weighs as much as it would with its
    right answer alone.

    Args:
        losses: `[N]` negative log-probability of each token.
        pairs: `[N]` 0 for an ordinary token; n and -n for the right and the wrong answer of the
            n-th question, counted from 1.
        margin: Of the hinge.

    Example:
        >>> losses = torch.tensor([2.0, 0.5, 1.5, 1.0])
        >>> answer_losses(losses, torch.tensor([0, 1, 1, -1]), margin=1.0)  # 1 - (-1 + 1)
        tensor([2., 1., 1., 0.])
    """
    count = int(pairs.abs().max())
    questions = torch.arange(1, count + 1, device=pairs.device)  # [K]
    right = pairs == questions[:, None]  # [K, N]
    wrong = pairs == -questions[:, None]
    # Sums over rows, whose order never changes, as that of scattered additions may on a GPU.
    of_right = _means(losses, right)  # [K], -s(right)
    of_wrong = _means(losses, wrong)  # [K], -s(wrong)
    lead = of_wrong - of_right
    hinge = F.relu(margin - lead)  # [K]
    of_questions = right * hinge[:, None]  # [K, N]
    of_pairs = of_questions.sum(0)  # [N]
    return torch.where(pairs == 0, losses, of_pairs)


def _means(losses: Tensor, chosen: Tensor) -> Tensor:
    """The mean loss `[K]` over the tokens `[K, N]` that are chosen."""
    own = losses * chosen  # [K, N]
    sums = own.sum(1)  # [K]
    counts = chosen.sum(1)  # [K]
    return sums / counts
