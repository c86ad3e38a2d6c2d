"""How the registered architectures are built, without weights: each function returns a builder for a card."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from common.failures import StudyError

if TYPE_CHECKING:
    import torch

Builder = Callable[[], "torch.nn.Module"]


def timm_network(name: str, **arguments: Any) -> Builder:
    """Build a timm network without its classifier; `swiglu=True` stands for the packed SwiGLU of several ViTs."""

    def build() -> torch.nn.Module:
        import timm
        import torch

        given = dict(arguments)
        if given.pop("swiglu", False):
            given |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
        return timm.create_model(name, pretrained=False, **{"num_classes": 0, **given})

    return build


def torchvision_network(name: str, **arguments: Any) -> Builder:
    """Build a torchvision classification network and take its last layer off; pooling in its head stays."""

    def build() -> torch.nn.Module:
        import torchvision

        given = dict(arguments)
        if name in ("inception_v3", "googlenet"):  # their weights want (x - 0.5) / 0.5, and the network sees to it
            given |= {"transform_input": True, "init_weights": False}
        network = getattr(torchvision.models, name)(weights=None, **given)
        parts = dict(network.named_children())
        for name_of_head in ("fc", "classifier", "head", "heads"):
            if name_of_head in parts:
                network.register_module(name_of_head, _without_last_layer(parts[name_of_head]))
                return network
        raise StudyError(f"torchvision:{name} has no classifier that could be taken off; try timm:{name}")

    return build


def _without_last_layer(head: torch.nn.Module) -> torch.nn.Module:
    """Return a classifier without its last linear layer; one of convolutions is replaced by a mean over positions."""
    import torch

    if isinstance(head, torch.nn.Linear):
        return torch.nn.Identity()
    assert isinstance(head, torch.nn.Sequential), "torchvision's heads are one layer or a sequence"
    last = max((index for index, layer in enumerate(head) if isinstance(layer, torch.nn.Linear)), default=None)
    if last is None:
        return torch.nn.AdaptiveAvgPool2d(1)
    head[last] = torch.nn.Identity()
    return head


def kimianet() -> torch.nn.Module:
    """Build KimiaNet: DenseNet-121's features, pooled without the last ReLU (its authors' feature extraction)."""
    import torch
    import torchvision

    class KimiaNet(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = torchvision.models.densenet121(weights=None).features

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.features(pixels).mean(dim=(2, 3))

    return KimiaNet()


def resnet50_layer3() -> torch.nn.Module:
    """Build ResNet-50 up to its third stage, the 1,024 features of CLAM (pooled by the card)."""
    import timm

    class Layer3(timm.models.resnet.ResNet):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            hidden = self.maxpool(self.act1(self.bn1(self.conv1(pixels))))
            return self.layer3(self.layer2(self.layer1(hidden)))

    network = Layer3(block=timm.models.resnet.Bottleneck, layers=(3, 4, 6, 3), num_classes=0)
    del network.layer4
    return network


def ctranspath() -> torch.nn.Module:
    """Build CTransPath: Swin-T behind a convolutional stem (Wang et al. 2022, Med Image Anal 81:102559)."""
    import timm
    import torch
    from timm.layers import to_2tuple

    class ConvStem(torch.nn.Module):
        """Two strided 3 x 3 convolutions and a projection in place of 4 x 4 patches."""

        def __init__(
            self, img_size: int | tuple[int, int] = 224, patch_size: int = 4, in_chans: int = 3, embed_dim: int = 96,
            norm_layer: Any = None, **_unused: Any,
        ) -> None:  # fmt: skip
            super().__init__()
            self.img_size, self.patch_size = to_2tuple(img_size), to_2tuple(patch_size)
            self.grid_size = (self.img_size[0] // self.patch_size[0], self.img_size[1] // self.patch_size[1])
            self.num_patches = self.grid_size[0] * self.grid_size[1]
            layers: list[torch.nn.Module] = []
            width_in, width = in_chans, embed_dim // 8
            for _ in range(2):
                layers += [
                    torch.nn.Conv2d(width_in, width, 3, stride=2, padding=1, bias=False),
                    torch.nn.BatchNorm2d(width),
                    torch.nn.ReLU(inplace=True),
                ]
                width_in, width = width, width * 2
            self.proj = torch.nn.Sequential(*layers, torch.nn.Conv2d(width_in, embed_dim, 1))
            self.norm = norm_layer(embed_dim) if norm_layer else torch.nn.Identity()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.norm(self.proj(pixels).permute(0, 2, 3, 1))

    return timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, embed_layer=ConvStem, num_classes=0)


def remote_network(repository: str, *, package: str = "transformers") -> Builder:
    """Say what must be done for a network whose code is published only with its weights."""

    def build() -> torch.nn.Module:
        raise StudyError(
            f"the code of {repository} comes with its weights and is not part of this program: install {package}, write a "
            f"function that builds it and returns a features.encoder.card.EncoderCard, and give --encoder module:function"
        )

    return build


def conch() -> torch.nn.Module:
    """Build the image tower of CONCH (package conch of its authors)."""
    package = _needed("conch.open_clip_custom", "git+https://github.com/mahmoodlab/CONCH")
    import torch

    # its create_model wants the weights at once; they are loaded here as any encoder's
    sizes = json.loads((package.factory.CFG_DIR / "conch_ViT-B-16.json").read_text(encoding="utf-8"))
    sizes.pop("custom_text", None)

    class ImageTower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = package.CoCa(**sizes)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.model.encode_image(pixels, proj_contrast=False, normalize=False)

    return ImageTower()


def _needed(module: str, package: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(f"this encoder needs a package that is not installed: pip install {package}") from error
