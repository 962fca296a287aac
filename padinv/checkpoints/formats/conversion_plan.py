"""Plans: which tensor of a file becomes which weight of padinv's, checked by shape before anything is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from padinv.checkpoints.canonicalize import Network
from padinv.checkpoints.container.lazy_tensors import WEIGHT_TYPES, Refused, TensorRef

if TYPE_CHECKING:
    import torch

    from padinv.runtime.spec import ModelSpec

_FILTER = (1.0, 3.0, 3.0, 1.0)
MAX_FILTERS = 500


class Unsupported(Refused):
    """A network is of a kind that padinv knows but cannot use, and why."""


@dataclass(frozen=True)
class Piece:
    """One weight: the tensor it comes from and what is done to it, or what fills it.

    Attributes:
        shape: of the weight.
        ref: the tensor in the file; None where `fill` makes it.
        flip: mirror both spatial axes.
        offset: added to every element.
        fill: shape -> tensor, for weights that the file does not have.
    """

    shape: tuple[int, ...]
    ref: TensorRef | None = None
    flip: bool = False
    offset: float = 0.0
    fill: Callable[[tuple[int, ...]], torch.Tensor] | None = None

    def read(self, name: str) -> torch.Tensor:
        """The weight, float32, contiguous.

        Raises:
            Refused: not finite, or damaged.
        """
        import torch

        if self.ref is None:
            assert self.fill is not None
            return self.fill(self.shape)
        tensor = self.ref.read().to(torch.float32).reshape(self.shape)
        # The extremes are NaN or infinite if any value is, and take no memory, unlike isfinite().
        if tensor.numel() and not all(torch.isfinite(extreme) for extreme in torch.aminmax(tensor)):
            raise Refused(f"holds values that are not finite in {name}; it is of a training that broke")
        if self.flip:
            tensor = tensor.flip(2, 3)
        return tensor + self.offset if self.offset else tensor


class View:
    """A network's tensors, taken by name; remembers which were taken."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.network.tensors or name in self.network.unreadable

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises:
            Refused: there is none of that name.
        """
        if name in self.network.unreadable:
            what = self.network.unreadable[name]
            raise Refused(f"holds {what} where the tensor {name} belongs; padinv cannot read that")
        if name not in self.network.tensors:
            raise Refused(f"is not whole: its {self.network.path or 'network'} lacks the tensor {name}")
        return self.network.tensors[name].shape

    def kernel(self, name: str) -> tuple[int, int, int, int]:
        """(out, in, height, width) of a convolution's weight; a leading axis of one is left out.

        Raises:
            Refused: missing, or no convolution's weight.
        """
        found = self.shape(name)
        if len(found) == 5 and found[0] == 1:
            found = found[1:]
        if len(found) != 4:
            raise Refused(f"has a tensor {name} of shape {list(found)} where a convolution's weight belongs")
        return found  # type: ignore[return-value]

    def take(self, name: str, shape: tuple[int, ...], flip: bool = False, offset: float = 0.0) -> Piece:
        """The piece for a weight of `shape`; axes of length one may be there or not.

        Raises:
            Refused: missing, or of another shape.
        """
        found = self.shape(name)
        if tuple(n for n in found if n != 1) != tuple(n for n in shape if n != 1):
            raise Refused(f"has a tensor {name} of shape {list(found)} where {list(shape)} belongs")
        dtype = self.network.tensors[name].dtype
        if dtype not in WEIGHT_TYPES:
            raise Refused(f"holds numbers of type {dtype} in {name}, which no StyleGAN2 has")
        self.taken.add(name)
        return Piece(shape, self.network.tensors[name], flip, offset)

    def refuse_rest(self, ignore: Callable[[str], bool], what: str) -> None:
        """Refuse tensors that nothing asked for: the network is a variant, and would run differently.

        Raises:
            Unsupported: there are such tensors; one is named.
        """
        rest = [n for n in self.network.tensors if n not in self.taken and not ignore(n)]
        if rest:
            more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
            raise Unsupported(f"holds a variant of {what} that padinv does not know: it has a tensor {rest[0]}{more}")

    def check_filters(self, is_filter: Callable[[str], bool]) -> None:
        """Every resampling filter must be [1, 3, 3, 1]: padinv's layers have no other.

        Raises:
            Unsupported: another filter; it is named.
        """
        filters = [(name, ref) for name, ref in self.network.tensors.items() if is_filter(name)]
        if len(filters) > MAX_FILTERS:
            raise Unsupported(f"has {len(filters)} resampling filters, more than any StyleGAN2")
        for name, ref in filters:
            if not _is_usual_filter(ref):
                raise Unsupported(
                    f"resamples with a filter other than [1, 3, 3, 1] ({name}); padinv's layers have only that one"
                )


def _is_usual_filter(ref: TensorRef) -> bool:
    if ref.numel not in (4, 16) or ref.dtype not in WEIGHT_TYPES:
        return False
    values = [float(v) for v in ref.read().double().flatten()]
    total = sum(values)
    if not math.isfinite(total) or min(abs(total - gain) for gain in (1.0, 2.0, 4.0)) > 1e-2:
        return False
    taps = [v / sum(_FILTER) for v in _FILTER]
    wanted = taps if ref.numel == 4 else [a * b for a in taps for b in taps]
    return all(abs(v / total - w) < 1e-4 for v, w in zip(values, wanted, strict=True))


@dataclass
class GeneratorPlan:
    """A generator to be read: its geometry, its weights (without `w_avg`), and what is worth telling about it."""

    spec: ModelSpec
    pieces: dict[str, Piece]
    w_avg: Piece | None
    source: str
    path: str
    noise: str
    notes: list[str] = field(default_factory=list)

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of every weight but `w_avg`, one after the other."""
        return read_pieces(self.pieces)


@dataclass
class DiscriminatorPlan:
    """A discriminator to be read: constructor arguments and weights."""

    config: dict[str, Any]
    pieces: dict[str, Piece]
    path: str

    def weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name and tensor of every weight, one after the other."""
        return read_pieces(self.pieces)


def read_pieces(pieces: Mapping[str, Piece]) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and tensor of every piece, one after the other."""
    for name, piece in pieces.items():
        yield name, piece.read(name)


def count_numbers(pieces: Mapping[str, Piece], skip: tuple[str, ...] = ()) -> int:
    """Numbers in the pieces, those whose name ends with one of `skip` left out."""
    return sum(math.prod(p.shape) for name, p in pieces.items() if not name.endswith(skip or ("\0",)))
