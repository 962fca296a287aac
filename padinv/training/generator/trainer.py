"""Training a StyleGAN2 generator from photographs, small enough for a laptop.

The discriminator is the projected one (frozen SqueezeNet or EfficientNet-Lite0 features, hinge loss; see
`padinv.models.projected_discriminator`) or StyleGAN2's own (logistic loss with lazy R1). One generator pass a step
serves both players: the discriminator learns on the detached features, the generator then meets the improved heads on
the same features.
"""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from padinv.losses.adversarial import discriminator_loss, encoder_adversarial_loss, gradient_penalty, lazy_weight
from padinv.models.discriminator import Discriminator
from padinv.models.generator import Generator
from padinv.models.projected_discriminator import FeaturePyramid, Heads, load_maps
from padinv.runtime.errors import InputError
from padinv.training.augment import augment
from padinv.training.encoder.trainer import DivergenceError
from padinv.training.generator.balance import Balance
from padinv.training.generator.config import GanConfig
from padinv.training.generator.reconstruction import Autoencoding
from padinv.training.pictures import to_float
from padinv.training.weight_average import WeightAverage, half_life_decay

JUDGE_FIRST = 3_200  # images that a new discriminator learns from before a finished generator listens to it
BETAS = (0.0, 0.99)  # of both players' Adam
LR_E = 1e-3  # Adam's rate of the autoencoder's encoder


def _pyramid(config: GanConfig, features: Path | None) -> FeaturePyramid:
    maps = load_maps(config.backbone, features)
    if config.backbone == "efficientnet-lite0":
        return FeaturePyramid(maps, (64, 128, 256, 384), side=config.feature_side)
    return FeaturePyramid(maps)


