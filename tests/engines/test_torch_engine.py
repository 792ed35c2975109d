import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zodi.engines import ENGINES, open_engine
from zodi.engines.components import load_components
from zodi.engines.devices import find_device, torch_has_bf16
from zodi.errors import EngineError, ModelError
from zodi.ports import graphs


def sample_inputs(info, graph, batch=2, height=4, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = {}
    for port in graphs(info.dims)[graph].inputs:
        shape = port.shape({"batch": batch, "height": height, "width": width})
        if port.dtype == "int64":
            inputs[port.name] = torch.randint(0, 50, shape, generator=generator)
        else:
            inputs[port.name] = torch.rand(shape, generator=generator)
    return inputs


@pytest.fixture(scope="module")
def engine(tiny_model):
    components = load_components(str(tiny_model))
    with open_engine(components, "torch", device="cpu") as opened:
        opened.info = components.info
        yield opened


@pytest.mark.parametrize("graph", ["text_encoder", "vae_encoder", "control_hint", "denoiser", "vae_decoder"])
@pytest.mark.parametrize("sizes", [(2, 4, 8), (1, 8, 4)])
def test_every_graph_runs_and_an_image_does_not_depend_on_its_neighbours(engine, graph, sizes):
    batch, height, width = sizes
    inputs = sample_inputs(engine.info, graph, batch, height, width)
    outputs = engine.run(graph, inputs)
    assert all(t.dtype == torch.float32 and t.isfinite().all() and t.std() > 0 for t in outputs.values())
    others = sample_inputs(engine.info, graph, batch, height, width, seed=1)
    mixed = {name: t if t.ndim == 0 else torch.cat([t[:1], others[name][1:]]) for name, t in inputs.items()}
    for name, output in engine.run(graph, mixed).items():
        assert torch.equal(output[0], outputs[name][0])


def test_weights_decide_the_hash(tiny_model):
    from zodi.engines.components import weights_hash

    components = load_components(str(tiny_model))
    parts = {name: getattr(components, name) for name in ("vae", "text_encoder", "unet", "controlnet")}
    assert weights_hash(parts) == components.info.hash
    next(iter(components.unet.parameters())).data.flatten()[0] += 1e-3
    assert weights_hash(parts) != components.info.hash


def test_a_variant_is_taken_part_by_part(tiny_model, tmp_path):
    """Stable Diffusion 1.5 has non-EMA weights of its UNet alone."""
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    plain = load_components(str(model))
    usual = model / "unet/diffusion_pytorch_model.safetensors"
    other = {name: tensor + 1e-3 for name, tensor in load_file(usual).items()}
    save_file(other, usual.with_name("diffusion_pytorch_model.non_ema.safetensors"), {"format": "pt"})
    found = load_components(str(model), variant="non_ema")
    assert found.info.variant == "non_ema" and found.info.hash != plain.info.hash
    name, tensor = next(iter(found.unet.state_dict().items()))
    assert torch.equal(tensor, other[name])
    for mine, theirs in ((found.vae, plain.vae), (found.text_encoder, plain.text_encoder)):
        assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))
    with pytest.raises(ModelError, match="no part has weights of the variant 'fp16'"):
        load_components(str(model), variant="fp16")


def test_bf16_runs_or_is_refused(tiny_model):
    components = load_components(str(tiny_model))
    if not torch_has_bf16():
        with (
            pytest.raises(EngineError, match="--precision fp32"),
            open_engine(components, "torch", precision="bf16", device="cpu"),
        ):
            pass
        return
    inputs = sample_inputs(components.info, "denoiser")
    with open_engine(load_components(str(tiny_model)), "torch", device="cpu") as engine:
        exact = engine.run("denoiser", inputs)["noise"]
    with open_engine(components, "torch", precision="bf16", device="cpu") as engine:
        rounded = engine.run("denoiser", inputs)["noise"]
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).std() / exact.std() < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_cuda(tiny_model, precision):
    components = load_components(str(tiny_model))
    inputs = sample_inputs(components.info, "denoiser")
    with open_engine(load_components(str(tiny_model)), "torch", device="cpu") as engine:
        exact = engine.run("denoiser", inputs)["noise"]
    with open_engine(components, "torch", precision=precision, device="cuda") as engine:
        there = engine.run("denoiser", {name: t.cuda() for name, t in inputs.items()})["noise"].cpu()
    assert (there - exact).std() / exact.std() < 0.05


def test_refusals(tiny_model):
    with pytest.raises(EngineError, match="unknown engine 'warp': allowed are torch"):
        open_engine(None, "warp")
    with pytest.raises(EngineError, match="allowed are auto, cpu, cuda"):
        find_device("abacus")
    with pytest.raises(EngineError, match=r"has \d+ CUDA devices"):
        find_device("cuda:64")
    with pytest.raises(EngineError, match="unknown precision"), open_engine(None, "torch", precision="fp8"):
        pass


def test_every_engine_in_the_registry_can_be_imported():
    import importlib

    assert ENGINES
    for module in ENGINES.values():
        assert callable(importlib.import_module(module).open_engine)
