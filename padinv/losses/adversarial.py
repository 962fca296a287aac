"""Adversarial terms for encoder and discriminator, in two forms.

'logistic' is the non-saturating form of StyleGAN2, which the paper's reference implementation uses; 'critic' is the
form printed in the paper (eq. 4 and 7). Both take the penalty `gamma / 2 * E ||grad D||^2` on real images (eq. 7
prints the norm without its square and the term with the wrong sign).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from padinv.runtime.errors import UsageError

FORMS = ("logistic", "critic")


def _check(form: str) -> None:
    if form not in FORMS:
        raise UsageError(f"the adversarial form is one of {', '.join(FORMS)}, not {form!r}")


def encoder_adversarial_loss(fake_logits: Tensor, form: str = "logistic") -> Tensor:
    """The term that the encoder minimises: E softplus(-D(x')), or -E D(x') as a critic. Logits [N, 1] -> scalar.

    Raises:
        UsageError: an unknown form.
    """
    _check(form)
    fake_logits = fake_logits.float()
    return F.softplus(-fake_logits).mean() if form == "logistic" else -fake_logits.mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, form: str = "logistic") -> Tensor:
    """What the discriminator minimises, without its penalty. Logits [N, 1] -> scalar.

    Raises:
        UsageError: an unknown form.
    """
    _check(form)
    real_logits, fake_logits = real_logits.float(), fake_logits.float()
    if form == "logistic":
        return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
    return fake_logits.mean() - real_logits.mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018) without its weight: E ||grad_x D(x)||^2 over real images [N, 3, S, S], in float32."""
    with torch.autocast(real.device.type, enabled=False), torch.enable_grad():
        real = real.detach().float().requires_grad_()
        (grad,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return grad.square().sum(dim=(1, 2, 3)).mean()


def lazy_weight(step: int, gamma: float, interval: int) -> float:
    """Weight of the gradient penalty at a step: `gamma / 2 * interval` at every interval-th step, else 0.

    An interval of 1 is the eager form, with gamma / 2 at every step.
    """
    return gamma / 2 * interval if step % interval == 0 else 0.0
