"""Every installed backend of a bundle: parity, speed, threads, devices, and what is refused."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from padinv.export.parity import Reference
from padinv.export.verify.checks import CheckError, Checks, Figures, NotHereError, expect
from padinv.export.verify.comparing import images_per_second, parity, parity_line, speed_line
from padinv.runtime.backends import PRECISIONS, Session, get_backend, open_session, run_held
from padinv.runtime.bundle import Bundle
from padinv.runtime.errors import BackendError, BundleError, MismatchError, PadInvError, UsageError
from padinv.runtime.passes import encoder_feeds

HALF_GRAPHS = ("fp16",)


class Opened:
    """Sessions of one backend, each opened once: opening one on a GPU can mean seconds of tuning.

    Args:
        bundle: the model.
        half: where its float16 graphs are, which may have been exported for this run.
        name: of the backend.
    """

    def __init__(self, bundle: Bundle, half: Bundle, name: str) -> None:
        self.bundle, self.half, self.name = bundle, half, name
        self._sessions: dict[tuple[str, str], Session] = {}

    def __call__(self, graph: str, precision: str = "fp32") -> Session:
        """The session of a graph.

        Raises:
            NotHereError: this bundle or this device has nothing for that precision, which does not count as a failure.
        """
        if (graph, precision) not in self._sessions:
            bundle = self.half if precision in HALF_GRAPHS else self.bundle
            self._sessions[graph, precision] = _open(bundle, graph, self.name, precision)
        return self._sessions[graph, precision]


def check_backend(checks: Checks, opened: Opened, expected: Reference, seconds: float) -> None:
    """All checks of one backend that is installed."""
    bundle, name = opened.bundle, opened.name

    def initializes() -> tuple[str, Figures]:
        session = opened("generator")
        if session.backend != name:
            raise CheckError(f"runs on {session.backend} instead")
        return "opens the generator", {}

    if not checks.run("backends", f"{name}: initializes", initializes):
        return  # nothing else could succeed, and one sentence is enough
    for precision in get_backend(name).precisions:

        def accuracy(precision: str = precision) -> tuple[str, Figures]:
            found = parity(expected, lambda graph: opened(graph, precision), precision, name)
            return parity_line(found), {"parity": found}

        if checks.run("backends", f"{name}, {precision}: agrees with the reference", accuracy):

            def speed(precision: str = precision) -> tuple[str, Figures]:
                image = expected.feeds["encoder"]["image"]
                pair = opened("encoder", precision), opened("generator", precision)
                found = images_per_second(*pair, image, (1, 8, 32), seconds)
                return speed_line(found), {"images_per_second": found}

            checks.run("backends", f"{name}, {precision}: speed", speed)
    checks.run("backends", f"{name}: threads share a session", lambda: _threads(opened, expected))
    checks.run("backends", f"{name}: outputs kept on the device", lambda: _held(opened, expected))
    checks.run("backends", f"{name}: number of threads", lambda: _thread_numbers(bundle, expected, name))
    checks.run("backends", f"{name}: refuses wrong inputs", lambda: _wrong_inputs(opened, expected))
    checks.run("backends", f"{name}: device", lambda: _devices(bundle, name))


def _open(bundle: Bundle, graph: str, name: str, precision: str) -> Session:
    """A session; a precision for which this bundle or this device has nothing is a reason to skip, not a failure."""
    try:
        return open_session(bundle, graph, name, precision=precision)
    except BundleError as error:
        if precision in HALF_GRAPHS or name == "trt":
            raise NotHereError(str(error)) from error
        raise
    except BackendError as error:
        if precision != "fp32" and name == "openvino":  # its processor plugin has what the processor has
            raise NotHereError(str(error)) from error
        raise


def _threads(opened: Opened, expected: Reference) -> tuple[str, Figures]:
    session = opened("generator")
    feeds = expected.feeds["generator"]
    inputs = [{key: array[k : k + 1] for key, array in feeds.items()} for k in range(4)]
    alone = [session.run(one)["output"] for one in inputs]
    differences: list[float] = []
    problems: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for _ in range(10):
                differences.append(float(np.abs(session.run(inputs[k])["output"] - alone[k]).max()))
        except BaseException as error:
            problems.append(error)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if problems:
        raise problems[0]
    largest = max(differences)
    if largest > 1e-4:
        raise CheckError(f"results of four threads differ from serial ones by {largest:.1e}")
    return f"40 runs from four threads differ from serial ones by at most {largest:.1e}", {"largest": largest}


def _held(opened: Opened, expected: Reference) -> tuple[str, Figures]:
    encoder, generator = opened("encoder"), opened("generator")
    worst = 0.0
    for rows in (1, 3, 8):  # 3 is padded to 4 where a backend likes powers of two
        image = expected.feeds["encoder"]["image"][:rows]
        through_host = generator.run(encoder.run(encoder_feeds(encoder, image)))["output"]
        held = run_held(encoder, encoder_feeds(encoder, image))
        if {len(value) for value in held.values()} != {rows}:
            raise CheckError(f"{rows} images came back as {[len(value) for value in held.values()]}")
        worst = max(worst, float(np.abs(generator.run(held)["output"] - through_host).max()))
    if worst > 1e-4:
        raise CheckError(f"outputs kept on the device give images that differ by {worst:.1e}")
    return f"images differ by at most {worst:.1e} from those through the processor's memory", {"largest": worst}


def _thread_numbers(bundle: Bundle, expected: Reference, name: str) -> tuple[str, Figures]:
    with expect(UsageError, "100,000 threads"):
        open_session(bundle, "encoder", name, 100_000)
    feeds = {name: array[:1] for name, array in expected.feeds["encoder"].items()}
    worst = 0.0
    wanted = expected.outputs["encoder"]["wp"][:1]
    for threads in (1, 2, 4):
        try:
            session = open_session(bundle, "encoder", name, threads)
        except BundleError as error:
            raise NotHereError(str(error)) from error
        worst = max(worst, float(np.abs(session.run(feeds)["wp"] - wanted).max()))
    if worst > 1e-3 * max(1.0, float(np.abs(wanted).max())):
        raise CheckError(f"with other numbers of threads, codes differ by {worst:.1e}")
    return "100,000 are refused in a sentence; 1, 2 and 4 give the same codes", {"largest": worst}


def _wrong_inputs(opened: Opened, expected: Reference) -> tuple[str, Figures]:
    session = opened("generator")
    feeds: dict[str, Any] = {key: array[:2] for key, array in expected.feeds["generator"].items()}
    with expect(MismatchError, "a missing input"):
        session.run({key: array for key, array in feeds.items() if key != "const"})
    for what, changed in (
        ("a latent code too few", {**feeds, "wp": feeds["wp"][:, :-1]}),
        ("a constant without its batch axis", {**feeds, "const": feeds["const"][0]}),
    ):
        with expect(PadInvError, what):
            session.run(changed)
    session.run(feeds)  # and it still works afterwards
    for precision in PRECISIONS:
        if precision not in get_backend(opened.name).precisions:
            with expect(UsageError, f"--precision {precision}"):
                open_session(opened.bundle, "encoder", opened.name, precision=precision)
    return "wrong names, shapes and precisions are refused in a sentence", {}


def _devices(bundle: Bundle, name: str) -> tuple[str, Figures]:
    backend = get_backend(name)
    if not backend.devices:
        with expect(UsageError, "--device"):
            open_session(bundle, "mapping", name, device="cuda:0")
        return "has no devices to choose from, and says so", {}
    with expect(PadInvError, "a device that does not exist"):
        open_session(bundle, "encoder", name, device="NPU.77" if name == "openvino" else "cuda:77")
    with expect(UsageError, "a device name that means nothing"):
        open_session(bundle, "encoder", name, device="the fast one!")
    first = "CPU" if name == "openvino" else "cuda:0"
    if name != "coreml":
        try:
            open_session(bundle, "encoder", name, device=first)
        except BundleError as error:
            raise NotHereError(str(error)) from error
    return f"{first} opens; one that does not exist is refused in a sentence", {}


def check_missing_backend(checks: Checks, bundle: Bundle, name: str, problem: str) -> None:
    """A backend that is not installed refuses in a sentence; it is listed as skipped."""

    def refused() -> tuple[str, Figures]:
        with expect(BackendError, f"--backend {name}"):
            open_session(bundle, "encoder", name)
        raise NotHereError(problem)

    checks.run("backends", f"{name}: installed", refused)
