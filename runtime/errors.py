"""The exceptions padinv raises on purpose.

The library raises these and nothing is printed; `padinv.cli.main` turns each into one sentence and an exit code.
A message says what failed and where, what was not done, and how to fix it.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every verb."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    INTERRUPTED = 130


def exit_code(*, usable: int, failed: int) -> ExitCode:
    """The one rule of every verb.

    0: everything is there, or there was nothing to do; 3: something, but not everything; 1: nothing.
    """
    if failed and not usable:
        return ExitCode.FAILED
    return ExitCode.PARTLY if failed else ExitCode.DONE


class PadInvError(Exception):
    """Base of every error that padinv raises on purpose. Its message is one sentence meant for a person.

    Attributes:
        exit_code: of a command that fails with it.
        code: short name for programs, as --json prints it; a class has one, and an error may have a closer one.
    """

    exit_code = ExitCode.FAILED
    code = "error"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class UsageError(PadInvError):
    """The call itself is wrong: options that exclude each other, a value out of range."""

    code = "usage"
    exit_code = ExitCode.USAGE


class InputError(PadInvError):
    """A file that came from outside cannot be used: missing, corrupt, too large, of another kind.

    Its codes: missing, unreadable, empty, not-an-image, damaged, too-large, no-face; input where none of them fits.
    """

    code = "input"


class OutputError(PadInvError):
    """A result cannot be written where it was asked for."""

    code = "output"


class BundleError(PadInvError):
    """A model bundle is incomplete, changed since it was written, or not a bundle."""

    code = "model"


class HubError(PadInvError):
    """A model hub does not have what was asked for, cannot be reached, or sent something that was refused."""

    code = "hub"


class BackendError(PadInvError):
    """The asked backend (onnxruntime, CUDA, TensorRT) is missing or could not be initialised."""

    code = "backend"


class OutOfMemoryError(BackendError):
    """A backend ran out of memory; with a smaller batch it may work."""

    code = "out-of-memory"


class MismatchError(PadInvError):
    """Two things that must belong together do not: an inversion of another generator, shapes of another model."""

    code = "mismatch"


class ExportError(PadInvError):
    """A graph could not be made, or does not compute what torch computes."""

    code = "export"


class MissingPackageError(PadInvError):
    """An optional package is not installed.

    Args:
        package: the import name that failed.
        extra: the extra of padinv that brings it.
        what: what was asked for, as the subject of the sentence.
    """

    code = "missing-package"

    def __init__(self, package: str, extra: str, what: str) -> None:
        super().__init__(f"{what} needs the package '{package}'; install it with: pip install 'padinv[{extra}]'")
        self.package = package
        self.extra = extra


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on the CPU or a GPU: Python's, torch's, onnxruntime's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("can't allocate memory", "not enough memory", "CUDA out of memory", "bad_alloc")
    )
