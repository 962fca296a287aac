"""One step of encoder training, and the state that a step changes (paper section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from padinv.losses.adversarial import discriminator_loss, encoder_adversarial_loss, gradient_penalty, lazy_weight
from padinv.losses.border import border_patches, patch_side
from padinv.losses.objective import Objective, loss_image
from padinv.models.discriminator import Discriminator
from padinv.models.encoder import Encoder
from padinv.models.generator import Generator
from padinv.models.passes import Latents, run_passes
from padinv.models.timm_encoder import TimmBody, import_timm
from padinv.runtime.errors import MismatchError, PadInvError, UsageError
from padinv.training.activation_checkpointing import checkpoint_blocks, encoder_blocks
from padinv.training.encoder.config import TrainConfig
from padinv.training.encoder.disturbed_padding import disturb_padding, keep_padding
from padinv.training.pictures import to_float
from padinv.training.weight_average import WeightAverage, ramped_decay


class DivergenceError(PadInvError):
    """A loss or gradient became infinite or not a number."""


def _add(sums: dict[str, Tensor], terms: Mapping[str, Tensor], parts: int) -> None:
    """Add the terms of one of `parts` passes to their means."""
    for name, value in terms.items():
        share = value.detach().float() / parts
        sums[name] = sums[name] + share if name in sums else share


def synchronised(encoder: Encoder) -> Encoder:
    """The encoder with batch statistics over all processes; timm has normalisations that only its own code converts."""
    convert: Any = nn.SyncBatchNorm.convert_sync_batchnorm
    if isinstance(encoder.body, TimmBody):
        convert = import_timm().layers.convert_sync_batchnorm
    converted: Encoder = convert(encoder)
    return converted


class EncoderTrainer:
    """Encoder, discriminator, their optimisers and the weight average.

    Args:
        config: the settings.
        generator: the generator to invert; frozen here.
        objective: the losses.
        accelerator: of HF accelerate: device, precision, processes.
        discriminator: trained along where `adv` has a weight.

    Raises:
        UsageError: `adv` has a weight and there is no discriminator.
    """

    def __init__(
        self,
        config: TrainConfig,
        generator: Generator,
        objective: Objective,
        accelerator: Accelerator,
        discriminator: Discriminator | None = None,
    ) -> None:
        if config.adv > 0 and discriminator is None:
            raise UsageError("the term 'adv' has a weight, but there is no discriminator")
        self.config = config
        self.accelerator = accelerator
        self.step_count = 0
        device = accelerator.device
        torch.manual_seed(config.seed)
        self.generator = generator.to(device).eval().requires_grad_(False)
        self.objective = objective.to(device)

        encoder = Encoder.from_generator(generator, config.encoder).to(device).train()
        if device.type == "cpu" or (device.type == "cuda" and (config.tf32 or config.mixed_precision != "no")):
            # Measured on faces64: SqueezeNet's max-pooling takes a third of the time, 64-channel convolutions gain too;
            # the generator loses by it. Tensor cores read this layout; float32 on CUDA does not use them.
            encoder.body.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if accelerator.num_processes > 1 and device.type == "cuda":
            encoder = synchronised(encoder)
        self.raw_encoder: Encoder = encoder
        if config.spatial:
            encoder.freeze_all_but_spatial()
        self.average: WeightAverage | None = None
        if config.ema > 0:
            self.average = WeightAverage(encoder, average_buffers=True)
        if config.checkpointing:
            checkpoint_blocks([*encoder_blocks(encoder), *generator.layers, *generator.to_rgb])
        self.synthesis = generator.synthesis
        if config.compile != "no":
            encoder.compile(backend=config.compile)
            self.synthesis = torch.compile(generator.synthesis, backend=config.compile)
        trained = [weight for weight in encoder.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)
        # The network whose gradients are exchanged between processes: the spatial encoder is trained on its own.
        network = encoder.spatial if config.spatial else encoder
        self.encoder, self.optimizer = accelerator.prepare(network, optimizer)

        self.raw_discriminator = discriminator if config.adv > 0 else None
        if self.raw_discriminator is not None:
            self.raw_discriminator = self.raw_discriminator.to(device).train().requires_grad_(True)
            # Lazy regularisation changes Adam's time scale (Karras et al. 2020, appendix B).
            interval = config.lazy_interval_d or config.r1_interval
            shrink = interval / (interval + 1) if interval > 1 else 1.0
            optimizer_d = torch.optim.Adam(
                self.raw_discriminator.parameters(),
                lr=config.lr_d * shrink,
                betas=(config.beta1_d**shrink, config.beta2_d**shrink),
                fused=True,
            )
            self.discriminator, self.optimizer_d = accelerator.prepare(self.raw_discriminator, optimizer_d)

    # -- measures ---------------------------------------------------------------------------------------------------

    @property
    def images_per_step(self) -> int:
        """Images of one step over all processes."""
        result: int = self.config.batch * self.config.accumulate * self.accelerator.num_processes
        return result

    @property
    def images_seen(self) -> int:
        """Training images so far, over all processes."""
        return self.step_count * self.images_per_step

    @property
    def evaluated_encoder(self) -> Encoder:
        """The encoder to evaluate and export: the weight average where there is one."""
        encoder = self.raw_encoder if self.average is None else self.average.module
        assert isinstance(encoder, Encoder)
        return encoder

    # -- steps ------------------------------------------------------------------------------------------------------

    def step(self, images: Tensor) -> dict[str, float]:
        """One step on this process's uint8 images [batch * accumulate, 3, S, S].

        Returns:
            the unweighted terms by name, averaged over processes, with 'total' and 'lr', and 'd' and 'r1' where a
            discriminator takes part. In several passes these are the last one's; the first one's are 'pix_pass1', ...

        Raises:
            DivergenceError: a term, or the gradient, is not finite; the caller should keep its last checkpoint.
        """
        config = self.config
        rate = config.rate_at(self.images_seen)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = images.split(config.batch)
        sums: dict[str, Tensor] = {}
        pairs: list[tuple[Tensor, Tensor]] = []
        for k, part in enumerate(parts):
            real = to_float(part, self.accelerator.device)
            fake, terms = self._reconstruct(real, last=k == len(parts) - 1, parts=len(parts))
            pairs.append((real, fake))
            _add(sums, terms, len(parts))
        if config.clip > 0:
            norm = self.accelerator.clip_grad_norm_(self.encoder.parameters(), config.clip)
            if self.accelerator.scaler is None:  # a scaler skips such steps itself
                sums["norm"] = torch.as_tensor(norm, device=self.accelerator.device)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.raw_discriminator is not None:
            sums |= self._discriminator_step(pairs)
        values = self._agreed(sums)  # the only moment of a step at which the processor waits for the device
        self._check(values)
        values.pop("norm", None)
        if self.average is not None:
            self._follow()
        self.step_count += 1
        return {**values, "lr": rate}

    def _reconstruct(self, real: Tensor, *, last: bool, parts: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Forward and backward of one of `parts` groups of images [N, 3, S, S], the `last` one or another.

        Each pass of an iterative encoder has its own loss and backward, so that one pass is in memory at a time.

        Returns:
            the last pass's reconstructions, without gradient, and its losses with their weighted sum as 'total';
            the terms of earlier passes are called pix_pass1, ...
        """
        passes = 1 if self.config.spatial else self.config.passes
        if self.config.spatial:
            found: Iterator[tuple[Latents, Tensor]] = iter([self._with_spatial(real)])
        else:
            found = run_passes(*self._networks(len(real)), real, passes)
        report: dict[str, Tensor] = {}
        for k in range(1, passes + 1):
            with self._gathering(self.encoder, last=last and k == passes):
                (wp, _, rings), output = next(found)
                fake = output.float()
                with self.accelerator.autocast():
                    terms = self._terms(fake, real, wp, rings)
                self.accelerator.backward(terms["total"] / (parts * passes))
            report |= terms if k == passes else {f"{name}_pass{k}": value for name, value in terms.items()}
        return fake.detach(), report

    def _networks(self, count: int) -> tuple[Callable[[Tensor, Tensor], Latents], Callable[..., Tensor]]:
        """Encoder and generator as `run_passes` calls them for `count` images; the generator gets disturbed padding."""
        config, autocast = self.config, self.accelerator.autocast
        # An image that loses its padding loses it in every pass.
        kept = keep_padding(count, config.padding_dropout, self.accelerator.device)

        def encode(image: Tensor, error: Tensor) -> Latents:
            with autocast():
                latents: Latents = self.encoder(image, error) if config.passes > 1 else self.encoder(image)
            return latents

        def synthesis(wp: Tensor, const: Tensor | None, rings: dict[int, Tensor] | None) -> Tensor:
            with autocast():
                output: Tensor = self.synthesis(wp, *disturb_padding(config, self.generator, const, rings, kept=kept))
            return output

        return encode, synthesis

    def _terms(self, fake: Tensor, real: Tensor, wp: Tensor, rings: dict[int, Tensor] | None) -> dict[str, Tensor]:
        """The losses of reconstructions, with their weighted sum as 'total'."""
        adversarial = None
        if self.raw_discriminator is not None:
            self.raw_discriminator.requires_grad_(False)
            # The bare module: DDP has nothing to synchronise while the discriminator is frozen.
            logits = Discriminator.forward(self.raw_discriminator, self._seen(fake))
            self.raw_discriminator.requires_grad_(True)
            adversarial = encoder_adversarial_loss(logits, self.config.adv_form)
        terms = self.objective.terms(fake, real, wp, self.raw_encoder.w_avg, adversarial, rings=rings)
        return {**terms, "total": self.objective.total(terms)}

    def _with_spatial(self, real: Tensor) -> tuple[Latents, Tensor]:
        """What the frozen encoder finds, and its reconstructions with the spatial code that is trained."""
        with self.accelerator.autocast():
            with torch.no_grad():
                latents: Latents = self.raw_encoder(real)
                shown = loss_image(self.synthesis(*latents), real.shape[-1])
            spatial = self.encoder(real, shown)
            return latents, loss_image(self.synthesis(*latents, spatial=spatial), real.shape[-1])

    def _discriminator_step(self, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Teach the discriminator the (real, reconstructed) images of this step."""
        config = self.config
        assert self.raw_discriminator is not None
        weight = lazy_weight(self.step_count, config.r1_gamma, config.r1_interval)
        sums: dict[str, Tensor] = {}
        for k, (real, fake) in enumerate((self._seen(a), self._seen(b)) for a, b in pairs):
            with self._gathering(self.discriminator, last=k == len(pairs) - 1):
                with self.accelerator.autocast():
                    loss = discriminator_loss(self.discriminator(real), self.discriminator(fake), config.adv_form)
                report = {"d": loss}
                if weight > 0:
                    bare = self.raw_discriminator
                    report["r1"] = gradient_penalty(partial(Discriminator.forward, bare), real)
                    loss = loss + weight * report["r1"]
                self.accelerator.backward(loss / len(pairs))
            _add(sums, report, len(pairs))
        self.optimizer_d.step()
        self.optimizer_d.zero_grad()
        return sums

    def _seen(self, image: Tensor) -> Tensor:
        """What the discriminator sees of images [N, 3, S, S]: all, or patches along the border."""
        whole = self.config.adv_view == "whole"
        return image if whole else border_patches(image, patch_side(image.shape[-1]))

    def _gathering(self, network: Any, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients add up in each process, and are exchanged at the last pass of a step."""
        return nullcontext() if last else self.accelerator.no_sync(network)

    def _follow(self) -> None:
        average = self.average
        assert average is not None
        decay = ramped_decay(self.config.ema, average.steps) if average.steps else 0.0
        average.follow(self.raw_encoder, decay)

    def _agreed(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """The terms as numbers, the same in every process."""
        stacked = torch.stack([value.detach().float() for value in terms.values()])
        if self.accelerator.num_processes > 1:
            stacked = self.accelerator.reduce(stacked, "mean")
        return dict(zip(terms, stacked.tolist(), strict=True))

    def _check(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                what = "the gradient's" if name == "norm" else "the loss term"
                raise DivergenceError(
                    f"{what} {name!r} became {value} after {self.images_seen} images, so the training stopped "
                    "and kept its last checkpoint; start again with a lower --lr or with --mixed-precision no"
                )

    # -- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything a step changes, for `load_state_dict`. Tensors stay where they are."""
        state: dict[str, Any] = {
            "step": self.step_count,
            "encoder": self.raw_encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }
        if scaler := self.accelerator.scaler:
            state["scaler"] = scaler.state_dict()
        if self.raw_discriminator is not None:
            state["discriminator"] = self.raw_discriminator.state_dict()
            state["optimizer_d"] = self.optimizer_d.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`.

        Raises:
            MismatchError: the state belongs to another configuration.
        """
        try:
            self.raw_encoder.load_state_dict(state["encoder"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            if self.raw_discriminator is not None:
                self.raw_discriminator.load_state_dict(state["discriminator"])
                self.optimizer_d.load_state_dict(state["optimizer_d"])
            self.step_count = int(state["step"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MismatchError(f"the checkpoint does not fit this training ({reason})") from error
