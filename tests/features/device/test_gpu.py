"""GPUs, checked without one: lanes on stand-ins of a GPU, sharing, clocks, precision; and on real ones where there are."""

import contextlib
import copy
import dataclasses
import threading
import time

import numpy as np
import pytest
import torch
from pytest import approx

from common.failures import StudyError
from features.device import colour_tables, tile_pixels
from features.device import gpu as gpu_runtime
from features.device.binding import bind
from features.device.colour_tables import table_of, table_of_factors
from features.device.gpu import N_LANES, Gpu, GpuRuntime, alike, gpus_of, lane_on, on_gpus
from features.device.gpu_precision import MIN_COSINE, Agreement, agreement, allow_tf32, centred_cosine, exact_float32
from features.device.network import WithTransform
from features.device.painted_tiles import painted_tiles
from features.device.runtime import BusyClock, Runtime, embed
from features.device.tile_pixels import Preparation, prepared, table_for
from features.embedding.extraction_settings import ExtractionConfig, default_readers
from features.embedding.jobs import ReadingSettings
from features.embedding.loop import embed_slides
from features.encoder.card import EncoderCard
from features.encoder.registry import Encoder
from features.store.feature_store import read_feature_bag
from preprocessing.colour.colour_map import colour_factors, colour_table
from preprocessing.colour.stain import REFERENCE, stain_map
from tests.helpers.embedding_jobs import job, tiny_encoder

pytestmark = pytest.mark.slow  # seconds a test: networks, processes


class FakeEvent:
    """An event on the processor's clock."""

    def __init__(self, ms=None):
        self.ms = ms

    def record(self, _stream=None):
        self.ms = time.perf_counter() * 1000

    def elapsed_time(self, end):
        return end.ms - self.ms

    def synchronize(self):
        pass


class FakeStream:
    def wait_event(self, event):
        pass


class FakeGpu(Gpu):
    """The processor in the place of a GPU."""

    def __init__(self, name="Fake 1"):
        self.name, self.device, self.has_tf32 = name, torch.device("cpu"), True
        self.turn, self.clock, self.computing = threading.Lock(), BusyClock(), FakeStream()

    def stream(self):
        return FakeStream()

    def event(self):
        return FakeEvent()

    def on(self, _stream):
        return contextlib.nullcontext()

    def recorded(self, network, pixels):
        return network


def card(**changes):
    whole = EncoderCard(name="n", source="", dimension=4, licence="", build=lambda: None, weights="own")
    return dataclasses.replace(whole, **changes)


class Values(torch.nn.Module):
    """The mean colour, times a factor, around an offset; the arithmetic is in the network's precision."""

    def __init__(self, factor=1.0, offset=0.0, between=1.0):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor([factor, -factor, factor / 2]))
        self.offset = torch.nn.Parameter(torch.tensor(offset))
        self.between = torch.nn.Parameter(torch.tensor(between))

    def forward(self, pixels):
        return pixels.mean(dim=(2, 3)) * self.between / self.between * self.factor + self.offset


def module_of(network, **changes):
    return WithTransform(network.requires_grad_(False), card(**changes)).eval()


