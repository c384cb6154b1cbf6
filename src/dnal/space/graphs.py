"""Networks that are graphs of torch.fx: their code is a list of nodes, and a number in it an argument of a node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate

from dnal.base.errors import UserError
from dnal.space.surgery.sizes import SIZED, Attribute, Change, SizeRule, function_name


def with_node_numbers(node: Node, function: Callable[[int, Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a node, in which each number, or node that computes one, behind the first argument is replaced
    by ``function(its position, itself)``."""
    position = -1

    def visit(leaf: Any) -> Any:
        nonlocal position
        if type(leaf) is not int and not isinstance(leaf, Node):
            return leaf
        position += 1
        return function(position, leaf)

    rest: Any = map_aggregate(node.args[1:], visit)
    named: Any = map_aggregate(node.kwargs, visit)
    return (*node.args[:1], *rest), dict(named)


def node_numbers(node: Node) -> list[Any]:
    """The numbers, and the nodes in their places, in the arguments of a node."""
    found: list[Any] = []
    with_node_numbers(node, lambda _, leaf: found.append(leaf))
    return found


class Graphs:
    """The graphs in a network, which tell the node that runs; :meth:`close` makes them as they were.

    Their code is changed for it: a node before each that may hold numbers says its name.
    """

    def __init__(self, network: nn.Module) -> None:
        self._running: dict[nn.Module, Node] = {}
        self._marks: list[tuple[GraphModule, list[Node]]] = []
        for module in network.modules():
            if isinstance(module, GraphModule):
                self._marks.append((module, self._marked(module)))

    def _marked(self, module: GraphModule) -> list[Node]:
        marks = []
        nodes = {node.name: node for node in module.graph.nodes if _function(node) in SIZED and node.args}

        def running(name: str) -> None:
            self._running[module] = nodes[name]

        for name, node in nodes.items():
            with module.graph.inserting_before(node):
                marks.append(module.graph.call_function(running, (name,)))
        module.recompile()
        return marks

    def close(self) -> None:
        for module, marks in self._marks:
            for mark in marks:
                module.graph.erase_node(mark)
            module.recompile()

    def rules(
        self, module: nn.Module, path: str, given: Sequence[int], counted: Iterable[tuple[int, Tensor, int]]
    ) -> tuple[SizeRule, ...] | None:
        """The numbers of the call that a graph makes, as places in its nodes, where ``counted`` are (position, the
        channels it counts, sign); None for a module that is no graph."""
        if not isinstance(module, GraphModule):
            return None
        node = self._running.get(module)
        held = [] if node is None else node_numbers(node)
        same = len(held) == len(given) and all(isinstance(h, Node) or h == g for h, g in zip(held, given, strict=True))
        if node is None or not same:
            return ()
        return tuple(
            SizeRule(path, Attribute(node.name, position), channels, sign, pinned=isinstance(held[position], Node))
            for position, channels, sign in counted
        )


def _function(node: Node) -> str:
    if node.op == "call_method":
        return str(node.target)
    name = function_name(node.target) if node.op == "call_function" else ""
    return "__getitem__" if name == "getitem" else name


def set_in_graph(module: GraphModule, change: Change) -> None:
    """Writes a number into the arguments of a node, in the place of the same one or of a computed one; the graph's code
    is to be compiled again.

    Raises:
        UserError: if the graph has no such node or number.
    """
    assert isinstance(change.target, Attribute)
    name, item = change.target
    node = next((node for node in module.graph.nodes if node.name == name and node.args), None)
    held = [] if node is None else node_numbers(node)
    if node is None or not 0 <= item < len(held) or not (isinstance(held[item], Node) or held[item] == change.old):
        raise UserError(f"the architecture belongs to another network: '{change.path}.{name}' is not {change.old}.")
    node.args, node.kwargs = with_node_numbers(node, lambda p, leaf: change.new if p == item else leaf)
