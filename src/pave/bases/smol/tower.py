"""The vision tower of `smol`: ImageNet EfficientNet-Lite0 dressed as a Hugging Face vision model.

LLaVA-OneVision asks its tower for a sequence of grid features, `[frames, g * g, C]`. A
convolutional network has exactly that in its last feature map (stride 32: 192 px give 6 x 6 cells
of 1,280 channels), so registering it with `AutoModel` is all it takes to run the very code path of
the 7B model on a laptop. Each cell is standardised over its channels: ReLU6 features are all
positive, and both the projector and a patch's query map learn faster from centred ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

STRIDE = 32
CHANNELS = 1280


class GridTowerConfig(PretrainedConfig):  # type: ignore[misc]
    """Settings of the tower.

    `image_size` pixels a side, `patch_size` pixels and `hidden_size` channels a cell.
    """

    model_type = "pave_grid_tower"

    def __init__(
        self,
        image_size: int = 192,
        patch_size: int = STRIDE,
        hidden_size: int = CHANNELS,
        **kwargs: Any,
    ) -> None:
        """Keep the three numbers that LLaVA-OneVision reads from a vision config."""
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        super().__init__(**kwargs)


class GridTower(PreTrainedModel):  # type: ignore[misc]
    """EfficientNet-Lite0 without its classifier.

    Pixels `[N, 3, H, W]` -> cells `[N, (H / 32) * (W / 32), 1280]`.
    """

    config_class = GridTowerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: GridTowerConfig) -> None:
        """Build the network; weights come from `from_pretrained` or `load_state_dict`."""
        super().__init__(config)
        from efficientnet_lite_pytorch import EfficientNet

        self.net = EfficientNet.from_name("efficientnet-lite0")
        # A random classifier would be saved, and count as weights of the tower in its digest.
        del self.net._fc  # the ImageNet classifier is never used
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Leave the network's own initialisation alone."""

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Compute the cells, and put them where LLaVA-OneVision looks for features."""
        maps = self.net.extract_features(pixel_values)  # [N, 1280, H / 32, W / 32]
        cells = maps.flatten(2).transpose(1, 2)  # [N, cells, 1280], row by row
        cells = torch.nn.functional.layer_norm(cells, cells.shape[-1:])
        return BaseModelOutputWithPooling(
            last_hidden_state=cells, pooler_output=cells.mean(1), hidden_states=(cells, cells)
        )


def register() -> None:
    """Tell `AutoConfig` and `AutoModel` about the tower (safe to call again)."""
    AutoConfig.register(GridTowerConfig.model_type, GridTowerConfig, exist_ok=True)
    AutoModel.register(GridTowerConfig, GridTower, exist_ok=True)
