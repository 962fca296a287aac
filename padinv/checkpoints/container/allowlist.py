"""The names that a checkpoint may ask for, and what padinv makes of each: tensors, arrays, plain containers.

Nothing here imports what the file names: `argparse.Namespace` and `EasyDict` become dictionaries, a class of NVIDIA's
becomes its name and its state, and the source code that NVIDIA's files carry is dropped unread. Values that are not
part of a network (paths, dates, a project's own configuration, numbers that no StyleGAN2 has) become `Opaque`: they do
not stand in the way of a good file. Functions and classes of Python itself and of torch are refused by name.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from padinv.checkpoints.container.lazy_tensors import (
    ITEM_BYTES,
    MAX_DIMENSIONS,
    BytesSource,
    Literal,
    Refused,
    Span,
    Storage,
    TensorRef,
    contiguous_strides,
)
from padinv.checkpoints.container.unpickler import (
    DICT_COST,
    MEMBER_COST,
    PAIR_COST,
    SET_COST,
    Marked,
    Opaque,
    Unpickler,
    check_key,
    plain,
)
from padinv.runtime.text import printable

STORAGE_TYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8",
    "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
}  # fmt: skip
_DTYPES = {name: name for name in ITEM_BYTES} | {"half": "float16", "float": "float32", "double": "float64"}
_NUMPY_TYPES = {
    "f8": "float64", "f4": "float32", "f2": "float16",
    "i8": "int64", "i4": "int32", "i2": "int16", "i1": "int8", "u1": "uint8", "b1": "bool",
    "u8": "uint64", "u4": "uint32", "u2": "uint16", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_SCALAR_FORMS = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b",
                 "u8": "Q", "u4": "I", "u2": "H", "u1": "B", "b1": "?"}  # fmt: skip
_DICTIONARIES = {
    ("argparse", "Namespace"),
    ("easydict", "EasyDict"),
    ("dnnlib.util", "EasyDict"),
    ("dnnlib", "EasyDict"),
    # Training statistics of Hammer, which its files may carry beside the weights.
    ("runners.utils.running_stats", "SingleStats"),
    ("types", "SimpleNamespace"),
}
# Classes of Python's own that hold values and do nothing.
_INERT_STANDARD = {
    "pathlib": None, "pathlib._local": None, "datetime": None, "decimal": None, "fractions": None, "uuid": None,
    "enum": None, "array": None, "random": {"Random"}, "collections": {"deque", "ChainMap", "UserDict"},
    "builtins": {"slice", "range", "complex", "bytearray", "bytes", "tuple"},
    "logging": {"Logger", "getLogger"}, "typing": None, "functools": set(), "re": set(),
}  # fmt: skip
_TENSOR_COST, _STORAGE_COST = 400, 800
_TENSORFLOW = ("dnnlib.tflib", "tensorflow", "tfutil", "training.networks_progan")


@dataclass(frozen=True)
class TypeName:
    """A type as a value: a storage class, a torch dtype, a class passed as an argument."""

    kind: str  # 'storage', 'dtype', 'class'
    name: str


@dataclass(frozen=True)
class NumpyType:
    """A numpy dtype: 'f4' and its like."""

    code: str


@dataclass
class Persistent:
    """An object of a class whose source NVIDIA's files carry: the class's name and the object's attributes."""

    class_name: str
    state: dict[str, Any] = field(repr=False)


def find(module: str, name: str) -> Any:
    """The constructor or inert value that stands for `module.name`.

    Raises:
        Refused: the name is not on the list; the message names it.
    """
    if module == "torch" and name in STORAGE_TYPES:
        return TypeName("storage", STORAGE_TYPES[name])
    if module in ("torch.cuda", "torch.storage") and name in STORAGE_TYPES:
        return TypeName("storage", STORAGE_TYPES[name])
    if module == "torch" and name in _DTYPES:
        return TypeName("dtype", _DTYPES[name])
    if (module, name) in _DICTIONARIES:
        return _DICTIONARY
    maker = _CONSTRUCTORS.get((module.replace("numpy._core", "numpy.core"), name))
    if maker is not None:
        return maker
    if module.startswith(_TENSORFLOW):
        raise Refused(
            "is a network of the TensorFlow StyleGAN repositories: recognised, not supported, because TensorFlow "
            "pickles have another layout; convert it with legacy.py of NVIDIA's stylegan2-ada-pytorch first"
        )
    if _is_inert(module, name):
        return OpaqueMaker(f"{_printable(module)}.{_printable(name)}")
    raise Refused(
        f"asks for {_printable(module)}.{_printable(name)}, which is not among the tensors and containers that padinv "
        "reads; nothing of it was run, and nothing imported; save the networks' state_dict() instead"
    )


