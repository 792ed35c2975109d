"""Small files of models as people have them: read as diffusers reads them, or refused in one line that says why."""

import json
import shlex
import subprocess
import sys

import pytest
import torch
from models import WEIGHTS, change_json, copy, write_single_file

from zodi.engines.components import load_components
from zodi.engines.model_config import read_schedule
from zodi.errors import ModelError
from zodi.town.parts import build_parts, fill_zero_convolutions, save_model
from zodi.transfer.schedule import alphas_cumprod


@pytest.fixture
def model(tiny_model, tmp_path):
    return copy(tiny_model, tmp_path / "model")


@pytest.fixture(scope="module")
def whole(tiny_model):
    return load_components(str(tiny_model)).info


def refusal(model, *arguments, **options) -> str:
    with pytest.raises(ModelError) as refused:
        load_components(str(model), *arguments, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def whole_as(info, model):
    return type(info).from_json({**info.to_json(), "name": str(model)})


@pytest.mark.parametrize("length", [..., 1e30, 10**30, 128])
def test_the_text_encoder_says_how_long_a_prompt_is(model, whole, length):
    change_json(model / "tokenizer/tokenizer_config.json", model_max_length=length)
    components = load_components(str(model))
    assert components.info == whole_as(whole, model)
    assert components.tokenizer.model_max_length == 77


def test_a_tokenizer_may_be_shorter_than_the_text_encoder(model):
    change_json(model / "tokenizer/tokenizer_config.json", model_max_length=40)
    assert load_components(str(model)).info.dims.tokens == 40


@pytest.mark.parametrize("case", ["no files", "another vocabulary", "merges cut off", "not a vocabulary"])
def test_a_tokenizer_that_would_lose_the_prompt(model, case):
    """Without its files transformers makes one of two words, and every prompt is the same."""
    path = model / "tokenizer/tokenizer.json"
    table = json.loads(path.read_text())
    if case == "no files":
        path.unlink()
        says = "the tokenizer has 2 words, the text encoder 93"
    elif case == "another vocabulary":
        extra = {f"word{i}</w>": len(table["model"]["vocab"]) + i for i in range(50)}
        table["model"]["vocab"] |= extra
        path.write_text(json.dumps(table))
        says = "the tokenizer has 143 words, the text encoder only 93"
    elif case == "merges cut off":
        parts = build_parts(words=["driving", "at", "night", "through", "falling", "snow"], seed=1)
        save_model(parts, model.with_name("other"), {"image_size": 32})
        model = model.with_name("other")
        path = model / "tokenizer/tokenizer.json"
        table = json.loads(path.read_text())
        del table["model"]["merges"][3:]
        path.write_text(json.dumps(table))
        says = "words cannot be reached by its merges"
    else:
        path.write_text("[1]")
        says = "tokenizer"
    assert says in refusal(model)


def test_a_model_without_a_size(model):
    (model / "zodi.json").unlink()
    change_json(model / "unet/config.json", sample_size=None)
    assert "no sample_size: give --image-size" in refusal(model)
    assert load_components(str(model), image_size=48).info.image_size == 48
    change_json(model / "unet/config.json", sample_size=[8, 4])
    assert load_components(str(model), image_size=48).info.image_size == 4 * 8


def test_image_size_for_a_model_without_one(cli, model, street, tmp_path):
    (model / "zodi.json").unlink()
    change_json(model / "unet/config.json", sample_size=None)
    run = ("transfer", "--root", street, "--model", model, "--steps", "4", "-o", tmp_path / "out")
    refused = cli(*run)
    assert refused.status == 1 and "give --image-size" in refused.stderr and not (tmp_path / "out").exists()
    done = cli(*run, "--image-size", "32")
    assert done.status == 0, done.stderr


SCHEDULERS = [
    "DDIMScheduler", "PNDMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LMSDiscreteScheduler", "HeunDiscreteScheduler",
    "LCMScheduler",
]  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"beta_end": 0.012}, {"num_train_timesteps": 500, "trained_betas": None}])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_a_scheduler_config_leaves_out_is_what_diffusers_takes(model, name, given):
    import diffusers

    path = model / "scheduler/scheduler_config.json"
    path.write_text(json.dumps({"_class_name": name, **given}))
    schedule, prediction = read_schedule(str(model), {"scheduler": ["diffusers", name]}, None)
    theirs = getattr(diffusers, name).from_pretrained(str(model), subfolder="scheduler")
    assert torch.allclose(alphas_cumprod(schedule), theirs.alphas_cumprod, atol=1e-6)
    assert prediction == theirs.config.prediction_type == "epsilon"
    assert read_schedule(str(model), {"scheduler": [None, None]}, None)[0] == schedule  # the file says it as well


