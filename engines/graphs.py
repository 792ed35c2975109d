"""The five graphs of `zodi.ports` as torch modules over the components of a diffusers model.

Each takes its ports as positional arguments, in the table's order, and returns a tuple.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zodi.engines.components import Components
from zodi.engines.group_norm import exact_group_norm, replace_group_norms


class TextEncoder(nn.Module):
    """token_ids (B, 77) -> hidden states (B, 77, D) after the last layer norm."""

    def __init__(self, text_encoder: Any) -> None:
        super().__init__()
        self.text_encoder = text_encoder

    def forward(self, token_ids: Tensor) -> tuple[Tensor]:
        return (self.text_encoder(token_ids)[0],)


class VaeEncoder(nn.Module):
    """image (B, 3, fh, fw) -> mean, logvar (B, 4, h, w); nothing is sampled here."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.encoder = vae.encoder
        self.quant_conv = vae.quant_conv or nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = torch.chunk(self.quant_conv(self.encoder(image)), 2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)  # the bounds of diffusers' DiagonalGaussianDistribution


class ControlHint(nn.Module):
    """layout (B, 3, fh, fw) in RGB -> hint (B, C, h, w), the part of the ControlNet that does not depend on time."""

    def __init__(self, embedding: nn.Module, channel_order: str) -> None:
        super().__init__()
        self.embedding = embedding
        self.flip = channel_order == "bgr"

    def forward(self, layout: Tensor) -> tuple[Tensor]:
        return (self.embedding(layout.flip(1) if self.flip else layout),)


class Denoiser(nn.Module):
    """UNet with the ControlNet's residuals: latents (N, 4, h, w) at timestep (N,) -> predicted noise (N, 4, h, w)."""

    def __init__(self, unet: Any, controlnet: Any) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet

    def forward(
        self, latents: Tensor, timestep: Tensor, text: Tensor, hint: Tensor, control_scale: Tensor
    ) -> tuple[Tensor]:
        down, mid = self.controlnet(
            latents, timestep, text, controlnet_cond=hint, conditioning_scale=control_scale, return_dict=False
        )
        noise = self.unet(
            latents,
            timestep,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )[0]
        return (noise,)


class VaeDecoder(nn.Module):
    """latents (B, 4, h, w) -> image (B, 3, fh, fw), about -1..1."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.post_quant_conv = vae.post_quant_conv or nn.Identity()

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        return (self.decoder(self.post_quant_conv(latents)),)


def build_graphs(components: Components) -> dict[str, nn.Module]:
    """The graphs by name, in evaluation mode. The ControlNet's condition embedding moves from it to control_hint.

    Group norms become exact ones: what PyTorch computes is what every other engine is compared with.
    """
    controlnet = components.controlnet
    hint = ControlHint(controlnet.controlnet_cond_embedding, controlnet.config.controlnet_conditioning_channel_order)
    controlnet.controlnet_cond_embedding = nn.Identity()
    controlnet.register_to_config(controlnet_conditioning_channel_order="rgb")
    modules: dict[str, nn.Module] = {
        "text_encoder": TextEncoder(components.text_encoder),
        "vae_encoder": VaeEncoder(components.vae),
        "control_hint": hint,
        "denoiser": Denoiser(components.unet, controlnet),
        "vae_decoder": VaeDecoder(components.vae),
    }
    for module in modules.values():
        module.eval().requires_grad_(False)
        replace_group_norms(module, exact_group_norm)
    return modules
