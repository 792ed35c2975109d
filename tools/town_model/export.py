"""Write the trained parts as a model directory, in half precision, with a model card."""

import csv
from pathlib import Path

import torch

from town_model.autoencoder import normalise, open_autoencoder
from town_model.data import EMPHASIS, open_scenes
from town_model.diffusion import open_diffusion
from town_model.settings import DOMAIN_CYCLE, DOMAIN_GUIDANCE, GUIDANCE, IMAGE_SIZE, WORDINGS, Settings
from town_model.training import State
from zodi.engines.components import quiet
from zodi.errors import OutputError
from zodi.town.parts import save_model


def export(out: Path, settings: Settings, directory: Path) -> None:
    """Export the moving averages of the last checkpoints; raises OutputError where a stage is missing."""
    quiet()
    device = torch.device("cpu")
    autoencoder = open_autoencoder(out, settings, device)
    diffusion, parts = open_diffusion(out, settings, device)
    for state in (autoencoder, diffusion):
        if state.is_random():
            raise OutputError(f"{state.path}: is missing: run --stage {state.path.parent.name} first")
        state.use_averages()
    parts["vae"] = autoencoder.modules["vae"]
    normalise(parts["vae"], out)
    zodi = {
        "image_size": IMAGE_SIZE,
        "guidance": GUIDANCE,
        "domain_guidance": DOMAIN_GUIDANCE,
        "words": list(settings.words),
    }
    save_model(parts, directory, zodi, dtype=torch.float16)
    (directory / "README.md").write_text(model_card(out, settings, autoencoder, diffusion), encoding="utf-8")
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    print(f"export: {directory}, {size / 2**20:.1f} MiB", flush=True)


def model_card(out: Path, settings: Settings, autoencoder: State, diffusion: State) -> str:
    """What the model was trained on, how long, how far, and what it cannot do."""
    sizes = {
        name: sum(p.numel() for p in module.parameters()) / 1e6
        for name, module in {**autoencoder.modules, **diffusion.modules}.items()
    }
    autoencoder_text = (
        f"{autoencoder.step} steps of {settings.autoencoder_batch} half-size crops, later of whole scenes, a\n"
        f"  quarter as many; the encoder the first {settings.encoder_steps} only; {last(out, 'autoencoder')}"
        if autoencoder.step
        else last(out, "autoencoder")
    )
    emphasis = (
        f"\n  In the end {EMPHASIS:.0%} of the scenes drawn were moved to {' and '.join(settings.emphasis)}."
        if settings.emphasis
        else ""
    )
    captions = "\n".join(f"| {domain} | {'; '.join(wordings)} |" for domain, wordings in WORDINGS.items())
    return f"""# town: the diffusion model that ships with zodi

A small model in Stable Diffusion's format with a ControlNet inside, trained from scratch by
`tools/train_town_model.py` on rendered scenes of `zodi.town`. It plays the part that Stable Diffusion plays in the
method: it has seen every domain, no scene in two of them.

| part | million parameters |
|---|---|
{chr(10).join(f"| {name} | {millions:.2f} |" for name, millions in sizes.items())}

- Images of 128x256; {settings.latent_channels} latent channels, {2 ** (len(settings.vae_channels) - 1)} times smaller.
- Data: {len(open_scenes(out))} scenes, seeds from 2^40 on, in turn {", ".join(DOMAIN_CYCLE)}.{emphasis}
  The label map in the `cityscapes` control colours is the ControlNet's input.
- Autoencoder: {autoencoder_text}.
- Diffusion: {diffusion.step} steps of {settings.diffusion_batch} scenes, noise prediction, min-SNR weights; UNet,
  ControlNet and text encoder together; {last(out, "diffusion")}.
- Hardware: a CPU or one GPU, bfloat16 autocast where it has that; Muon and AdamW, moving average (0.999).
- {settings.drop:.0%} of the captions were replaced by the negative or the empty one; default guidance {GUIDANCE:g},
  {", ".join(f"{scale:g} for {name}" for name, scale in DOMAIN_GUIDANCE.items())}.
- Last beta of the noise schedule: {settings.beta_end:g}; the rest is Stable Diffusion's.
{earlier(settings.start)}
| domain | captions, with and without ", best quality" |
|---|---|
{captions}

Limits: it knows the words of `zodi.json` and nothing but this street world; it is no use on photographs. Small objects,
flakes and lights are softer than in rendered scenes.
"""


def earlier(start: str) -> str:
    """What the card of the model says that this one was started from, one level deeper; nothing without one."""
    if not start:
        return ""
    facts = (Path(start) / "README.md").read_text(encoding="utf-8").partition("\n- ")[2].partition("\n\n")[0]
    deeper = "\n".join(f"  {line}" for line in f"- {facts}".splitlines())
    return f"- It was started from a model of the same sizes:\n{deeper}\n"


def last(out: Path, stage: str) -> str:
    """The last row of a stage's log in words, or where the weights are from if nothing was trained."""
    log = out / stage / "log.csv"
    rows = list(csv.DictReader(log.read_text(encoding="utf-8").splitlines())) if log.is_file() else []
    if not rows:
        return "as it was in the model that this one was started from"
    return ", ".join(f"{key} {float(rows[-1][key]):.4f}" for key in rows[-1] if key not in ("step", "minutes", "rate"))