class GanTrainer:
    """The two players, their optimisers and the random state: everything that a step changes.

    Args:
        config: the settings.
        pictures: uint8 [N, 3, R, R], RGB, the photographs.
        features: weights of the backbone for the projected discriminator; None: torch hub's cache, or the installed
            package of EfficientNet-Lite0.
        lpips: SqueezeNet 1.1 weights for the reconstruction term; None: `features` where the backbone is SqueezeNet,
            else torch hub's cache.
        device: where to train.

    Raises:
        InputError: pictures of another size, or feature weights that are missing or foreign.
    """

    def __init__(
        self,
        config: GanConfig,
        pictures: Tensor,
        features: Path | None,
        device: str = "cpu",
        *,
        lpips: Path | None = None,
    ) -> None:
        size = config.spec.resolution
        if pictures.dtype != torch.uint8 or pictures.shape[1:] != (3, size, size) or len(pictures) < config.batch:
            raise InputError(
                f"training a {size} px generator needs at least {config.batch} pictures of {size} px, "
                f"not an array of {list(pictures.shape)}"
            )
        self.config = config
        self.pictures = pictures
        self.device = torch.device(device)
        torch.manual_seed(config.seed)
        self.generator = Generator(config.spec).to(self.device).train()
        for layer in self.generator.layers:
            layer.noise_strength.requires_grad_(config.noise == "random")
        self._following = WeightAverage(self.generator, average_buffers=False)
        if config.discriminator == "projected":
            self.pyramid: FeaturePyramid | None = _pyramid(config, features).to(self.device)
            self.pyramid.calibrate(to_float(pictures[:64], self.device))
            heads = Heads(self.pyramid.widths, batch_norm=config.backbone == "efficientnet-lite0")
            self.judge: nn.Module = heads.to(self.device).train()
        else:
            self.pyramid = None
            self.judge = Discriminator(size, config.spec.channels).to(self.device).train()
        g_params = [p for p in self.generator.parameters() if p.requires_grad]
        self.opt_g = torch.optim.Adam(g_params, config.lr_g, betas=BETAS, eps=1e-8)
        self.opt_d = torch.optim.Adam(self.judge.parameters(), config.lr_d, betas=BETAS, eps=1e-8)
        self.autoencoding: Autoencoding | None = None
        if config.reconstruct > 0:
            squeeze = features if lpips is None and config.backbone == "squeezenet" else lpips
            self.autoencoding = Autoencoding(config.spec, squeeze).to(self.device).train()
            self.opt_e = torch.optim.Adam(self.autoencoding.encoder.parameters(), LR_E, betas=(0.9, 0.99), eps=1e-8)
        self.balance = Balance() if config.balance else None
        self.images_seen = 0
        self.generator_rests_until = 0
        self.rng = torch.Generator(device="cpu").manual_seed(config.seed + 1)

    @property
    def average(self) -> Generator:
        """The weight average of the generator, which is sampled and saved."""
        module = self._following.module
        assert isinstance(module, Generator)
        return module

    def _autocast(self) -> torch.autocast:
        """For forward passes; gradients are computed outside, in the types that these chose."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.mixed_precision == "bf16")

    # -- sampling ---------------------------------------------------------------------------------------------------

    def _fakes(self, n: int, codes: Tensor | None = None) -> Tensor:
        """n samples; where `codes` [M, z_dim] are given, the first M are made of these and not mixed."""
        spec = self.config.spec
        z = torch.randn(2, n, spec.z_dim, generator=self.rng).to(self.device)
        given = 0 if codes is None else len(codes)
        first = z[0] if codes is None else torch.cat([codes, z[0, given:]])
        w = self.generator.mapping(first)
        with torch.no_grad():  # the centre of W follows the batches (StyleGAN2's own rate)
            drawn = w if given == n else w[given:]
            self.generator.w_avg.lerp_(drawn.detach().float().mean(dim=0), 0.002)
        wp = self.generator.broadcast(w)
        mixed = torch.rand(n, generator=self.rng) < self.config.style_mixing
        mixed[:given] = False
        if bool(mixed.any()):
            cut = torch.randint(1, spec.num_layers, (n, 1), generator=self.rng)
            later = (torch.arange(spec.num_layers) >= cut) & mixed[:, None]
            other = self.generator.broadcast(self.generator.mapping(z[1]))
            wp = torch.where(later[:, :, None].to(self.device), other, wp)
        return self.generator.synthesis(wp, noise=self.config.noise)

    def _reals(self, n: int) -> Tensor:
        index = torch.randint(len(self.pictures), (n,), generator=self.rng)
        x = to_float(self.pictures[index], self.device)
        if self.config.flips:
            flip = torch.rand(n, generator=self.rng) < 0.5
            x = torch.where(flip[:, None, None, None].to(self.device), x.flip(3), x)
        return x

    def _augment(self, x: Tensor) -> Tensor:
        generator = self.rng if self.device.type == "cpu" else None
        return augment(x, generator)

    # -- steps ------------------------------------------------------------------------------------------------------

    def step(self) -> dict[str, float]:
        """One batch for both players.

        Returns:
            the losses, by name: 'g', 'd', and for 'stylegan2' sometimes 'r1'.

        Raises:
            DivergenceError: a loss is not finite; the message names it.
        """
        config = self.config
        alone = self.images_seen < config.reconstruct_first
        for group in self.opt_g.param_groups:  # momentum helps only where no discriminator answers back
            group["betas"] = (0.9, 0.99) if alone else BETAS
        if alone:
            losses = self._autoencoding_step()
        else:
            losses = self._projected_step() if self.pyramid is not None else self._classical_step()
        for name, value in losses.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"the {name!r} loss became {value} after {self.images_seen} images, so the training was stopped; "
                    "the last checkpoint is intact, try a lower rate"
                )
        if self.balance is not None and "acc" in losses:
            self._balance(losses["acc"])
        self.images_seen += config.batch
        self._follow()
        return losses

    @staticmethod
    def _accuracy(real: Tensor, fake: Tensor) -> float:
        """Share of logits with the right sign."""
        return float(((real > 0).float().mean() + (fake < 0).float().mean()) / 2)

    def _balance(self, accuracy: float) -> None:
        assert self.balance is not None
        self.balance.update(accuracy, self.config.batch)
        for optimiser, rate, scale in (
            (self.opt_g, self.config.lr_g, self.balance.scale_g),
            (self.opt_d, self.config.lr_d, self.balance.scale_d),
        ):
            for group in optimiser.param_groups:
                group["lr"] = rate * scale

    def _autoencoding_step(self) -> dict[str, float]:
        assert self.autoencoding is not None
        reals = self._reals(self.config.batch)
        with self._autocast():
            fakes = self._fakes(len(reals), self.autoencoding.codes(reals, self.rng))
            loss = self.autoencoding.loss(fakes.float(), reals)
        self.opt_g.zero_grad(set_to_none=True)
        self.opt_e.zero_grad(set_to_none=True)
        loss.backward()
        self.opt_g.step()
        self.opt_e.step()
        self.generator_rests_until = self.images_seen + self.config.batch + JUDGE_FIRST
        return {"rec": float(loss.detach())}

    def _projected_step(self) -> dict[str, float]:
        assert self.pyramid is not None
        n = self.config.batch
        rests = self.images_seen < self.generator_rests_until
        reals = self._reals(n)
        known = n // 2 if self.autoencoding is not None else 0
        with self._autocast():
            codes = None if self.autoencoding is None else self.autoencoding.codes(reals, self.rng)[:known]
            fakes = self._fakes(n, codes)
            fake_maps = self.pyramid(self._augment(fakes))
            with torch.no_grad():
                real_maps = self.pyramid(self._augment(reals))
            real = self.judge(real_maps)
            fake = self.judge([m.detach() for m in fake_maps])
            loss_d = F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        self.opt_d.zero_grad(set_to_none=True)
        loss_d.backward()
        self.opt_d.step()

        self.judge.requires_grad_(False)
        with self._autocast():
            total = loss_g = -self.judge(fake_maps).mean()
            if self.autoencoding is not None:
                loss_r = self.autoencoding.loss(fakes[:known].float(), reals[:known])
                total = loss_g + self.config.reconstruct * loss_r
        losses = {"g": float(loss_g.detach()), "d": float(loss_d.detach()), "acc": self._accuracy(real, fake)}
        if self.autoencoding is not None:
            losses["rec"] = float(loss_r.detach())
            self.opt_e.zero_grad(set_to_none=True)
        self.opt_g.zero_grad(set_to_none=True)
        total.backward()
        if not rests:
            self.opt_g.step()
        if self.autoencoding is not None:
            self.opt_e.step()
        self.judge.requires_grad_(True)
        return losses

    def _classical_step(self) -> dict[str, float]:
        n = self.config.batch
        losses = {}
        with self._autocast():
            fakes, reals = self._fakes(n), self._reals(n)
            fake, real = self.judge(self._augment(fakes.detach())), self.judge(self._augment(reals))
            loss_d = discriminator_loss(real, fake)
        self.opt_d.zero_grad(set_to_none=True)
        loss_d.backward()
        weight = lazy_weight(self.images_seen // n, self.config.r1_gamma, self.config.r1_interval)
        if weight > 0:
            penalty = gradient_penalty(self.judge, self._augment(reals))
            (weight * penalty).backward()
            losses["r1"] = float(penalty.detach())
        self.opt_d.step()

        self.judge.requires_grad_(False)
        with self._autocast():
            loss_g = encoder_adversarial_loss(self.judge(self._augment(fakes)))
        self.opt_g.zero_grad(set_to_none=True)
        loss_g.backward()
        self.opt_g.step()
        self.judge.requires_grad_(True)
        losses["acc"] = self._accuracy(real, fake)
        return {"g": float(loss_g.detach()), "d": float(loss_d.detach()), **losses}

    def _follow(self) -> None:
        """Move the weight average; early on its memory is a twentieth of the training so far."""
        half_life = min(self.config.ema_half_life, self.images_seen * 0.05)
        self._following.follow(self.generator, half_life_decay(self.config.batch, half_life))

    # -- files ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def finished_generator(self) -> Generator:
        """The averaged generator, its `w_avg` measured on 10,000 samples, in eval mode."""
        result = copy.deepcopy(self.average)
        result.measure_w_avg()
        return result.eval()

    @torch.no_grad()
    def samples(self, count: int, truncation: float = 1.0) -> Tensor:
        """Images of the averaged generator at seeds 0, 1, ...: float [count, 3, R, R] in [-1, 1]."""
        z = torch.randn(count, self.config.spec.z_dim, generator=torch.Generator().manual_seed(0)).to(self.device)
        parts = [self.average(part, truncation, noise="const") for part in z.split(32)]
        return torch.cat(parts).clamp(-1, 1)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs for a training that resumes as if it never stopped."""
        return {
            "images_seen": self.images_seen,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "judge": self.judge.state_dict(),
            "pyramid": None if self.pyramid is None else self.pyramid.state_dict(),
            "opt_g": self.opt_g.state_dict(),
            "opt_d": self.opt_d.state_dict(),
            "encoder": None if self.autoencoding is None else self.autoencoding.encoder.state_dict(),
            "opt_e": None if self.autoencoding is None else self.opt_e.state_dict(),
            "generator_rests_until": self.generator_rests_until,
            "balance": None if self.balance is None else self.balance.state_dict(),
            "rng": self.rng.get_state(),
            "torch_rng": torch.get_rng_state(),
        }

    def start_from(self, generator: Generator) -> None:
        """Begin with the weights of a finished generator of the same geometry.

        The discriminator is new. It trains alone for `JUDGE_FIRST` images, so that an untrained one does not degrade
        the generator.
        """
        for mine in (self.generator, self.average):
            mine.load_state_dict(generator.state_dict())
        self.generator_rests_until = self.images_seen + JUDGE_FIRST

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` of a trainer with the same networks; rates and averaging may differ."""
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.judge.load_state_dict(state["judge"])
        if self.pyramid is not None:
            # Checkpoints from before there was a choice of backbones call SqueezeNet's layers "features".
            renamed = {
                k.replace("features.", "maps.features.", 1) if k.startswith("features.") else k: v
                for k, v in state["pyramid"].items()
            }
            self.pyramid.load_state_dict(renamed)
        self.opt_g.load_state_dict(state["opt_g"])
        self.opt_d.load_state_dict(state["opt_d"])
        # Trainings from before this term, or without it, may resume with it: its encoder is then new.
        if self.autoencoding is not None and state.get("encoder") is not None:
            self.autoencoding.encoder.load_state_dict(state["encoder"])
            self.opt_e.load_state_dict(state["opt_e"])
        self.generator_rests_until = int(state.get("generator_rests_until", 0))
        # The optimisers' state comes along, the rates are this configuration's.
        for optimiser, rate in ((self.opt_g, self.config.lr_g), (self.opt_d, self.config.lr_d)):
            for group in optimiser.param_groups:
                group["lr"] = rate
        if self.balance is not None and state.get("balance") is not None:
            self.balance.load_state_dict(state["balance"])
        self.rng.set_state(state["rng"])
        torch.set_rng_state(state["torch_rng"])
        self.images_seen = int(state["images_seen"])
