"""From the object in a checkpoint to the networks in it: unwrapped, flattened, prefixes stripped."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from padinv.checkpoints.container.allowlist import Persistent
from padinv.checkpoints.container.lazy_tensors import Refused, TensorRef
from padinv.checkpoints.container.unpickler import Opaque

MAX_DEPTH = 4
MAX_CONTAINERS = 20_000
MAX_MODULES = 2_000
MAX_ENTRIES = 500_000  # tensors and attributes of all networks together
MAX_NAMES = 8 << 20  # characters of the names of all tensors together
MAX_NAME = 1000  # characters of one name
MAX_LIST = 64  # entries of a list that are looked at: lists of networks are short, lists of numbers are not
_MIN_TENSORS = 4  # fewer tensors than this in a dictionary are not a network
# Parts of a name that wrappers put into it: data-parallel training, torch.compile, sharding, activation checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}


@dataclass(frozen=True)
class Network:
    """One state dict of a checkpoint.

    Attributes:
        path: where it lies in the file: 'g_ema', 'models.generator_smooth', '2'; '' for the file itself.
        tensors: parameter name -> tensor.
        unreadable: names of values that padinv does not read, where a tensor might be -> what they are.
        attributes: module name -> its plain attributes; only NVIDIA's pickles carry them.
        settings: constructor arguments that the file keeps beside the weights; only Hammer's do.
    """

    path: str
    tensors: dict[str, TensorRef] = field(repr=False)
    unreadable: dict[str, str] = field(default_factory=dict, repr=False)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def below(self, prefix: str) -> Network:
        """The part whose names begin with `prefix`, without it."""
        if not prefix:
            return self
        path = f"{self.path}.{prefix}" if self.path else prefix
        return Network(
            path.rstrip("."),
            _below(self.tensors, prefix),
            _below(self.unreadable, prefix),
            _below(self.attributes, prefix),
            self.settings,
        )


def _below(named: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in named.items() if k.startswith(prefix)}


class _Room:
    """How many entries, and characters of names, are left to look at: a small file can share one dictionary often."""

    def __init__(self) -> None:
        self.entries, self.names = MAX_ENTRIES, MAX_NAMES

    def take(self, entries: int, names: int = 0) -> None:
        self.entries -= entries
        self.names -= names
        if min(self.entries, self.names) < 0:
            raise Refused("is nested in a way that no checkpoint is")


def find_networks(root: Any) -> list[Network]:
    """Every state dict and every network object in a checkpoint, in the file's order.

    Raises:
        Refused: a structure that no checkpoint has.
    """
    settings = root.get("model_kwargs_init") if isinstance(root, dict) else None
    room = _Room()
    networks = []
    for path, value in _containers(root, room):
        if isinstance(value, Persistent):
            networks.append(_flatten(path, value, room))
            continue
        tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, TensorRef)}
        if len(tensors) >= _MIN_TENSORS:
            _check_names(tensors, room)
            unreadable = {k: v.what for k, v in value.items() if isinstance(k, str) and isinstance(v, Opaque)}
            role = path.rpartition(".")[2]
            own = settings.get(role) if isinstance(settings, dict) else None
            own = own if isinstance(own, dict) else {}
            networks.append(Network(path, _unwrapped(tensors), unreadable, settings=own))
    return networks


def find_tensors(root: Any, names: tuple[str, ...]) -> list[tuple[str, str, TensorRef]]:
    """(path of the dictionary, name, tensor) of every tensor near the root that has one of these names."""
    found = []
    for path, value in _containers(root, _Room()):
        if isinstance(value, dict):
            found += [(path, name, value[name]) for name in names if isinstance(value.get(name), TensorRef)]
    return found


def _check_names(tensors: dict[str, TensorRef], room: _Room) -> None:
    if any(len(name) > MAX_NAME for name in tensors):
        raise Refused("has a tensor with a name of unbelievable length")
    room.take(0, sum(map(len, tensors)))


def _containers(root: Any, room: _Room) -> Iterator[tuple[str, dict[Any, Any] | Persistent]]:
    """Dictionaries and network objects near the root, each once, whatever the file shares."""
    seen: set[int] = set()
    queue: deque[tuple[str, int, Any]] = deque([("", 0, root)])
    while queue:
        path, depth, value = queue.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if len(seen) > MAX_CONTAINERS:
            raise Refused("is nested in a way that no checkpoint is")
        if isinstance(value, (dict, Persistent)):
            yield path, value
        if depth < MAX_DEPTH:
            for key, entry in _entries(value, room):
                if isinstance(entry, (dict, Persistent, list, tuple)):
                    queue.append((f"{path}.{key}" if path else key, depth + 1, entry))


def _entries(value: Any, room: _Room) -> Iterator[tuple[str, Any]]:
    """Names and values of a dictionary, or of a short list; names that no network is called by are left out."""
    if isinstance(value, dict):
        room.take(len(value))
        yield from ((key, entry) for key, entry in value.items() if isinstance(key, str) and len(key) <= MAX_NAME)
    elif isinstance(value, (list, tuple)) and len(value) <= MAX_LIST:
        yield from ((str(index), entry) for index, entry in enumerate(value))


def _unwrapped(tensors: dict[str, TensorRef]) -> dict[str, TensorRef]:
    """Without what wrappers put into names, at their beginning or within: 'synthesis._orig_mod.b4.const'."""
    bare = {".".join(part for part in name.split(".") if part not in _WRAPPERS): ref for name, ref in tensors.items()}
    return bare if len(bare) == len(tensors) else tensors


def _flatten(path: str, top: Persistent, room: _Room) -> Network:
    """The state dict of a network object, with the plain attributes of its modules.

    Raises:
        Refused: modules nested in a way that no network has.
    """
    tensors: dict[str, TensorRef] = {}
    unreadable: dict[str, str] = {}
    attributes: dict[str, dict[str, Any]] = {}
    queue: deque[tuple[str, Persistent]] = deque([("", top)])
    visited = 0
    while queue:
        prefix, module = queue.popleft()
        visited += 1
        if visited > MAX_MODULES or len(prefix) > MAX_NAME:
            raise Refused("is nested in a way that no checkpoint is")
        entries = len(module.state) + sum(len(v) for v in module.state.values() if isinstance(v, dict))
        room.take(entries, len(prefix) * entries)
        plain = {k: v for k, v in module.state.items() if isinstance(k, str) and _is_plain(v)}
        attributes[prefix.rstrip(".")] = {**plain, "class_name": module.class_name}
        for group in ("_parameters", "_buffers"):
            for name, value in _members(module, group):
                if isinstance(value, TensorRef):
                    tensors[f"{prefix}{name}"] = value
                elif isinstance(value, Opaque):
                    unreadable[f"{prefix}{name}"] = value.what
        for name, child in _members(module, "_modules"):
            if isinstance(child, Persistent):
                queue.append((f"{prefix}{name}.", child))
    _check_names(tensors, room)
    return Network(path, tensors, unreadable, attributes)


def _members(module: Persistent, group: str) -> list[tuple[str, Any]]:
    members = module.state.get(group)
    if not isinstance(members, dict):
        return []
    return [(name, value) for name, value in members.items() if isinstance(name, str) and len(name) <= MAX_NAME]


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) < 200)
