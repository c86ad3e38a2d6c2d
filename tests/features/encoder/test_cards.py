"""Every registered encoder: its architecture gives vectors of its card's width; licences, gates and own encoders."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from common.failures import StudyError
from features.device.binding import bind
from features.device.network import pooled
from features.device.tile_pixels import field_of_encoder
from features.embedding.embedders import scale_note
from features.embedding.extraction_settings import ExtractionConfig
from features.encoder import weights as encoder_weights
from features.encoder.card import EncoderCard, folder_name
from features.encoder.cards import CARDS
from features.encoder.library_cards import timm_card
from features.encoder.registry import build_encoder, find_card
from features.encoders import main as list_encoders

pytestmark = pytest.mark.slow  # seconds a test: networks, processes

ELSEWHERE = ("conch", "conch_v1_5", "musk", "genbio_pathfm")  # built by their authors' code, which no package index has


@pytest.mark.parametrize("name", [name for name in CARDS if name not in ELSEWHERE])
def test_every_architecture_is_as_wide_and_as_large_as_its_card_says(name):
    card = CARDS[name]
    with torch.device("meta"), torch.inference_mode():  # no memory, no arithmetic: giants cost nothing
        network = card.build().eval()
        side = card.input_px or 64
        output = pooled(network(torch.zeros(1, 3, side, side)), card)
    assert output.shape == (1, card.dimension)
    n_parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    assert n_parameters == pytest.approx(card.parameters_m, abs=0.06)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_encoder_of_its_authors_code_says_what_to_install(name):
    card = CARDS[name]
    with pytest.raises(StudyError, match=f"(?i)install .*{card.package}"):
        card.build()


TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 28, "patch_size": 14}
OURS = {"img_size": 28, "patch_size": 14, "embed_dim": 48, "depth": 2, "num_heads": 3}
KINDS = {
    "phikon": ("ViT", {"intermediate_size": 192}),
    "phikon_v2": ("Dinov2", {}),
    "midnight": ("Dinov2", {"use_swiglu_ffn": True}),
    "hibou_b": ("Dinov2WithRegisters", {"use_swiglu_ffn": True, "num_register_tokens": 4}),
    "hibou_l": ("Dinov2WithRegisters", {"use_swiglu_ffn": True, "num_register_tokens": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", KINDS)
def test_weights_in_transformers_form_give_its_own_embeddings(name, prefix, tmp_path, monkeypatch):
    """The card's network made small, with weights that transformers itself saved as the hub has them."""
    import timm
    import transformers

    kind, sizes = KINDS[name]
    torch.manual_seed(0)
    theirs = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**TINY, **sizes)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # tokens and biases begin at zero, where names could be mixed up unseen
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(tmp_path)
    state = {f"{prefix}{own}": value for own, value in load_file(tmp_path / "model.safetensors").items()}
    torch.save(state, tmp_path / "weights.bin")

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda own, **given: create(own, **(given | OURS)))
    width = 48 * (2 if CARDS[name].pooling == "cls+mean" else 1)
    card = dataclasses.replace(CARDS[name], input_px=28, dimension=width)
    encoder = build_encoder(card, tmp_path / "weights.bin")
    tiles = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 3), dtype=np.uint8)
    (part,) = bind(encoder, device="cpu", batch=3, tile_px=28, threads=1).submit(tiles)

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    with torch.inference_mode():
        hidden = theirs(pixel_values=(torch.from_numpy(tiles).permute(0, 3, 1, 2) / 255 - mean) / std).last_hidden_state
    parts = [hidden[:, 0], hidden[:, 1:].mean(dim=1)] if card.pooling == "cls+mean" else [hidden[:, 0]]
    assert part.result() == pytest.approx(torch.cat(parts, dim=1).numpy(), abs=2e-4)


def test_licences_that_say_non_commercial_are_not_offered_for_commerce():
    named = [
        card for card in CARDS.values() if "noncommercial" in card.licence.lower().replace("-", "").replace(" ", "")
    ]
    assert {"kaiko_b8", "phikon", "lunit_dino_s8"} <= {card.name for card in named}
    assert not any(card.is_commercial for card in named)


