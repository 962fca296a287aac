"""A pickle reader that cannot run code.

Python's own unpickler calls whatever a file names; this one is a small stack machine over the same format that builds
containers, numbers and texts itself, and hands every other request to an allow-list of inert constructors
(`allowlist.py`). No class is imported, nothing is called that this package did not write, and every size is checked
before memory is taken.
"""

from __future__ import annotations

import pickletools
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from padinv.checkpoints.container.lazy_tensors import Refused, Source, Span

MAX_TEXT = 1 << 22
MAX_DIGITS = 128
MAX_INT_BYTES = 64
MAX_ARGUMENTS = 64
MAX_KEY_PARTS = 64
MAX_KEY_TEXT = 200  # characters of a text within a tuple that serves as a key

# What operations and entries cost at most in memory, in bytes, as CPython 3.10 to 3.13 lay objects out.
OPERATION_COST = 56  # a number or a pair, and its place on the stack
MEMO_COST = 110
LIST_COST, ITEM_COST = 48, 10
DICT_COST, PAIR_COST = 240, 110
SET_COST, MEMBER_COST = 200, 80
SPAN_COST = 120

_OBJECT = 200  # an object of Python's with a dictionary of its own, or nearly
_WINDOW = 1 << 15
_KEY_TYPES = (str, int, float, bool, bytes, type(None))
_NAMES = {ord(op.code): op.name for op in pickletools.opcodes}
_STOP = ord(".")


class Constructor(Protocol):
    """What the allow-list gives for a name in the file."""

    def call(self, args: tuple[Any, ...], machine: Unpickler) -> Any:
        """The value of `name(*args)`."""

    def build(self, value: Any, state: Any, machine: Unpickler) -> Any:
        """`value` (made by `call`) after `__setstate__(state)`."""


@dataclass(frozen=True)
class Opaque:
    """A value that padinv does not read, and what it is; refused only where a weight should be."""

    what: str


class Marked:
    """A value whose maker wants to see its state when the file sets it."""

    __slots__ = ("maker", "value")

    def __init__(self, value: Any, maker: Constructor) -> None:
        self.value, self.maker = value, maker