def _is_inert(module: str, name: str) -> bool:
    """Whether `module.name` may stand for a value that is left unread: nothing is imported or run in either case.

    Functions and classes of Python's own and of torch are not such values: a file that asks for them is an attack, or
    holds a whole network object whose weights would silently be missing.
    """
    top = module.split(".")[0]
    if top in ("torch", "torchvision"):
        rebuilt = module == "torch._utils" and name.startswith("_rebuild_") and name.isidentifier()
        return rebuilt or (module, name) == ("torch.serialization", "_get_layout")
    allowed = _INERT_STANDARD.get("builtins" if module == "__builtin__" else module, set())
    if allowed is None or name in allowed:
        return name.isidentifier()
    return not (top in sys.stdlib_module_names or top in ("__builtin__", "posix", "nt", "copy_reg"))


def _printable(text: str) -> str:
    return printable(text[:60])


# -- constructors


class Simple:
    """A constructor without state: `make(args, machine)`."""

    def __init__(self, make: Callable[[tuple[Any, ...], Unpickler], Any]) -> None:
        self.make = make

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return self.make(args, machine)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        return value


class OpaqueMaker:
    """Makes `Opaque` of whatever arguments and state the file gives."""

    def __init__(self, what: str) -> None:
        self.value = Opaque(f"a {what}")

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        machine.spend(DICT_COST)
        return Marked(self.value, self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        return value


class Dictionary:
    """Becomes a dict; its attributes and its items are the same thing."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return Marked(_as_dict(args, machine), self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = state[0]
        if isinstance(state, dict):
            machine.spend(PAIR_COST * len(state), len(state))
            value.update(state)
        return value


class Ordered:
    """OrderedDict and its like: a dict whose own attributes do not matter."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return Marked(_as_dict(args, machine), self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        return value


class NumpyArray:
    """`_reconstruct` makes an empty array; the state brings type, shape and bytes."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return Marked(None, self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("is damaged (an array in it has no contents)")
        _, shape, dtype, fortran, data = state
        return _array(data, dtype, shape, bool(fortran), machine)


class NumpyDtype:
    """`dtype('f4', ...)` and the state that brings its byte order."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        code = args[0] if args else None
        if isinstance(code, NumpyType):
            return code
        if not isinstance(code, str):
            raise Refused("is damaged (an array's type is not a type)")
        machine.spend(DICT_COST)
        return Marked(NumpyType(code[:20].lstrip("<|=")), self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            return NumpyType(f">{value.code.lstrip('>')}")
        return value


def _as_dict(args: tuple[Any, ...], machine: Unpickler) -> dict[Any, Any]:
    """The dict of a constructor's arguments: none, another dict, or a list of pairs.

    The file may give the same argument to many constructors, so every copy is accounted for.
    """
    machine.spend(DICT_COST)
    if not args or args[0] is None:
        return {}
    if isinstance(args[0], (dict, list, tuple)):
        machine.spend(PAIR_COST * len(args[0]), len(args[0]))
    if isinstance(args[0], dict):
        return dict(args[0])
    if isinstance(args[0], (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in args[0]):
        return {check_key(k, machine.spend): plain(v) for k, v in args[0]}
    raise Refused("is damaged (a dictionary in it is made of something else)")


def _default_dict(args: tuple[Any, ...], machine: Unpickler) -> Any:
    return Marked(_as_dict(args[1:], machine), _ORDERED)


def _set(args: tuple[Any, ...], machine: Unpickler) -> set[Any] | frozenset[Any]:
    items = args[0] if args else ()
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise Refused("is damaged (a set in it is made of something else)")
    machine.spend(SET_COST + MEMBER_COST * len(items), len(items))
    return {check_key(item, machine.spend) for item in items}


def _encode(args: tuple[Any, ...], machine: Unpickler) -> bytes:
    """`_codecs.encode(text, 'latin1')`, the way that old pickles write bytes."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        raise Refused("is damaged (bytes in it are made in a way that no pickle has)")
    machine.spend(len(args[0]) + 64, len(args[0]) >> 8)
    return args[0].encode("latin-1")


def _reconstructor(args: tuple[Any, ...], machine: Unpickler) -> Any:
    """`copyreg._reconstructor(cls, base, state)`: an object of `cls`, as old protocols write it."""
    if len(args) != 3 or not callable(getattr(args[0], "call", None)):
        raise Refused("is damaged (it makes an object of no class)")
    return args[0].call(() if not isinstance(args[2], dict) else (args[2],), machine)


def _persistent_object(args: tuple[Any, ...], machine: Unpickler) -> Persistent:
    meta = args[0] if args else None
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise Refused("is damaged (an object in it has no state)")
    name = meta.get("class_name")  # of any kind: a text made of a nested list could take for ever
    return Persistent(name[:200] if isinstance(name, str) else "", meta["state"])


def _int_tuple(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        raise Refused("has a tensor whose shape makes no sense")
    if len(value) > MAX_DIMENSIONS:
        raise Refused(f"has a tensor of {len(value)} dimensions, which no network has")
    if not all(type(n) is int for n in value):
        raise Refused("has a tensor whose shape makes no sense")
    return tuple(value)


def _tensor(args: tuple[Any, ...], machine: Unpickler) -> TensorRef:
    """`_rebuild_tensor`, `_v2`, `_v3`: (storage, offset, size, stride, requires_grad, hooks, dtype?)."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise Refused("is damaged (a tensor in it has no storage)")
    storage, offset, shape, stride = args[0], args[1], _int_tuple(args[2]), _int_tuple(args[3])
    dtype = storage.dtype
    if len(args) >= 7 and isinstance(args[6], TypeName) and args[6].kind == "dtype":
        dtype = args[6].name
    machine.spend(_TENSOR_COST)
    return TensorRef(storage, dtype, offset, shape, stride)


def _first_tensor(args: tuple[Any, ...], machine: Unpickler) -> TensorRef | Opaque:
    """`_rebuild_parameter(data, requires_grad, hooks)`: the data."""
    if not args or not isinstance(args[0], (TensorRef, Opaque)):
        raise Refused("is damaged (a parameter in it is not a tensor)")
    return args[0]


def _typed_tensor(args: tuple[Any, ...], machine: Unpickler) -> Any:
    """`_rebuild_from_type_v2(function, type, args, state)`: what the function makes."""
    if len(args) < 3 or not isinstance(args[2], tuple) or not callable(getattr(args[0], "call", None)):
        raise Refused("is damaged (a tensor in it has no maker)")
    return args[0].call(args[2], machine)


def _load_from_bytes(args: tuple[Any, ...], machine: Unpickler) -> Storage:
    """A storage inside a plain pickle: a torch file of its own within a run of bytes."""
    span = args[0] if args else None
    if isinstance(span, bytes):
        span = Span(BytesSource(span, machine.source), 0, len(span))
    if not isinstance(span, Span):
        raise Refused("is damaged (a storage in it has no bytes)")
    if machine.nested is None:
        raise Refused("nests torch files in torch files, which no checkpoint does")
    machine.spend(_STORAGE_COST, 100)
    result: Storage = machine.nested(span)
    return result


def _array(data: Any, dtype: Any, shape: Any, fortran: bool, machine: Unpickler) -> TensorRef | Opaque:
    if not isinstance(dtype, NumpyType):
        raise Refused("is damaged (an array's type is not a type)")
    machine.spend(_TENSOR_COST + _STORAGE_COST)
    if dtype.code not in _NUMPY_TYPES:  # texts, dates, objects, big-endian numbers
        return Opaque(f"an array of type {_printable(dtype.code[:20])}")
    name, sides = _NUMPY_TYPES[dtype.code], _int_tuple(shape if isinstance(shape, (tuple, list)) else (shape,))
    span = Literal(data, machine.source.budget) if isinstance(data, bytes) else data
    if not isinstance(span, (Span, Literal)):
        raise Refused("is damaged (an array in it has no bytes)")
    storage = Storage(name, span.length // ITEM_BYTES[name])
    storage.bind(span)
    return TensorRef(storage, name, 0, sides, contiguous_strides(sides, fortran))


def _from_buffer(args: tuple[Any, ...], machine: Unpickler) -> TensorRef | Opaque:
    """`numpy.core.numeric._frombuffer(bytes, dtype, shape, order)` of protocol 5."""
    if len(args) != 4:
        raise Refused("is damaged (an array in it has no contents)")
    return _array(args[0], args[1], args[2], args[3] == "F", machine)


def _scalar(args: tuple[Any, ...], machine: Unpickler) -> int | float | bool | Opaque:
    if len(args) != 2 or not isinstance(args[0], NumpyType):
        raise Refused("is damaged (a number in it is not one)")
    form = _SCALAR_FORMS.get(args[0].code)
    if form is None:
        return Opaque(f"a number of type {_printable(args[0].code[:20])}")
    data = args[1].bytes(16) if isinstance(args[1], Span) else args[1]
    result: int | float | bool | Opaque = struct.unpack("<" + form, data)[0]
    return result


def _text(args: tuple[Any, ...], machine: Unpickler) -> str:
    return ":".join(str(a)[:40] for a in args if isinstance(a, (str, int)))


def _size(args: tuple[Any, ...], machine: Unpickler) -> tuple[int, ...]:
    return _int_tuple(args[0]) if args else ()


_DICTIONARY = Dictionary()
_ORDERED = Ordered()
_NUMPY_ARRAY = NumpyArray()
_CONSTRUCTORS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ORDERED,
    ("collections", "Counter"): _ORDERED,
    ("collections", "defaultdict"): Simple(_default_dict),
    ("torch._utils", "_rebuild_tensor"): Simple(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Simple(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Simple(_tensor),
    ("torch._utils", "_rebuild_parameter"): Simple(_first_tensor),
    ("torch._utils", "_rebuild_parameter_with_state"): Simple(_first_tensor),
    ("torch._tensor", "_rebuild_from_type_v2"): Simple(_typed_tensor),
    ("torch.storage", "_load_from_bytes"): Simple(_load_from_bytes),
    ("torch", "Size"): Simple(_size),
    ("torch", "device"): Simple(_text),
    ("torch", "Generator"): OpaqueMaker("torch.Generator"),
    ("torch._C", "Generator"): OpaqueMaker("torch.Generator"),
    ("torch.torch_version", "TorchVersion"): Simple(_text),
    ("torch", "Tensor"): TypeName("class", "Tensor"),
    ("torch.nn.parameter", "Parameter"): TypeName("class", "Parameter"),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Simple(_persistent_object),
    ("numpy.core.multiarray", "_reconstruct"): _NUMPY_ARRAY,
    ("numpy.core.multiarray", "scalar"): Simple(_scalar),
    ("numpy.core.numeric", "_frombuffer"): Simple(_from_buffer),
    ("numpy", "ndarray"): TypeName("class", "ndarray"),
    ("numpy", "dtype"): NumpyDtype(),
    ("_codecs", "encode"): Simple(_encode),
    ("copyreg", "_reconstructor"): Simple(_reconstructor),
    ("copy_reg", "_reconstructor"): Simple(_reconstructor),
}
for _module in ("builtins", "__builtin__"):
    _CONSTRUCTORS[_module, "set"] = Simple(_set)
    _CONSTRUCTORS[_module, "frozenset"] = Simple(_set)
    for _kind in ("object", "dict", "list", "int", "float", "str", "bool"):
        _CONSTRUCTORS[_module, _kind] = TypeName("class", _kind)