def test_cards_are_whole():
    for name, card in CARDS.items():
        assert name == card.name == folder_name(name)
        assert card.licence
        assert card.source
        if card.licence.startswith("CC-BY-NC") or "non-commercial" in card.licence:
            assert not card.is_commercial, name
        if card.pooling == "cls+mean":
            assert card.dimension % 2 == 0
    wanted = {
        "kimianet", "densenet121_kather", "resnet50_lunit_swav", "ctranspath", "uni", "uni2_h", "conch", "virchow",
        "virchow2", "h_optimus_0", "h_optimus_1", "h0_mini", "gigapath", "phikon_v2", "midnight", "hibou_l", "kaiko_b8",
    }  # fmt: skip
    assert wanted <= CARDS.keys()


def test_class_token_and_mean_leave_registers_out():
    tokens = torch.arange(2 * 8 * 3, dtype=torch.float32).reshape(2, 8, 3)
    card = dataclasses.replace(CARDS["virchow2"], dimension=6)
    expected = torch.stack([torch.cat([one[0], one[5:].mean(0)]) for one in tokens])
    assert torch.equal(pooled(tokens, card), expected)
    assert torch.equal(pooled(tokens, dataclasses.replace(card, pooling="cls")), tokens[:, 0])


def test_an_encoders_transform_is_pillows():
    rng = np.random.default_rng(0)
    tiles = np.kron(rng.integers(0, 255, (2, 32, 32, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    card = CARDS["gigapath"]
    larger = np.stack(
        [np.asarray(Image.fromarray(tile).resize((300, 300), Image.Resampling.BICUBIC)) for tile in tiles]
    )
    found = field_of_encoder(larger, card)
    expected = np.stack(
        [
            np.asarray(Image.fromarray(tile).resize((256, 256), Image.Resampling.BICUBIC))[16:240, 16:240]
            for tile in larger
        ]
    )
    assert found.shape == (2, 224, 224, 3)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert field_of_encoder(tiles, CARDS["resnet50"]) is tiles


@pytest.mark.slow
def test_weights_of_a_file_load_under_wrappers_names(tmp_path):
    card = CARDS["lunit_dino_s16"]
    torch.manual_seed(0)
    network = card.build()
    for prefix in ("module.", "backbone.", ""):
        state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state | {"head.weight": torch.zeros(2, 384)}}, tmp_path / "w.pth")
        loaded = build_encoder(card, tmp_path / "w.pth")
        assert torch.equal(loaded.network.state_dict()["norm.weight"], network.state_dict()["norm.weight"])
        assert loaded.weights_sha256 == encoder_weights.weights_sha256(network)


def test_swin_weights_of_an_earlier_timm_load(tmp_path):
    card = CARDS["ctranspath"]
    network = card.build()
    earlier = {}
    for name, value in network.state_dict().items():
        parts = name.split(".")
        if parts[:1] == ["layers"] and parts[2] == "downsample":
            parts[1] = str(int(parts[1]) - 1)
        earlier[".".join(parts)] = value
    earlier["layers.0.blocks.1.attn_mask"] = torch.zeros(1)
    torch.save({"model": earlier}, tmp_path / "ctranspath.pth")
    loaded = build_encoder(card, tmp_path / "ctranspath.pth")
    assert all(torch.equal(value, loaded.network.state_dict()[name]) for name, value in network.state_dict().items())


def test_a_gate_and_a_missing_network_say_what_to_do(monkeypatch):
    def refuse(_name):
        raise OSError("401 Client Error: gated repo")

    monkeypatch.setitem(encoder_weights._SOURCES, "hub", refuse)
    card = dataclasses.replace(CARDS["uni"], build=torch.nn.Identity)
    with pytest.raises(
        StudyError, match=r"(?s)accept its terms at https://huggingface.co/MahmoodLab/UNI.*HF_TOKEN.*--weights"
    ):
        build_encoder(card)
    monkeypatch.setenv("HF_TOKEN", "x")
    monkeypatch.setitem(encoder_weights._SOURCES, "hub", lambda _name: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(StudyError, match=r"(?s)no route.*run where there is a network.*--weights FILE"):
        build_encoder(card)
    with pytest.raises(StudyError, match=r"(?s)kimianet.*--weights FILE"):
        build_encoder(CARDS["kimianet"])


def test_any_timm_network_has_a_card():
    card = timm_card("resnet18.tv_in1k")
    assert (card.name, card.dimension, card.input_px) == ("timm_resnet18.tv_in1k", 512, None)
    assert card.weights == "timm:resnet18.tv_in1k"
    assert find_card("timm:vit_small_patch16_224").input_px == 224
    with pytest.raises(StudyError, match=r"timm has no network 'resnet1800'"):
        timm_card("resnet1800")


def test_a_torchvision_network_has_a_card():
    card = find_card("torchvision:resnet18")
    assert (card.name, card.dimension, card.mean) == ("torchvision_resnet18", 512, (0.485, 0.456, 0.406))
    with pytest.raises(StudyError, match="torchvision has no network 'none'"):
        find_card("torchvision:none")


def own_encoder():
    """An encoder of a user: the mean colour of a tile."""
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return EncoderCard(
        name="mean_colour", source="here", dimension=3, licence="mine", build=lambda: network, weights="own",
        mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    )  # fmt: skip


def test_an_own_encoder_is_a_function_of_a_module(monkeypatch):
    encoder = build_encoder(find_card("tests.features.encoder.test_cards:own_encoder"))
    assert encoder.card.name == "mean_colour"
    runtime = bind(encoder, device="cpu", batch=2, tile_px=16, threads=1)
    tiles = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    (part,) = runtime.submit(tiles)
    assert part.result() == pytest.approx(tiles.mean(axis=(1, 2)) / 255, abs=1e-5)
    with pytest.raises(StudyError, match=r"cannot be loaded \(ModuleNotFoundError"):
        find_card("no_such_module:function")
    with pytest.raises(StudyError, match="returned str, wanted"):
        find_card("platform:node")

    class Point:
        def load(self):
            return own_encoder

    monkeypatch.setattr("features.encoder.registry._entry_points", lambda: {"mine": Point()})
    assert find_card("mine").name == "mean_colour"
    with pytest.raises(StudyError, match=r"no encoder 'unknown'; there are efficientnet_lite0.* mine"):
        find_card("unknown")


def test_the_list_names_licences_and_gates(tmp_path, capsys):
    (tmp_path / "features" / "uni").mkdir(parents=True)
    assert list_encoders(["--study", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "* uni " in text
    assert "CC-BY-NC-ND-4.0 (not commercial)" in text
    assert list_encoders(["--commercial", "true"]) == 0
    text = capsys.readouterr().out
    assert "virchow " in text
    assert "uni " not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"encoder": "a,a"}, "--encoder is a name, or different names"),
        ({"encoder": "a,"}, "--encoder is a name"),
        ({"encoder": "a,b", "weights": Path(__file__)}, "--weights goes with one encoder"),
        ({"scales": "256,x"}, "--scales are different sides"),
        ({"scales": "256,256"}, "--scales are different sides"),
        ({"precision": "half"}, "--precision is one of auto"),
    ],
)
def test_wrong_settings_are_named(flags, message):
    with pytest.raises(ValueError, match=message):
        ExtractionConfig(**flags)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}), ("densenet121", {}), ("mobilenet_v3_small", {}), ("convnext_tiny", {}), ("swin_t", {}),
        ("maxvit_t", {}), ("vit_b_32", {}), ("googlenet", {"transform_input": True, "init_weights": False}),
    ],
)  # fmt: skip
def test_a_torchvision_network_gives_what_its_last_layer_is_given(name, options):
    """Pooling and norms of the head stay; the oracle is the whole network, listened to."""
    import torchvision

    torch.manual_seed(0)
    whole, heard = getattr(torchvision.models, name)(weights=None, **options).eval(), []
    last = [layer for path, layer in whole.named_modules() if isinstance(layer, torch.nn.Linear) and "aux" not in path][
        -1
    ]
    last.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    card = find_card(f"torchvision:{name}")
    ours = card.build().eval()
    ours.load_state_dict(whole.state_dict(), strict=False)
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        whole(pixels)
        found = ours(pixels)
    assert found.shape == (2, card.dimension)
    assert torch.equal(found, heard[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["squeezenet1_0", "vgg11", "vit_h_14", "inception_v3", "regnet_y_400mf", "shufflenet_v2_x0_5"]
)
def test_heads_of_every_kind_give_one_row_a_tile(name):
    card = find_card(f"torchvision:{name}")
    side = card.input_px or 299
    with torch.device("meta" if name == "vit_h_14" else "cpu"), torch.inference_mode():
        network = card.build().eval()
        assert network(torch.zeros(2, 3, side, side)).shape == (2, card.dimension)
    assert name != "inception_v3" or network.transform_input


@pytest.mark.parametrize(("name", "width"), [("mobilenetv3_small_100", 1024), ("vgg11", 4096), ("hgnetv2_b0", 2048)])
def test_a_timm_card_has_the_width_that_comes_out(name, width):
    assert timm_card(name).dimension == width


def test_a_network_of_another_width_than_its_card_is_refused():
    card = dataclasses.replace(own_encoder(), build=torch.nn.Identity)  # pictures, no rows
    with pytest.raises(StudyError, match=r"makes 3 x 16 x 16 of a tile, its card says one row of 3 numbers"):
        bind(build_encoder(card), device="cpu", batch=2, tile_px=16, threads=1)


def test_kimianet_is_its_authors_network_from_their_file(tmp_path):
    """Their class: DenseNet's features and pooling in a Sequential, a classifier beside it, in DataParallel."""
    import torchvision

    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torchvision.models.densenet121(weights=None).features, torch.nn.AdaptiveAvgPool2d((1, 1))
    )
    state = {f"module.model.{name}": value for name, value in theirs.state_dict().items()}
    torch.save(state | {"module.fc_4.weight": torch.zeros(30, 1024)}, tmp_path / "KimiaNet.pth")
    ours = build_encoder(CARDS["kimianet"], tmp_path / "KimiaNet.pth").network
    pixels = torch.randn(1, 3, 96, 96)
    with torch.inference_mode():
        assert ours(pixels) == pytest.approx(theirs.eval()(pixels).flatten(1), abs=1e-5)


