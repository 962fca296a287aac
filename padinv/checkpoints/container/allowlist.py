"""The names that a checkpoint may ask for, and what padinv makes of each: tensors, arrays, plain containers.

Everything else is refused by name. Nothing here imports what the file names: `argparse.Namespace` and `EasyDict` become
dictionaries, a class of NVIDIA's becomes its name and its state, and the source code that NVIDIA's files carry is
dropped unread.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from padinv.checkpoints.container.lazy_tensors import (
    ITEM_BYTES,
    BytesSource,
    Literal,
    Refused,
    Span,
    Storage,
    TensorRef,
    contiguous_strides,
)
from padinv.checkpoints.container.unpickler import Marked, Unpickler, check_key, plain

STORAGE_TYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8",
}  # fmt: skip
_NUMPY_TYPES = {
    "f8": "float64", "f4": "float32", "f2": "float16",
    "i8": "int64", "i4": "int32", "i2": "int16", "i1": "int8", "u1": "uint8", "b1": "bool",
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
}
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
    if module == "torch" and (name in ITEM_BYTES or name in ("complex64", "complex128", "half", "float", "double")):
        return TypeName("dtype", {"half": "float16", "float": "float32", "double": "float64"}.get(name, name))
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
    raise Refused(
        f"asks for {_printable(module)}.{_printable(name)}, which is not among the tensors and containers that padinv "
        "reads; nothing of it was run, and nothing imported; save the networks' state_dict() instead"
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:60])


# -- constructors


class Simple:
    """A constructor without state: `make(args, machine)`."""

    def __init__(self, make: Callable[[tuple[Any, ...], Unpickler], Any]) -> None:
        self.make = make

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return self.make(args, machine)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        return value


class Dictionary:
    """Becomes a dict; its attributes and its items are the same thing."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return Marked(_as_dict(args), self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        if isinstance(state, tuple) and len(state) == 2:  # (attributes, slots)
            state = state[0]
        if isinstance(state, dict):
            value.update(state)
        return value


class Ordered:
    """OrderedDict and its like: a dict whose own attributes do not matter."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        return Marked(_as_dict(args), self)

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
            raise Refused("is damaged (an array's type is no type)")
        if code.startswith(">"):
            raise Refused("holds big-endian arrays, which padinv does not read")
        return Marked(NumpyType(code.lstrip("<|=")), self)

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            raise Refused("holds big-endian arrays, which padinv does not read")
        return value


def _as_dict(args: tuple[Any, ...]) -> dict[Any, Any]:
    """The dict of a constructor's arguments: none, another dict, or a list of pairs."""
    if not args or args[0] is None:
        return {}
    if isinstance(args[0], dict):
        return dict(args[0])
    if isinstance(args[0], (list, tuple)) and all(isinstance(p, (list, tuple)) and len(p) == 2 for p in args[0]):
        return {check_key(k): plain(v) for k, v in args[0]}
    raise Refused("is damaged (a dictionary in it is made of what is none)")


def _default_dict(args: tuple[Any, ...], machine: Unpickler) -> Any:
    return Marked(_as_dict(args[1:]), _ORDERED)


def _set(args: tuple[Any, ...], machine: Unpickler) -> set[Any] | frozenset[Any]:
    items = args[0] if args else ()
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise Refused("is damaged (a set in it is made of what is none)")
    return {check_key(item) for item in items}


def _encode(args: tuple[Any, ...], machine: Unpickler) -> bytes:
    """`_codecs.encode(text, 'latin1')`, the way that old pickles write bytes."""
    if len(args) != 2 or not isinstance(args[0], str) or args[1] not in ("latin1", "latin-1"):
        raise Refused("is damaged (bytes in it are made in a way that no pickle has)")
    machine.spend(len(args[0]))
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
    return Persistent(str(meta.get("class_name", ""))[:200], meta["state"])


def _int_tuple(value: Any) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or not all(type(n) is int for n in value):
        raise Refused("has a tensor whose shape is no shape")
    return tuple(value)


def _tensor(args: tuple[Any, ...], machine: Unpickler) -> TensorRef:
    """`_rebuild_tensor`, `_v2`, `_v3`: (storage, offset, size, stride, requires_grad, hooks, dtype?)."""
    if len(args) < 4 or not isinstance(args[0], Storage):
        raise Refused("is damaged (a tensor in it has no storage)")
    storage, offset, shape, stride = args[0], args[1], _int_tuple(args[2]), _int_tuple(args[3])
    dtype = storage.dtype
    if len(args) >= 7 and isinstance(args[6], TypeName) and args[6].kind == "dtype":
        dtype = args[6].name
        if dtype not in ITEM_BYTES:
            raise Refused(f"holds numbers of type {dtype}, which no StyleGAN2 has")
    return TensorRef(storage, dtype, offset, shape, stride)


def _first_tensor(args: tuple[Any, ...], machine: Unpickler) -> TensorRef:
    """`_rebuild_parameter(data, requires_grad, hooks)`: the data."""
    if not args or not isinstance(args[0], TensorRef):
        raise Refused("is damaged (a parameter in it is no tensor)")
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
        span = Span(BytesSource(span), 0, len(span))
    if not isinstance(span, Span):
        raise Refused("is damaged (a storage in it has no bytes)")
    if machine.nested is None:
        raise Refused("nests torch files in torch files, which no checkpoint does")
    return machine.nested(span)


def _numpy_type(dtype: Any) -> str:
    if not isinstance(dtype, NumpyType) or dtype.code not in _NUMPY_TYPES:
        raise Refused(f"holds an array of type {getattr(dtype, 'code', dtype)!s:.20}, which no StyleGAN2 has")
    return _NUMPY_TYPES[dtype.code]


def _array(data: Any, dtype: Any, shape: Any, fortran: bool, machine: Unpickler) -> TensorRef:
    name, sides = _numpy_type(dtype), _int_tuple(shape if isinstance(shape, (tuple, list)) else (shape,))
    span = Literal(data) if isinstance(data, bytes) else data
    if not isinstance(span, (Span, Literal)):
        raise Refused("is damaged (an array in it has no bytes)")
    storage = Storage(name, span.length // ITEM_BYTES[name])
    storage.bind(span)
    return TensorRef(storage, name, 0, sides, contiguous_strides(sides, fortran))


def _from_buffer(args: tuple[Any, ...], machine: Unpickler) -> TensorRef:
    """`numpy.core.numeric._frombuffer(bytes, dtype, shape, order)` of protocol 5."""
    if len(args) != 4:
        raise Refused("is damaged (an array in it has no contents)")
    return _array(args[0], args[1], args[2], args[3] == "F", machine)


def _scalar(args: tuple[Any, ...], machine: Unpickler) -> int | float | bool:
    if len(args) != 2 or not isinstance(args[0], NumpyType) or args[0].code not in _SCALAR_FORMS:
        raise Refused("is damaged (a number in it is none)")
    data = args[1].bytes(16) if isinstance(args[1], Span) else args[1]
    return struct.unpack("<" + _SCALAR_FORMS[args[0].code], data)[0]


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