def test_a_scheduler_of_another_library_is_read_by_its_keys(model, whole):
    change_json(model / "scheduler/scheduler_config.json", _class_name="MySampler")
    change_json(model / "model_index.json", scheduler=["my_library", "MySampler"])
    assert load_components(str(model)).info.scheduler["beta_end"] == whole.scheduler["beta_end"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "beta_start": ..., "beta_end": ...}, "beta_start = None"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps = '1000'"),
        ({"beta_end": None}, "beta_end = None"),
        ({"prediction_type": "sample"}, "supported are epsilon and v_prediction"),
    ],
)
def test_a_scheduler_that_the_method_has_no_formula_for(model, values, says):
    change_json(model / "scheduler/scheduler_config.json", **values)
    change_json(model / "model_index.json", scheduler=["diffusers", values.get("_class_name", "DDIMScheduler")])
    assert says in refusal(model)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rescale_betas_zero_snr": True}, "has rescale_betas_zero_snr: inversion needs a schedule without it"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "supported are scaled_linear and linear"),
    ],
)
def test_a_noise_schedule_that_cannot_be_inverted_is_refused(cli, model, street, tmp_path, values, says):
    change_json(model / "scheduler/scheduler_config.json", **values)
    done = cli("transfer", "--root", street, "--model", model, "--steps", "4", "-o", tmp_path / "out")
    assert done.status == 1 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1


JSON_FILES = [
    "model_index.json", "zodi.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json",
    "text_encoder/config.json", "controlnet/config.json", "tokenizer/tokenizer_config.json",
]  # fmt: skip


@pytest.mark.parametrize("content", ["[1]", "7", "null", "", "{", '{"a": 1', "\x00\x01"])
@pytest.mark.parametrize("file", JSON_FILES)
def test_what_is_no_json_object(model, file, content):
    (model / file).write_text(content)
    assert file.split("/")[0] in refusal(model)


def test_json_with_a_byte_order_mark(model, whole):
    for file in ("model_index.json", "zodi.json", "scheduler/scheduler_config.json"):
        path = model / file
        path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    assert load_components(str(model)).info == whole_as(whole, model)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"words": [1]}, "words = [1] is not a list of words"),
        ({"image_size": 0}, "image_size = 0 is not a positive whole number"),
        ({"guidance": "9"}, "guidance = '9'"),
    ],
)
def test_settings_of_a_model(model, values, says):
    change_json(model / "zodi.json", **values)
    assert says in refusal(model)


UNSUPPORTED = {
    "SDXL": ("model_index.json", {"_class_name": "StableDiffusionXLPipeline"}, "is SDXL"),
    "Flux": ("model_index.json", {"_class_name": "FluxPipeline", "unet": ...}, "is a FluxPipeline without unet"),
    "inpainting": ("unet/config.json", {"in_channels": 9}, "takes 9 channels, the VAE gives 4: inpainting"),
    "latent consistency": ("unet/config.json", {"time_cond_proj_dim": 16}, "wants the guidance scale"),
    "unCLIP": ("unet/config.json", {"class_embed_type": "timestep"}, "wants a class"),
    "one channel": ("controlnet/config.json", {"conditioning_channels": 1}, "takes images of 1 channels"),
    "six channels": ("controlnet/config.json", {"conditioning_channels": 6}, "takes images of 6 channels"),
    "union": ("controlnet/config.json", {"_class_name": "ControlNetUnionModel"}, "is a ControlNetUnionModel"),
    "adapter": ("controlnet/config.json", {"_class_name": "T2IAdapter"}, "is a T2IAdapter"),
    "another UNet": ("controlnet/config.json", {"block_out_channels": [4, 16]}, "are not those of the UNet"),
    "another width": ("controlnet/config.json", {"cross_attention_dim": 24}, "cross-attention widths differ"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_other_kinds_are_refused_before_their_weights_are_read(model, case):
    file, values, says = UNSUPPORTED[case]
    change_json(model / file, **values)
    for weights in WEIGHTS.values():
        (model / weights).unlink()
    assert says in refusal(model)


@pytest.mark.parametrize("values", [{"_class_name": "StableDiffusionInpaintPipeline"}, {"scheduler": [None, None]}])
def test_an_index_of_another_pipeline_with_the_same_parts(model, whole, values):
    change_json(model / "model_index.json", **values)
    assert load_components(str(model)).info == whole_as(whole, model)


def keep_variant(model, part: str) -> None:
    path = model / WEIGHTS[part]
    path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))


