"""How long the forms of a site take on this machine: each form as a small graph of its own, in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from padinv.export.graph_tuning.fragment import Fragment
from padinv.export.graph_tuning.sites import PLAIN, GraphView, Site
from padinv.runtime.backends.onnxruntime_session import import_onnxruntime
from padinv.runtime.backends.threads import default_threads

if TYPE_CHECKING:
    import onnx

BATCHES = (1, 4)
ROUNDS = 5
SECONDS = 1.5  # for one site at one batch size, all forms together; the first round is always whole
TOLERANCE = 1e-4  # of the largest value
_WORTH = 0.95  # another form must take at most this share of the plain one's time


@dataclass(frozen=True)
class Timed:
    """A form that was timed.

    Attributes:
        milliseconds: batch size -> of the fastest run.
        error: largest difference from the plain form, relative to its largest value.
    """

    milliseconds: Mapping[int, float]
    error: float

    @property
    def cost(self) -> float:
        """Milliseconds per image, summed over the batch sizes."""
        return sum(value / batch for batch, value in self.milliseconds.items())


def time_site(view: GraphView, site: Site, threads: int | None = None) -> dict[str, Timed]:
    """Run every form of a site on the same random inputs."""
    names = list(site.inputs)
    sessions = {PLAIN: _session(_plain_model(view, site), threads)}
    for form, build in site.forms.items():
        fragment = Fragment("form")
        output = build(fragment, names)
        sessions[form] = _session(_model(view, site, fragment.nodes, fragment.constants, output), threads)
    random = np.random.default_rng(0)
    fastest: dict[str, dict[int, float]] = {form: {} for form in sessions}
    errors = dict.fromkeys(sessions, 0.0)
    for batch in BATCHES:
        feeds = {n: random.standard_normal((batch, *shape)).astype(np.float32) for n, shape in site.inputs.items()}
        wanted = sessions[PLAIN].run(None, feeds)[0]
        for form, session in sessions.items():  # also warms up
            difference = np.abs(session.run(None, feeds)[0] - wanted).max() / max(float(np.abs(wanted).max()), 1e-30)
            errors[form] = max(errors[form], float(difference))
        started = time.perf_counter()
        for _ in range(ROUNDS):
            for form, session in sessions.items():
                before = time.perf_counter()
                session.run(None, feeds)
                taken = 1000 * (time.perf_counter() - before)
                fastest[form][batch] = min(taken, fastest[form].get(batch, taken))
            if time.perf_counter() - started > SECONDS:
                break
    return {form: Timed(fastest[form], errors[form]) for form in sessions}


def choose(timed: Mapping[str, Timed]) -> str:
    """The fastest form that agrees with the plain one and is clearly faster, else the plain one."""
    good = {form: t.cost for form, t in timed.items() if form == PLAIN or t.error <= TOLERANCE}
    best = min(good, key=lambda form: good[form])
    return best if good[best] <= _WORTH * good[PLAIN] else PLAIN


def _session(model: onnx.ModelProto, threads: int | None) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or default_threads()
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as `OnnxSession` runs it
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _plain_model(view: GraphView, site: Site) -> onnx.ModelProto:
    wanted = {name for node in site.nodes for name in node.input}
    constants = {name: value for name in wanted if (value := view.constant(name)) is not None}
    nodes = list(site.nodes)
    if site.nodes[0].op_type == "Resize":  # its sizes are computed from its input's batch: give them as they are
        nodes = [_fixed_resize(view, site.nodes[0], constants)]
    return _model(view, site, nodes, constants, site.name)


def _fixed_resize(view: GraphView, node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> onnx.NodeProto:
    from onnx import helper

    before, after = view.shape(node.input[0]), view.shape(node.output[0])
    assert before is not None
    assert after is not None
    constants["scales"] = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return helper.make_node("Resize", [node.input[0], "", "scales"], list(node.output), **attributes)


def _model(
    view: GraphView, site: Site, nodes: list[onnx.NodeProto], constants: Mapping[str, np.ndarray], output: str
) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])

    made = view.shape(site.name)
    graph = helper.make_graph(
        nodes,
        "site",
        [value(name, shape) for name, shape in site.inputs.items()],
        [value(output, made) if made else helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=list(view.model.opset_import), ir_version=view.model.ir_version)