def noise(n, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def painted():
    return painted_tiles()


def test_painted_tiles_are_the_same_every_time_and_as_varied_as_tissue(painted):
    assert np.array_equal(painted, painted_tiles())
    assert painted.shape == (20, 256, 256, 3)
    means = painted.mean(axis=(1, 2))
    assert (np.ptp(means, axis=0) > (30, 80, 40)).all()  # pale ones and dark ones
    is_glass = (painted.min(axis=-1) > 225).mean(axis=(1, 2))
    assert is_glass.min() < 0.05
    assert 0.15 < is_glass.max() < 0.95
    assert len({tile.tobytes() for tile in painted}) == 20


def test_half_precision_is_taken_where_embeddings_agree(painted):
    found = agreement(module_of(tiny_encoder().network), painted)
    assert found.is_close
    assert MIN_COSINE <= found.cosine < 1
    assert "on 20 painted tiles" in str(found)


def test_an_overflow_of_half_precision_is_a_disagreement(painted):
    inside = agreement(module_of(Values(between=7e4)), painted)  # infinite / infinite in float16
    outside = agreement(module_of(Values(factor=3e5)), painted)
    for found in (inside, outside):
        assert np.isnan(found.cosine)
        assert not found.is_close
        assert str(found) == "float16 overflows"


def test_differences_hidden_by_a_common_mean_are_found_by_centring(painted):
    module = module_of(Values(factor=0.1, offset=500.0))
    plain = torch.nn.functional.cosine_similarity(
        module(torch.from_numpy(painted)), copy.deepcopy(module).half()(torch.from_numpy(painted)).float()
    )
    assert float(plain.min()) > 0.9999
    assert not agreement(module, painted).is_close
    assert agreement(module_of(Values(factor=0.1)), painted).is_close


def test_a_network_that_cannot_run_in_half_precision_stays_in_tf32(painted):
    class Stubborn(Values):
        def forward(self, pixels):
            return torch.nn.functional.linear(super().forward(pixels), torch.ones(4, 3))  # float32, whatever is asked

    found = agreement(module_of(Stubborn()), painted)
    assert not found.is_close
    assert "cannot be used: " in str(found)


def test_running_out_of_memory_does_not_choose_the_precision(painted):
    class Greedy(Values):
        def forward(self, pixels):
            if self.factor.dtype == torch.float16:
                raise torch.cuda.OutOfMemoryError("no room")
            return super().forward(pixels)

    with pytest.raises(torch.cuda.OutOfMemoryError):
        agreement(module_of(Greedy()), painted)


def test_the_centred_cosine_is_that_of_the_slow_formula():
    a = torch.from_numpy(np.random.default_rng(0).normal(5, 1, (6, 9)))
    b = a + torch.from_numpy(np.random.default_rng(1).normal(0, 0.3, (6, 9)))
    found = centred_cosine(a, b)
    mean = [sum(float(a[i, j]) for i in range(6)) / 6 for j in range(9)]
    for i in range(6):
        x = [float(a[i, j]) - mean[j] for j in range(9)]
        y = [float(b[i, j]) - mean[j] for j in range(9)]
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        assert float(found[i]) == approx(dot / (sum(p * p for p in x) * sum(q * q for q in y)) ** 0.5)


def test_float32_is_measured_without_tf32_and_the_setting_comes_back():
    def flags():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    try:
        allow_tf32(True)
        with exact_float32():
            assert flags() == (False, False)
        assert flags() == (True, True)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def tf32_as_before():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_auto_takes_what_was_measured_and_says_so(tf32_as_before, monkeypatch):
    network = tiny_encoder().network
    half = on_gpus(module_of(network), 4, 32, "auto", [FakeGpu()])
    assert half.precision == "float16"
    assert half.description.startswith("float16 (lowest centred cosine of float16 to float32 0.9999")
    monkeypatch.setattr(gpu_runtime, "agreement", lambda _module, tiles: Agreement(0.9, len(tiles)))
    wide = on_gpus(module_of(tiny_encoder().network), 4, 32, "auto", [FakeGpu(), FakeGpu()])
    assert wide.precision == "tf32"
    assert wide.description.startswith("2 GPUs, tf32 (lowest centred cosine")
    assert torch.backends.cuda.matmul.allow_tf32
    assert wide.name == half.name  # the number of GPUs makes no file stale
    old = FakeGpu()
    old.has_tf32 = False
    assert on_gpus(module_of(tiny_encoder().network), 4, 32, "auto", [old]).precision == "float32"
    assert not torch.backends.cudnn.allow_tf32
    with pytest.raises(StudyError, match="Fake 1 has no TF32"):
        on_gpus(module_of(tiny_encoder().network), 4, 32, "tf32", [old])


def test_a_second_encoder_in_half_precision_leaves_the_first_ones_tf32_on(tf32_as_before):
    on_gpus(module_of(tiny_encoder().network), 4, 32, "tf32", [FakeGpu()])
    assert on_gpus(module_of(tiny_encoder().network), 4, 32, "auto", [FakeGpu()]).precision == "float16"
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.slow
@pytest.mark.parametrize("n_gpus", [1, 3])
def test_embeddings_come_in_order_from_any_number_of_gpus_and_are_the_processors(n_gpus, tf32_as_before):
    expected = bind(tiny_encoder(), device="cpu", batch=8, tile_px=32, threads=1)
    runtime = on_gpus(module_of(tiny_encoder().network), 8, 32, "float32", [FakeGpu() for _ in range(n_gpus)])
    tiles = noise(8 * 25 + 3)
    found = embed(runtime, tiles).astype(float)
    assert found == approx(embed(expected, tiles).astype(float), abs=2e-3)
    assert np.array_equal(found[-3:], embed(runtime, tiles[-3:]))  # a ragged batch, whatever lay in its buffer before
    assert np.array_equal(found[::-1], embed(runtime, tiles[::-1].copy()))
    assert len(runtime.gpus) == n_gpus
    assert runtime.blocks_held == N_LANES * n_gpus + 2


def test_pictures_of_another_size_get_a_buffer_of_their_own():
    lane = lane_on(FakeGpu(), module_of(tiny_encoder().network), card(), 4)
    for side, n in ((64, 4), (40, 2), (64, 3)):
        tiles, how = noise(n, side), Preparation(tile_px=32, box_px=(side, side))
        resized = prepared(tiles, how)
        assert np.array_equal(lane(tiles, how), lane(resized, None))


def test_every_gpu_takes_batches_and_computes_one_at_a_time(tf32_as_before):
    class Watched(torch.nn.Module):
        """Counts how many compute at once; two GPUs must meet at the barrier, or it breaks."""

        def __init__(self, barrier):
            super().__init__()
            self.barrier, self.inside, self.most, self.n_batches = barrier, 0, 0, 0

        def __deepcopy__(self, _memo):
            return Watched(self.barrier)

        def forward(self, pixels):
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.n_batches += 1
            self.barrier.wait(timeout=20)
            time.sleep(0.002)
            self.inside -= 1
            return pixels.mean(dim=(2, 3))

    gpus, barrier = [FakeGpu(), FakeGpu()], threading.Barrier(2)
    networks = [module_of(Watched(barrier)) for _ in gpus]
    lanes = [lane_on(gpu, network, card(), 4) for _ in range(2) for gpu, network in zip(gpus, networks, strict=True)]
    runtime = GpuRuntime("fake", "float32", 4, gpus, lanes)
    tiles = noise(4 * 20)
    found = embed(runtime, tiles)
    assert found.shape == (80, 3)
    for network in networks:
        assert network.network.n_batches == 10  # the barrier makes them go in step
        assert network.network.most == 1  # two lanes, one turn
    assert all(0 < clock.share() <= 1 for clock in runtime.gpus)


def test_an_error_in_one_lane_reaches_the_caller_and_the_lane_goes_on():
    class Failing(torch.nn.Module):
        def forward(self, pixels):
            if float(pixels.max()) > 2:  # a white tile
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")
            return pixels.mean(dim=(2, 3))

    gpu = FakeGpu()
    runtime = Runtime("fake", "float32", 2, [lane_on(gpu, module_of(Failing()), card(), 2) for _ in range(2)])
    tiles = np.zeros((12, 8, 8, 3), np.uint8)
    tiles[5] = 255
    with pytest.raises(
        StudyError, match=r"batch of 2 tiles does not fit into the memory of Fake 1; give a smaller --batch"
    ):
        embed(runtime, tiles)
    assert embed(runtime, np.zeros((12, 8, 8, 3), np.uint8)).shape == (12, 3)


def test_a_clock_adds_up_what_its_device_computed():
    clock = BusyClock()
    assert clock.share() == 0
    for start, end in ((100.0, 130.0), (130.0, 150.0), (190.0, 200.0)):
        clock.add(FakeEvent(start), FakeEvent(end))
    assert clock.share() == approx((30 + 20 + 10) / 100)
    clock.add(FakeEvent(80.0), FakeEvent(95.0))  # a batch that was computed first and told of last
    assert clock.share() == approx((15 + 30 + 20 + 10) / 120)
    other = BusyClock()
    other.add(FakeEvent(0.0), FakeEvent(7.0))
    assert other.share() == 1.0


def test_gpus_of_another_model_are_left_out_and_named(capsys):
    gpus = [FakeGpu("A"), FakeGpu("B"), FakeGpu("A")]
    assert alike(gpus) == [gpus[0], gpus[2]]
    assert "left out: B" in capsys.readouterr().out
    assert alike(gpus[:1]) == gpus[:1]
    assert capsys.readouterr().out == ""


def test_a_device_is_all_gpus_or_one_and_a_missing_one_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(gpu_runtime, "_gpu", lambda index: FakeGpu(f"of {index % 2}"))
    assert [gpu.name for gpu in gpus_of("auto")] == ["of 0", "of 0"]
    assert [gpu.name for gpu in gpus_of("cuda")] == ["of 0", "of 0"]
    assert [gpu.name for gpu in gpus_of("cuda:1")] == ["of 1"]
    assert gpus_of("cpu") == []
    with pytest.raises(StudyError, match=r"--device cuda:3, but PyTorch sees 3 GPU\(s\), cuda:0 to cuda:2"):
        gpus_of("cuda:3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus_of("auto") == []
    with pytest.raises(StudyError, match="--device cuda:0, but PyTorch sees no GPU here"):
        gpus_of("cuda:0")
    for wrong in ("gpu", "cuda:", "cuda:x", "cpu:0"):
        with pytest.raises(ValueError, match="--device is auto, cpu, cuda or one GPU"):
            ExtractionConfig(device=wrong)


@pytest.mark.parametrize(
    ("n_processors", "n_gpus", "memory_gb", "n_readers"),
    [(2, 0, 24.0, 2), (16, 0, None, 8), (64, 0, 512.0, 16), (16, 1, 128.0, 14), (2, 1, 24.0, 1), (64, 8, 512.0, 55),
     (96, 1, 16.0, 20), (8, 8, 64.0, 4), (1, 0, 0.5, 1)],
)  # fmt: skip
def test_readers_use_the_processors_and_leave_some_to_the_loop(n_processors, n_gpus, memory_gb, n_readers):
    assert default_readers(n_processors, n_gpus=n_gpus, memory_gb=memory_gb) == n_readers


def test_more_blocks_on_their_way_give_the_same_file(slide, tmp_path, tf32_as_before):
    runtime = on_gpus(module_of(tiny_encoder().network), 8, 32, "float32", [FakeGpu(), FakeGpu()])
    for held in (1, 6):
        reading = ReadingSettings(workers=1, ahead=1, timeout_s=60, held=held)
        ((_, status),) = embed_slides([job(tmp_path / str(held), slide, runtime, tile_um=128.0)], reading)
        assert status.state == "done"
    assert (tmp_path / "1" / "e.h5").read_bytes() == (tmp_path / "6" / "e.h5").read_bytes()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_table_made_on_the_device_has_the_bytes_of_the_processors(device):
    for glass, p99 in (((255.0, 255.0, 255.0), (0.2, 0.9)), ((238.0, 240.0, 231.0), (2.0, 1.1))):
        colour = stain_map(dataclasses.replace(REFERENCE, p99=np.array(p99), glass=glass), REFERENCE)
        found = table_of_factors(colour_factors(colour), torch.device(device))
        assert np.array_equal(found.cpu().numpy().view(np.uint32), colour_table(colour))


def test_reinhards_table_comes_from_the_processor():
    lab = np.array([[60.0, 25.0, -20.0], [15.0, 8.0, 9.0]])
    colour = stain_map(dataclasses.replace(REFERENCE, method="reinhard", lab=lab), REFERENCE)
    assert colour_factors(colour) is None
    assert table_of(colour, "meta").shape == (256**3,)


def test_each_device_keeps_its_own_colour_tables(monkeypatch):
    made = []

    def small_table(colour):
        made.append(colour)
        return np.zeros(4, np.uint32)

    monkeypatch.setattr(colour_tables, "colour_table", small_table)
    monkeypatch.setattr(colour_tables, "colour_factors", lambda colour: None)
    monkeypatch.setattr(colour_tables, "_TABLES", {})
    maps = [stain_map(dataclasses.replace(REFERENCE, p99=np.array([1.0 + n / 10, 1.0])), REFERENCE) for n in range(3)]
    for device in ("meta", "cpu"):
        first, again = table_of(maps[0], device), table_of(maps[0], device)
        assert first is again
        assert first.device.type == device
    assert len(made) == 1  # the other device's is a copy
    table_of(maps[1])
    table_of(maps[0])  # used last, so the next one drives out the other
    table_of(maps[2])
    assert len(made) == 3
    table_of(maps[0])
    assert len(made) == 3
    table_of(maps[1])
    assert len(made) == 4
    kept = table_of(maps[0], "meta")  # another device's comings and goings are nothing to it
    assert len(made) == 4
    assert kept.device.type == "meta"


@pytest.mark.gpu
def test_on_a_gpu_embeddings_are_the_processors(tf32_as_before):
    tiles = noise(130, 64)
    expected = embed(bind(tiny_encoder(), device="cpu", batch=8, tile_px=64, threads=1), tiles).astype(float)
    for precision, tolerance in (("float32", 2e-3), ("tf32", 2e-2), ("float16", 2e-2)):
        runtime = bind(tiny_encoder(), device="cuda", batch=64, tile_px=64, threads=1, precision=precision)
        found = embed(runtime, tiles).astype(float)
        assert found == approx(expected, abs=tolerance)
        assert np.array_equal(found[-2:], embed(runtime, tiles[-2:]))
        assert all(0 <= clock.share() <= 1 for clock in runtime.gpus)
    assert bind(tiny_encoder(), device="cuda:0", batch=64, tile_px=64, threads=1).precision == "float16"


@pytest.mark.gpu
def test_on_a_gpu_resize_and_colours_are_the_processors(tf32_as_before):
    gpu = gpus_of("cuda:0")[0]
    mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten())
    tiles = noise(6, 64)
    colour = stain_map(dataclasses.replace(REFERENCE, p99=np.array([1.5, 1.0])), REFERENCE)
    for box, tolerance in (((64, 64), 0), ((63.0, 62.5), 1)):
        how = Preparation(tile_px=32 if box != (64, 64) else 64, box_px=box)
        plain = tile_pixels.on_device(torch.from_numpy(tiles).to(gpu.device), how, None).cpu().numpy()
        assert np.abs(plain.astype(int) - prepared(tiles, how)).max() <= tolerance
    how = Preparation(tile_px=64, box_px=(64, 64), colour=colour)
    table = table_for(how, gpu.device)
    assert np.array_equal(
        tile_pixels.on_device(torch.from_numpy(tiles).to(gpu.device), how, table).cpu(), prepared(tiles, how)
    )
    encoder = Encoder(card(dimension=192), mean, "0")
    found = embed(bind(encoder, device="cuda", batch=4, tile_px=64, threads=1, precision="float32"), tiles, how)
    expected = embed(bind(encoder, device="cpu", batch=4, tile_px=64, threads=1), tiles, how)
    assert found.astype(float) == approx(expected.astype(float), abs=2e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_on_a_gpu_slides_with_maps_of_their_own_give_the_processors_features_and_the_same_bytes_again(
    slide, tmp_path, tf32_as_before, precision
):  # fmt: skip
    """Many small slides, so that colour tables are made, dropped and used by several lanes at a time."""
    maps = [stain_map(dataclasses.replace(REFERENCE, p99=np.array([0.8 + n / 20, 1.0])), REFERENCE) for n in range(24)]

    def features(folder, runtime):
        jobs = []
        for number, colour in enumerate(maps):
            own = job(tmp_path / folder / str(number), slide, runtime, tile_um=32.0, n=60, colour=colour)
            own.slide_id = f"s{number}"
            own.requests = [dataclasses.replace(one, name=own.slide_id) for one in own.requests]
            jobs.append(own)
        reading = ReadingSettings(workers=2, ahead=8, timeout_s=60, held=runtime.blocks_held)
        assert all(status.state == "done" for _, status in embed_slides(jobs, reading))
        return [own.bags[0].path for own in jobs]

    on_gpu = bind(tiny_encoder(), device="cuda", batch=16, tile_px=32, threads=1, precision=precision)
    first, again = features("first", on_gpu), features("again", on_gpu)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    on_cpu = features("cpu", bind(tiny_encoder(), device="cpu", batch=8, tile_px=32, threads=1))
    means = []
    for found, expected in zip(first, on_cpu, strict=True):
        ours, theirs = read_feature_bag(found).features, read_feature_bag(expected).features
        assert ours.astype(float) == approx(theirs.astype(float), abs=2e-2)  # also the resize's rounding
        means.append(theirs.astype(float).mean(axis=0))
    assert np.ptp(means, axis=0).max() > 0.05  # the maps tell the slides apart


@pytest.mark.gpu
def test_on_a_gpu_a_network_that_cannot_be_recorded_runs_all_the_same(tf32_as_before, capsys):
    class Asking(torch.nn.Module):
        def forward(self, pixels):
            colours = pixels.mean(dim=(2, 3))
            return colours * (2 if float(colours.sum()) > -1e9 else 1)  # waits for the device

    tiles = noise(21)
    found = embed(
        bind(
            Encoder(card(dimension=3), Asking(), "0"),
            device="cuda:0",
            batch=8,
            tile_px=32,
            threads=1,
            precision="float32",
        ),
        tiles,
    )
    assert "no graph of the network" in capsys.readouterr().out
    with torch.inference_mode():
        expected = WithTransform(Asking(), card())(torch.from_numpy(tiles)).numpy()
    assert found.astype(float) == approx(expected, abs=2e-3)


@pytest.mark.gpu
def test_memory_is_pinned_while_it_is_held_and_not_being_able_to_is_no_error(capfd):
    memory = np.zeros(1 << 22, np.uint8)
    tensor = torch.from_numpy(memory)
    with gpu_runtime.pinned(memory):
        assert tensor.is_pinned()
        with gpu_runtime.pinned(memory):  # CUDA refuses the same memory again
            assert torch.ones(3, device="cuda").sum().item() == 3
        assert "cannot be pinned (CUDA error 712)" in capfd.readouterr().out
        assert tensor.is_pinned()
    assert not tensor.is_pinned()