class Unpickler:
    """Reads one pickle from a file.

    Args:
        source: the open file.
        start, length: where the pickle lies; it may end before `length` bytes are used up.
        find: (module, name) -> constructor or inert value; raises Refused for anything that is not allowed.
        persistent: the value of a persistent id; None where the format has none.
        nested: the storage in a torch file that lies within this pickle; None where there can be none.
    """

    def __init__(
        self,
        source: Source,
        start: int,
        length: int,
        find: Callable[[str, str], Any],
        persistent: Callable[[Any], Any] | None = None,
        nested: Callable[[Span], Any] | None = None,
    ) -> None:
        self.source, self.start, self.length = source, start, length
        self.find, self.persistent, self.nested = find, persistent, nested
        self.position = 0
        self.spend = source.budget.spend
        self._window, self._window_at = b"", 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    # -- reading

    def take(self, count: int) -> bytes:
        """The next `count` bytes.

        Raises:
            Refused: the pickle ends before.
        """
        piece = self._peek(count)
        self.position += count
        return piece

    def _peek(self, count: int) -> bytes:
        if count < 0 or self.position + count > self.length:
            raise Refused("is cut short")
        at = self.position - self._window_at
        if not 0 <= at <= len(self._window) - count:
            self._window_at, at = self.position, 0
            size = min(max(count, _WINDOW), self.length - self.position)
            self._window = self.source.read(self.start + self.position, size)
        return self._window[at : at + count]

    def number(self, form: str) -> int:
        result: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return result

    def line(self, limit: int) -> str:
        """The text up to the next line feed, which is skipped; at most `limit` bytes of it.

        Raises:
            Refused: there is no line feed.
        """
        limit = min(limit + 1, self.length - self.position)
        reach = min(limit, 256)
        while (end := self._peek(reach).find(b"\n")) < 0:
            if reach == limit:
                raise Refused("is damaged (a line in it has no end)")
            reach = min(limit, 8 * reach)  # the work stays in proportion to the line
        text = self.text(end)
        self.position += 1
        return text

    def text(self, size: int, encoding: str = "utf-8") -> str:
        if size > MAX_TEXT:
            raise Refused("holds a text of unbelievable length")
        text = str(self.take(size), encoding, "surrogatepass" if encoding == "utf-8" else "strict")
        self.spend(sys.getsizeof(text))
        return text

    def span(self, size: int) -> Span:
        """The next `size` bytes, left where they are."""
        if size < 0 or self.position + size > self.length:
            raise Refused("is cut short")
        self.spend(SPAN_COST)
        self.position += size
        return Span(self.source, self.start + self.position - size, size)

    # -- running

    def load(self) -> Any:
        """The value of the pickle; `end` then says where it ended.

        Raises:
            Refused: it asks for something that is not allowed, or is damaged.
        """
        handlers = _HANDLERS
        while True:
            self.spend(OPERATION_COST, 1)
            code = self.take(1)[0]
            if code == _STOP:
                if len(self.stack) != 1 or self.marks:
                    raise Refused("is damaged (its pickle does not end where it should)")
                return plain(self.stack.pop())
            handler = handlers.get(code)
            if handler is None:
                if code in _NAMES:
                    raise Refused(
                        f"uses the pickle operation {_NAMES[code]}, which no checkpoint needs; nothing was run"
                    )
                raise Refused("is damaged (its pickle holds an operation that does not exist)")
            handler(self)

    @property
    def end(self) -> int:
        """Position in the file just after the pickle."""
        return self.start + self.position

    def pop(self) -> Any:
        if not self.stack:
            raise Refused("is damaged (pickle stack underflow)")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise Refused("is damaged (pickle stack underflow)")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            raise Refused("is damaged (pickle stack underflow)")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def remember(self, key: int) -> None:
        if not 0 <= key < 1 << 63:
            raise Refused("is damaged (its memo is out of range)")
        self.spend(MEMO_COST)
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise Refused("is damaged (it refers to what is not there)")
        self.stack.append(self.memo[key])

    def reduce(self, maker: Any, args: Any) -> None:
        if not isinstance(args, tuple) or not callable(getattr(maker, "call", None)):
            raise Refused("is damaged (it calls what cannot be called)")
        if len(args) > MAX_ARGUMENTS:  # the file may ask for the same arguments again and again
            raise Refused("is damaged (it calls something with too many arguments)")
        self.spend(_OBJECT, len(args))
        made = maker.call(tuple(plain(a) for a in args), self)
        self.stack.append(made)

    def global_(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("is damaged (a name in it is no text)")
        self.spend(2 * _OBJECT)
        self.stack.append(self.find(module, name))

    def set_items(self, target: Any, items: list[Any]) -> None:
        target = plain(target)
        if isinstance(target, Opaque):
            return
        if type(target) is not dict or len(items) % 2:
            raise Refused("is damaged (it fills what is not a dictionary)")
        self.spend(PAIR_COST * (len(items) // 2) + (0 if target else DICT_COST))
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key, self.spend)] = plain(value)

    def extend(self, target: Any, items: list[Any]) -> None:
        target = plain(target)
        if isinstance(target, Opaque):
            return
        if type(target) is not list:
            raise Refused("is damaged (it appends to what is not a list)")
        self.spend(ITEM_COST * len(items) + (0 if target else LIST_COST))
        target.extend(plain(item) for item in items)

    def add_items(self, target: Any, items: list[Any]) -> None:
        target = plain(target)
        if type(target) is not set:
            raise Refused("is damaged (it adds to what is not a set)")
        self.spend(MEMBER_COST * len(items))
        target.update(check_key(item, self.spend) for item in items)


def plain(value: Any) -> Any:
    """A value without its maker's mark."""
    return value.value if isinstance(value, Marked) else value


def check_key(key: Any, spend: Callable[[int], None]) -> Any:
    """A dictionary key or set member that is cheap to look up.

    Tuples become texts: hashing nested ones can take for ever, and flat ones of equal hash are easy to make.

    Raises:
        Refused: neither a text nor a number, nor a short tuple of those.
    """
    key = plain(key)
    if isinstance(key, Span):
        spend(key.length + _OBJECT)
        key = key.bytes(4096)
    flat = key if type(key) is tuple else (key,)
    if len(flat) > MAX_KEY_PARTS or not all(type(k) in _KEY_TYPES for k in flat):
        raise Refused("uses something as a key that is neither a text nor a number")
    if any(type(k) is int and abs(k) >= 1 << 63 for k in flat):
        raise Refused("uses a number as a key that is too large")
    if flat is not key:
        return key
    if any(isinstance(k, (str, bytes)) and len(k) > MAX_KEY_TEXT for k in flat):
        raise Refused("uses a text as a key that is too long")
    text = repr(key)
    spend(len(text) + _OBJECT)
    return text


# -- one small function an operation


def _put(value: Callable[[Unpickler], Any]) -> Callable[[Unpickler], None]:
    def handler(m: Unpickler) -> None:
        made = value(m)  # may leave another stack behind, when it ends a mark
        m.stack.append(made)

    return handler


def _mark(m: Unpickler) -> None:
    m.spend(LIST_COST)
    m.marks.append(m.stack)
    m.stack = []


def _pop(m: Unpickler) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.pop_mark()


def _pop_mark(m: Unpickler) -> None:
    m.pop_mark()


def _long(m: Unpickler, size: int) -> int:
    if not 0 <= size <= MAX_INT_BYTES:
        raise Refused("holds a number of unbelievable size")
    return int.from_bytes(m.take(size), "little", signed=True)


def _text_int(m: Unpickler) -> int | bool:
    text = m.line(MAX_DIGITS)
    if text in ("00", "01"):
        return text == "01"
    return int(text.removesuffix("L"))


def _tuple(count: int) -> Callable[[Unpickler], None]:
    def handler(m: Unpickler) -> None:
        if len(m.stack) < count:
            raise Refused("is damaged (pickle stack underflow)")
        items = tuple(plain(v) for v in m.stack[len(m.stack) - count :])
        del m.stack[len(m.stack) - count :]
        m.stack.append(items)

    return handler


def _empty(m: Unpickler, kind: type, cost: int) -> Any:
    m.spend(cost)
    return kind()


def _list(m: Unpickler, item_cost: int = ITEM_COST, cost: int = LIST_COST) -> list[Any]:
    """What lies above the last mark."""
    items = m.pop_mark()
    m.spend(cost + item_cost * len(items))
    return [plain(v) for v in items]


def _dict(m: Unpickler) -> None:
    items = m.pop_mark()
    m.stack.append({})
    m.set_items(m.stack[-1], items)


def _global(m: Unpickler) -> None:
    module, name = m.line(1024), m.line(1024)
    m.global_(module, name)


def _stack_global(m: Unpickler) -> None:
    name, module = m.pop(), m.pop()
    m.global_(module, name)


def _reduce(m: Unpickler) -> None:
    args, maker = m.pop(), m.pop()
    m.reduce(maker, args)


def _inst(m: Unpickler) -> None:
    _global(m)
    maker = m.pop()
    m.reduce(maker, tuple(m.pop_mark()))


def _obj(m: Unpickler) -> None:
    maker, *args = m.pop_mark() or [None]
    m.reduce(maker, tuple(args))


def _newobj_ex(m: Unpickler) -> None:
    keywords, args, maker = m.pop(), m.pop(), m.pop()
    if keywords:
        raise Refused("is damaged (it makes an object in a way that no checkpoint does)")
    m.reduce(maker, args)


def _build(m: Unpickler) -> None:
    state = plain(m.pop())
    target = m.top()
    if isinstance(target, Marked):
        target.value = target.maker.build(target.value, state, m)
    elif not isinstance(target, (dict, Opaque)):  # a state dict's own attributes (`_metadata`) are of no use
        raise Refused("is damaged (it sets the state of what has none)")


def _persistent(m: Unpickler) -> None:
    if m.persistent is None:
        raise Refused("refers to data outside itself")
    m.stack.append(m.persistent(plain(m.pop())))


def _string(m: Unpickler) -> str:
    text = m.line(MAX_TEXT)
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise Refused("is damaged (a text in it has no end)")
    return text[1:-1]


_OPERATIONS: dict[bytes, Callable[[Unpickler], None]] = {
    b"\x80": lambda m: _check_protocol(m.number("<B")),
    b"\x95": lambda m: None if m.number("<Q") <= m.length else _cut(),
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": lambda m: m.stack.append(m.top()),
    b"N": _put(lambda m: None),
    b"\x88": _put(lambda m: True),
    b"\x89": _put(lambda m: False),
    b"I": _put(_text_int),
    b"L": _put(_text_int),
    b"F": _put(lambda m: float(m.line(MAX_DIGITS))),
    b"J": _put(lambda m: m.number("<i")),
    b"K": _put(lambda m: m.number("<B")),
    b"M": _put(lambda m: m.number("<H")),
    b"G": _put(lambda m: struct.unpack(">d", m.take(8))[0]),
    b"\x8a": _put(lambda m: _long(m, m.number("<B"))),
    b"\x8b": _put(lambda m: _long(m, m.number("<i"))),
    b"S": _put(_string),
    b"U": _put(lambda m: m.text(m.number("<B"), "latin-1")),
    b"T": _put(lambda m: m.text(m.number("<i"), "latin-1")),
    b"V": _put(lambda m: m.line(MAX_TEXT)),
    b"X": _put(lambda m: m.text(m.number("<I"))),
    b"\x8c": _put(lambda m: m.text(m.number("<B"))),
    b"\x8d": _put(lambda m: m.text(m.number("<Q"))),
    b"C": _put(lambda m: m.span(m.number("<B"))),
    b"B": _put(lambda m: m.span(m.number("<I"))),
    b"\x8e": _put(lambda m: m.span(m.number("<Q"))),
    b"\x96": _put(lambda m: m.span(m.number("<Q"))),
    b"]": _put(lambda m: _empty(m, list, LIST_COST)),
    b"}": _put(lambda m: _empty(m, dict, LIST_COST)),
    b")": _put(lambda m: ()),
    b"\x8f": _put(lambda m: _empty(m, set, SET_COST)),
    b"l": _put(_list),
    b"t": _put(lambda m: tuple(_list(m))),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"d": _dict,
    b"\x91": _put(lambda m: frozenset(check_key(v, m.spend) for v in _list(m, MEMBER_COST, SET_COST))),
    b"a": lambda m: (lambda item: m.extend(m.top(), [item]))(m.pop()),
    b"e": lambda m: (lambda items: m.extend(m.top(), items))(m.pop_mark()),
    b"s": lambda m: (lambda value, key: m.set_items(m.top(), [key, value]))(m.pop(), m.pop()),
    b"u": lambda m: (lambda items: m.set_items(m.top(), items))(m.pop_mark()),
    b"\x90": lambda m: (lambda items: m.add_items(m.top(), items))(m.pop_mark()),
    b"p": lambda m: m.remember(int(m.line(MAX_DIGITS))),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"g": lambda m: m.recall(int(m.line(MAX_DIGITS))),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _newobj_ex,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"Q": _persistent,
}


_HANDLERS = {code[0]: handler for code, handler in _OPERATIONS.items()}


def _check_protocol(version: int) -> None:
    if version > 5:
        raise Refused(f"is a pickle of version {version}, which this padinv does not read")


def _cut() -> None:
    raise Refused("is cut short")
