"""What a program does: it walks over a graph and builds it."""

from __future__ import annotations

from typing import NamedTuple

from dnal.models.symbolic.graph import PORTS, PortGraph
from dnal.models.symbolic.program import Program


class State(NamedTuple):
    """Where a program is.

    Attributes:
        position: the id of a node. stack: ids of nodes that may be connected, the top one first.
    """

    graph: PortGraph = PortGraph()
    position: int = 0
    port: int = 0
    stack: tuple[int, ...] = ()


def built(program: Program, ports: int = PORTS) -> PortGraph:
    """The graph that a program builds from a single node.

    The operations, with what they are given:

    * ``identity`` ends. ``next_port``, ``prev_port``: the port, in a circle. ``move``: across the edge at the port.
    * ``push``: the position onto the stack. ``pop``: takes the top away, unless a node without edges could then not be
      connected.
    * ``add``: a new node, which becomes the position, where the stack holds something and no node is without edges.
    * ``connect``: an edge from the position to the top of the stack, where the port is free at both.
    * ``func F G``: F, of which only the graph is kept, if it is in one piece; then G.
    * ``if_positions_equal F G H K L``: H if F and G would end at the same node, else K; then L. Nothing else of F and G
      is kept.

    Args:
        ports: of a node.

    Returns:
        the graph, which need not be valid (:attr:`PortGraph.valid`).

    Examples:
        >>> built(Program.of("push add connect identity")).edges
        (Edge(id=2, one=1, other=0, port=0),)
    """
    return ended(program, State(), ports).graph


def ended(program: Program, state: State, ports: int = PORTS) -> State:
    """The state in which a program ends."""
    while program.operation != "identity":
        state = _after(program, state, ports)
        program = program.parts[-1]
    return state


def _after(program: Program, state: State, ports: int) -> State:
    """The state after the first operation, before the program that it goes on with."""
    graph, position, port, stack = state
    match program.operation:
        case "next_port":
            return state._replace(port=(port + 1) % ports)
        case "prev_port":
            return state._replace(port=(port - 1) % ports)
        case "move":
            beyond = graph.beyond(position, port)
            return state if beyond is None else state._replace(position=beyond)
        case "add":
            if not stack or graph.apart:
                return state
            graph = graph.with_node()
            return state._replace(graph=graph, position=graph.nodes[-1])
        case "push":
            return state._replace(stack=(position, *stack))
        case "pop":
            needed = graph.apart and all(node == position for node in stack[1:])
            return state if needed else state._replace(stack=stack[1:])
        case "connect":
            return state._replace(graph=graph.joined(position, stack[0], port)) if stack else state
        case "func":
            inner = ended(program.parts[0], state, ports).graph
            return state if inner.apart else state._replace(graph=inner)
        case "if_positions_equal":
            one, other = (ended(each, state, ports).position for each in program.parts[:2])
            return ended(program.parts[2 if one == other else 3], state, ports)
    raise ValueError(f"{program.operation} is no operation that runs; abstractions are expanded before")
