"""Every weight that a part needs comes from its file, or there is one line that names what does not."""

import json

import pytest
import torch
from models import OLD_ATTENTION, WEIGHTS, change_weights, copy
from safetensors.torch import load_file, save_file

from zodi.engines.components import load_components
from zodi.errors import ModelError

PARTS = list(WEIGHTS)
ONE = {  # a weight of each part
    "text_encoder": "encoder.layers.0.layer_norm1.bias",
    "unet": "conv_in.bias",
    "vae": "post_quant_conv.bias",
    "controlnet": "controlnet_mid_block.bias",
}


@pytest.fixture
def model(tiny_model, tmp_path):
    return copy(tiny_model, tmp_path / "model")


@pytest.fixture(scope="module")
def whole(tiny_model):
    return load_components(str(tiny_model)).info


def refusal(model) -> str:
    with pytest.raises(ModelError) as refused:
        load_components(str(model))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def key_of(tensors: dict, part: str) -> str:
    """The name of that one weight in a file."""
    return next(name for name in tensors if name.endswith(ONE[part]))


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_weight_is_named_with_its_file(model, part):
    change_weights(model, part, lambda tensors: {k: v for k, v in tensors.items() if k != key_of(tensors, part)})
    said = refusal(model)
    file = WEIGHTS[part].rpartition("/")[2]
    assert part in said and f"{file} lacks 1 of " in said and f"{ONE[part]})" in said and "fetch or save" in said


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("prefix", ["module.", "model.diffusion_model."])
def test_renamed_weights_are_told_by_their_prefix(model, part, prefix):
    change_weights(model, part, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    said = refusal(model)
    assert f"its keys start with {prefix!r}" in said and said.count(", ...") == 1


@pytest.mark.parametrize("part", PARTS)
def test_weights_of_something_else_are_refused(model, part):
    change_weights(model, part, lambda tensors: load_file(model / WEIGHTS["vae" if part != "vae" else "unet"]))
    said = refusal(model)
    assert " lacks " in said and "is of another model or format" in said


@pytest.mark.parametrize("part", PARTS)
def test_another_size_is_one_line(model, part):
    def cut(tensors):
        key = key_of(tensors, part)
        return tensors | {key: tensors[key][:-1]}

    change_weights(model, part, cut)
    said = refusal(model)
    assert part in said and f"{ONE[part]} is " in said and ", expected " in said and "has 1 of " in said


@pytest.mark.parametrize("part", PARTS)
def test_a_weight_that_nothing_uses_is_told_and_harmless(model, whole, part):
    change_weights(model, part, lambda tensors: tensors | {"lora.up": torch.ones(2)})
    told = []
    assert load_components(str(model), notify=told.append).info.hash == whole.hash
    assert len(told) == 1 and part in told[0] and "does not use (1): lora.up" in told[0]


def test_the_names_of_2022_load_without_a_word(model, whole):
    """As stable-diffusion-v1-5 has them: other names in the VAE's attention, position ids in the text encoder."""

    def rename(tensors):
        renamed = {}
        for name, tensor in tensors.items():
            for new, old in OLD_ATTENTION.items():
                name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
            renamed[name] = tensor
        assert renamed.keys() != tensors.keys()
        return renamed

    def add(tensors):
        prefix = "text_model." if any(name.startswith("text_model.") for name in tensors) else ""
        named = {f"text_model.{name.removeprefix(prefix)}": tensor for name, tensor in tensors.items()}
        return named | {"text_model.embeddings.position_ids": torch.arange(77)[None]}

    change_weights(model, "vae", rename)
    change_weights(model, "text_encoder", add)
    told = []
    assert load_components(str(model), notify=told.append).info.hash == whole.hash
    assert told == []


@pytest.mark.parametrize("part", PARTS)
def test_shards_that_lack_what_their_index_lists(model, whole, part):
    """diffusers believes the index, and leaves such weights on the meta device."""
    path = model / WEIGHTS[part]
    tensors, shard = load_file(path), path.name.replace(".safetensors", "-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, shard)}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
    path.unlink()
    save_file(tensors, path.with_name(shard), {"format": "pt"})
    assert load_components(str(model)).info.hash == whole.hash
    save_file({k: v for k, v in tensors.items() if k != key_of(tensors, part)}, path.with_name(shard), {"format": "pt"})
    said = refusal(model)
    assert f"{path.name}.index.json lacks 1 of " in said and ONE[part] in said


def test_nothing_is_exported_of_incomplete_weights(cli, model, tmp_path):
    change_weights(model, "text_encoder", lambda tensors: {f"module.{k}": v for k, v in tensors.items()})
    done = cli("export-engines", "--model", model, "--engine", "onnx", "--bundle", tmp_path / "bundle")
    assert done.status == 1 and "its keys start with 'module.'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "bundle").exists()


def test_the_user_sees_what_is_not_used(cli, model, street, tmp_path):
    change_weights(model, "controlnet", lambda tensors: tensors | {"extra.weight": torch.ones(2)})
    done = cli("transfer", "--root", street, "--model", model, "--steps", "4", "--limit", "1", "-o", tmp_path / "out")
    assert done.status == 0 and "does not use (1): extra.weight" in done.stderr


@pytest.mark.parametrize("pointer", [True, False])
def test_a_pointer_and_a_link_to_nothing_are_told_from_damage(model, pointer):
    path = model / WEIGHTS["unet"]
    path.unlink()
    if pointer:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3438167536\n")
    else:
        path.symlink_to("../.git/annex/objects/1")
    assert ("git lfs pull" if pointer else "is a link to ../.git/annex/objects/1") in refusal(model)