def test_clams_network_loads_the_weights_of_the_whole(tmp_path):
    import torchvision

    torch.manual_seed(0)
    whole = torchvision.models.resnet50(weights=None)
    torch.save(whole.state_dict(), tmp_path / "resnet50.pth")
    ours = build_encoder(CARDS["resnet50_layer3"], tmp_path / "resnet50.pth").network
    pixels, heard = torch.randn(1, 3, 64, 64), []
    whole.eval().layer3.register_forward_hook(lambda *given: heard.append(given[2]))
    with torch.inference_mode():
        whole(pixels)
        assert ours(pixels) == pytest.approx(heard[0], abs=1e-5)


def test_weights_under_metas_names_load_as_timm_itself_takes_them(tmp_path, monkeypatch):
    import timm
    from timm.models.vision_transformer import checkpoint_filter_fn

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda own, **given: create(own, **(given | OURS)))
    torch.manual_seed(0)
    network = CARDS["openmidnight"].build()
    meta = {}
    for name, value in network.state_dict().items():
        own = name.replace("reg_token", "register_tokens").replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        meta[own] = torch.randn_like(value)
    meta |= {"mask_token": torch.zeros(1, 48), "pos_embed": torch.randn(1, 5, 48)}  # the class token has a place too
    torch.save({"teacher": {f"backbone.{name}": value for name, value in meta.items()}}, tmp_path / "w.pth")
    loaded = build_encoder(CARDS["openmidnight"], tmp_path / "w.pth").network.state_dict()
    expected = checkpoint_filter_fn(dict(meta), network)
    assert {name for name in expected if "mask" not in name} == set(loaded)
    assert all(torch.equal(loaded[name], expected[name]) for name in loaded)


def test_without_a_network_the_hub_is_not_said_to_hold_nothing(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(StudyError, match=r"(?s)no connection.*run where there is a network"):
        build_encoder(dataclasses.replace(CARDS["h_optimus_0"], build=torch.nn.Identity))


def test_v10_a_hub_repository_with_neither_file_of_weights_is_named(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    asked = []

    def absent(_repository, name):
        asked.append(name)
        raise EntryNotFoundError("404")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    with pytest.raises(StudyError, match=r"holds none of model\.safetensors, pytorch_model\.bin"):
        build_encoder(dataclasses.replace(CARDS["h_optimus_0"], build=torch.nn.Identity))
    assert asked == ["model.safetensors", "pytorch_model.bin"]


def test_tiles_at_another_scale_than_the_encoders_are_told():
    assert "reach it at 1.14. For its own scale tile with --tile_um 112" in scale_note(CARDS["uni"], 256.0, 256)
    assert scale_note(CARDS["uni"], 112.0, 256) == ""
    assert scale_note(CARDS["efficientnet_lite0"], 256.0, 256) == ""  # trained on photographs
