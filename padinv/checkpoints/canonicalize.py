"""From the object in a checkpoint to the networks in it: unwrapped, flattened, prefixes stripped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from padinv.checkpoints.container.allowlist import Persistent
from padinv.checkpoints.container.lazy_tensors import Refused, TensorRef

MAX_DEPTH = 4
MAX_CONTAINERS = 20_000
MAX_MODULES = 2_000
MAX_ENTRIES = 500_000  # tensors and attributes of all modules together
_MIN_TENSORS = 4  # fewer tensors than this in a dictionary are no network
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Network:
    """One state dict of a checkpoint.

    Attributes:
        path: where it lies in the file: 'g_ema', 'models.generator_smooth'; '' for the file itself.
        tensors: parameter name -> tensor.
        attributes: module name -> its plain attributes; only NVIDIA's pickles carry them.
        settings: constructor arguments that the file keeps beside the weights; only Hammer's do.
    """

    path: str
    tensors: dict[str, TensorRef] = field(repr=False)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def below(self, prefix: str) -> Network:
        """The part whose names begin with `prefix`, without it."""
        if not prefix:
            return self
        tensors = {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}
        attributes = {k.removeprefix(prefix): v for k, v in self.attributes.items() if k.startswith(prefix)}
        path = f"{self.path}.{prefix}" if self.path else prefix
        return Network(path.rstrip("."), tensors, attributes, self.settings)


def find_networks(root: Any) -> list[Network]:
    """Every state dict and every network object in a checkpoint, in the file's order.

    Raises:
        Refused: a structure that no checkpoint has.
    """
    settings = root.get("model_kwargs_init") if isinstance(root, dict) else None
    networks = []
    for path, value in _containers(root):
        if isinstance(value, Persistent):
            networks.append(_flatten(path, value))
            continue
        tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, TensorRef)}
        if len(tensors) >= _MIN_TENSORS:
            role = path.rpartition(".")[2]
            own = settings.get(role) if isinstance(settings, dict) else None
            networks.append(Network(path, _strip(tensors), settings=own if isinstance(own, dict) else {}))
    return networks


def _containers(root: Any) -> Iterator[tuple[str, dict[Any, Any] | Persistent]]:
    """Dictionaries and network objects near the root, each once, whatever the file shares."""
    seen: set[int] = set()
    queue: deque[tuple[str, int, Any]] = deque([("", 0, root)])
    while queue:
        path, depth, value = queue.popleft()
        if isinstance(value, Persistent):
            yield path, value
            continue
        if not isinstance(value, dict) or id(value) in seen:
            continue
        if len(seen) >= MAX_CONTAINERS:
            raise Refused("is nested in a way that no checkpoint is")
        seen.add(id(value))
        yield path, value
        if depth < MAX_DEPTH:
            for key, entry in value.items():
                if isinstance(key, str) and isinstance(entry, (dict, Persistent)):
                    queue.append((f"{path}.{key}" if path else key, depth + 1, entry))


def _strip(tensors: dict[str, TensorRef]) -> dict[str, TensorRef]:
    """Without the prefixes that data-parallel training and torch.compile put before every name."""
    for _ in range(4):
        for wrapper in _WRAPPERS:
            if all(name.startswith(wrapper) for name in tensors):
                tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
    return tensors


def _flatten(path: str, top: Persistent) -> Network:
    """The state dict of a network object, with the plain attributes of its modules.

    Raises:
        Refused: modules nested in a way that no network has.
    """
    tensors: dict[str, TensorRef] = {}
    attributes: dict[str, dict[str, Any]] = {}
    queue: deque[tuple[str, Persistent]] = deque([("", top)])
    visited, left = 0, MAX_ENTRIES
    while queue:
        prefix, module = queue.popleft()
        visited += 1
        if visited > MAX_MODULES or len(prefix) > 1000:
            raise Refused("is nested in a way that no checkpoint is")
        entries = len(module.state) + sum(len(v) for v in module.state.values() if isinstance(v, dict))
        left -= entries
        if left < 0:
            raise Refused("is nested in a way that no checkpoint is")
        plain = {k: v for k, v in module.state.items() if isinstance(k, str) and _is_plain(v)}
        attributes[prefix.rstrip(".")] = {**plain, "class_name": module.class_name}
        for group in ("_parameters", "_buffers"):
            members = module.state.get(group)
            for name, value in members.items() if isinstance(members, dict) else ():
                if isinstance(value, TensorRef):
                    tensors[f"{prefix}{name}"] = value
        children = module.state.get("_modules")
        for name, child in children.items() if isinstance(children, dict) else ():
            if isinstance(child, Persistent):
                queue.append((f"{prefix}{name}.", child))
    return Network(path, tensors, attributes)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 200)
