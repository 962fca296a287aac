"""A graph with every site in its fastest form, and a record of what was tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from padinv.export.graph_tuning.fragment import Fragment
from padinv.export.graph_tuning.sites import PLAIN, GraphView, Site, find_sites
from padinv.export.graph_tuning.timing import Timed, choose, time_site

if TYPE_CHECKING:
    import onnx

Measure = Callable[[GraphView, Site], dict[str, Timed]]


def tune_graph(model: onnx.ModelProto, measure: Measure = time_site) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Time the forms of every site, and put the fastest in place.

    Args:
        model: a float32 graph as padinv exports it; it is changed.
        measure: times the forms of a site.

    Returns:
        the model, and JSON-ready: kind of site -> {'sites': how many, 'form': the one in place, 'milliseconds': form ->
        batch -> milliseconds, 'error': form -> relative difference from the plain form}.
    """
    view = GraphView(model)
    record: dict[str, Any] = {}
    chosen: list[tuple[Site, str]] = []
    for site in find_sites(view):
        if site.kind not in record:
            timed = measure(view, site)
            record[site.kind] = {
                "sites": 0,
                "form": choose(timed),
                "milliseconds": {
                    form: {str(batch): round(value, 3) for batch, value in t.milliseconds.items()}
                    for form, t in timed.items()
                },
                "error": {form: float(f"{t.error:.1e}") for form, t in timed.items() if form != PLAIN},
            }
        record[site.kind]["sites"] += 1
        if record[site.kind]["form"] != PLAIN:
            chosen.append((site, record[site.kind]["form"]))
    _replace(model, chosen)
    return model, record


def _replace(model: onnx.ModelProto, chosen: list[tuple[Site, str]]) -> None:
    """Put forms in place of sites, and drop what nothing uses any more, in place."""
    from onnx import NodeProto, numpy_helper

    ends: dict[str, list[NodeProto]] = {}
    dropped: set[str] = set()
    for number, (site, form) in enumerate(chosen):
        fragment = Fragment(f"tuned{number}")
        output = site.forms[form](fragment, list(site.inputs))
        for node in fragment.nodes:  # the last node gives what the site gave
            node.output[:] = [site.name if name == output else name for name in node.output]
        ends[site.name] = fragment.nodes
        dropped.update(node.output[0] for node in site.nodes)
        model.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in fragment.constants.items())
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in ends:
            nodes += ends[node.output[0]]
        elif node.output[0] not in dropped:
            nodes.append(NodeProto.FromString(node.SerializeToString()))
    nodes = _used(nodes, {value.name for value in model.graph.output})
    read = {name for node in nodes for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for index in reversed(range(len(model.graph.initializer))):  # one by one: a copy of all would be gigabytes
        if model.graph.initializer[index].name not in read:
            del model.graph.initializer[index]


def _used(nodes: list[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """Nodes that some wanted value depends on; what computed the sizes of a Resize may be left over."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted = wanted | set(node.input)
    return kept[::-1]