@pytest.mark.parametrize("part", list(WEIGHTS))
def test_weights_of_a_variant_only(model, whole, part):
    """Of the part that has them, model or ControlNet; the others are loaded as usual."""
    keep_variant(model, part)
    assert "has weights of the variant fp16 only: use --variant fp16" in refusal(model)
    info = load_components(str(model), variant="fp16").info
    assert (info.hash, info.variant) == (whole.hash, "fp16")
    assert "--variant fp16" in refusal(model, variant="non_ema")


def test_a_variant_of_a_controlnet_of_its_own(model, whole):
    keep_variant(model, "controlnet")
    control = (model / "controlnet").rename(model.with_name("control"))
    assert f"{control}: cannot load controlnet: it has weights of the variant fp16 only" in refusal(model, str(control))
    assert load_components(str(model), str(control), variant="fp16").info.hash == whole.hash


def test_pickled_weights_are_not_read(model):
    path = model / WEIGHTS["vae"]
    path.rename(path.with_suffix(".bin"))
    assert "pickled weights only (diffusion_pytorch_model.bin)" in refusal(model)


def test_a_single_file_is_refused_with_the_line_that_converts_it(tmp_path):
    """The line is run as it is printed; what it writes is the same model."""
    parts = build_parts(
        unet_channels=(4, 4, 8, 8), vae_channels=(4, 4, 8, 8), layers=2, words=["driving", "at", "night"], seed=3
    )
    fill_zero_convolutions(parts["controlnet"], seed=2)
    save_model(parts, tmp_path / "sd", {"image_size": 64})
    file = tmp_path / "v1-5-pruned-emaonly.safetensors"
    write_single_file(tmp_path / "sd", file)
    control = str(tmp_path / "sd/controlnet")
    said = refusal(file, control)
    assert "without network add config='DIR'" in said and "--model v1-5-pruned-emaonly" in said
    assert "give its directory" in refusal(tmp_path / "sd" / WEIGHTS["unet"], control)

    expected = load_components(str(tmp_path / "sd")).info.hash
    for weights in WEIGHTS.values():
        if "controlnet" not in weights:
            (tmp_path / "sd" / weights).unlink()
    said = refusal(file.rename(tmp_path / "sd" / file.name), control)  # as in its repository, where the config is known
    command = shlex.split(said[said.index("python -c") : said.index(" and give --model")])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, capture_output=True)
    assert load_components(str(tmp_path / file.stem), control).info.hash == expected


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("control.pth", "from diffusers import ControlNetModel as M; M.from_single_file("),
        ("notes.txt", "is a file: give a directory in diffusers format"),
    ],
)
def test_a_file_as_controlnet(tiny_model, tmp_path, name, says):
    (tmp_path / name).write_bytes(b"0")
    assert says in refusal(tiny_model, str(tmp_path / name))


def test_what_is_neither_a_directory_nor_a_hub_id(tiny_bundle, tmp_path):
    assert "is a URL: give a hub id" in refusal("https://huggingface.co/owner/name")
    assert "no such directory" in refusal(tmp_path / "nowhere")
    assert "is a bundle: give it as --bundle" in refusal(tiny_bundle)
