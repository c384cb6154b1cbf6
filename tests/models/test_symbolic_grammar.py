"""The grammar of programs: probabilities, the order of the search, weights from programs, and abstractions."""

from __future__ import annotations

import math
import random
from itertools import islice, pairwise, product

import pytest

from dnal.models.symbolic.compression import common, compressed, rewritten
from dnal.models.symbolic.grammar import Grammar
from dnal.models.symbolic.graph import graph_of
from dnal.models.symbolic.interpreter import built
from dnal.models.symbolic.isomorphism import isomorphic
from dnal.models.symbolic.library import Abstraction, arities_with, expanded, expanded_mass
from dnal.models.symbolic.program import ARITIES, Program
from dnal.models.symbolic.search import search
from dnal.models.symbolic.weighting import NEVER, expected_uses, reweighted

HOLE = Program("#0")
JOIN = Abstraction("fn_0", Program("push", (Program("add", (Program("connect", (HOLE,)),)),)))
TWICE = Abstraction("fn_1", Program("func", (HOLE, Program("func", (HOLE, Program("#1"))))))


def skewed(seed: int, library: tuple[Abstraction, ...] = ()) -> Grammar:
    """Probabilities by lot."""
    draw = random.Random(seed)
    values = {name: draw.uniform(0.2, 1) for name in arities_with(library)}
    total = sum(values.values())
    return Grammar({name: math.log(value / total) for name, value in values.items()}, library)


def all_within(depth: int, arities: dict[str, int]) -> list[Program]:
    """Every program of at most so many operations within each other, written out."""
    if not depth:
        return []
    inner = all_within(depth - 1, arities)
    return [
        Program(name, parts)
        for name, arity in arities.items() if arity < 5 or depth == 2
        for parts in product(inner, repeat=arity)
    ]  # fmt: skip


def test_a_probability_is_the_product_of_those_of_the_operations() -> None:
    grammar = skewed(1)
    p = {name: math.exp(weight) for name, weight in grammar.weights.items()}
    found = math.exp(grammar.log_probability(Program.of("func push identity move move identity")))
    assert found == pytest.approx(p["func"] * p["push"] * p["move"] ** 2 * p["identity"] ** 2)
    assert math.exp(Grammar.uniform().log_probability(Program.of("push add connect identity"))) == pytest.approx(1e-4)


def derivations(depth: int, arities: dict[str, int]) -> list[Program]:
    """All that a program can be down to a depth, with ``more`` for whatever stands deeper."""
    if not depth:
        return [Program("more")]
    inner = derivations(depth - 1, arities)
    return [Program(name, parts) for name, arity in arities.items() for parts in product(inner, repeat=arity)]


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_all_programs_up_to_a_depth_and_what_is_deeper_are_certain(depth: int) -> None:
    """Written out one by one: the probabilities are 1 together, and those of whole programs what is said."""
    for grammar in (Grammar.uniform(), skewed(2)):
        if depth > 1:  # of all ten there would be 100,000 at depth 2
            names = ("identity", "move", "func", "if_positions_equal") if depth == 2 else ("identity", "move", "func")
            few = {name: grammar.weights[name] for name in names}
            total = math.log(sum(math.exp(weight) for weight in few.values()))
            grammar = Grammar({name: weight - total for name, weight in few.items()})
        arities = {name: ARITIES[name] for name in grammar.weights}
        weights = {**grammar.weights, "more": 0.0}
        written = {
            one: math.exp(sum(weights[each.operation] for each in one.walk())) for one in derivations(depth, arities)
        }
        assert sum(written.values()) == pytest.approx(1.0)
        whole = [value for one, value in written.items() if "more" not in one.uses]
        assert sum(whole) == pytest.approx(grammar.within(depth))


def test_where_few_operations_go_on_all_programs_together_are_certain() -> None:
    ends = Grammar({"identity": math.log(0.6), "move": math.log(0.2), "func": math.log(0.2)})
    found = [ends.within(depth) for depth in (1, 2, 5, 60)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1.0)
    # The ten operations go on 1.4 times on average, and a part of what is drawn never ends.
    q = Grammar.uniform().within(500)
    assert q < 0.7
    assert q == pytest.approx(0.1 + 0.7 * q + 0.1 * q**2 + 0.1 * q**5)


@pytest.mark.parametrize("library", [(), (JOIN, TWICE)])
@pytest.mark.parametrize("seed", [0, 1])
def test_programs_come_in_the_order_of_their_probability_and_none_is_left_out(
    library: tuple[Abstraction, ...], seed: int
) -> None:
    """Against every program of depth 4 without the operation of five, written out: those that are likelier than all
    deeper ones are the first ones, in this order."""
    whole = skewed(seed, library)
    names = [name for name, arity in whole.arities.items() if arity in (0, 2) or name in ("move", "add", "fn_0")]
    none = dict.fromkeys(whole.weights, -math.inf)
    grammar = Grammar({**none, **{name: whole.weights[name] for name in names}}, library)
    arities = {name: grammar.arities[name] for name in names}
    written = all_within(4, arities)
    assert len(written) == len(set(written)) > 500
    costs = sorted(-grammar.log_probability(one) for one in written)
    most = max(grammar.weights.values())
    least_of_deeper = -5 * most  # of five operations within each other, all the likeliest
    first = [cost for cost in costs if cost < least_of_deeper - 1e-9]
    found = list(islice(grammar.programs(), 2000))
    assert len(first) > 3
    assert [cost for cost, _ in found[: len(first)]] == pytest.approx(first)
    assert all(a <= b + 1e-12 for (a, _), (b, _) in pairwise(found))
    assert len({program for _, program in found}) == len(found)
    assert all(-grammar.log_probability(program) == pytest.approx(cost) for cost, program in found[::37])
    # Whatever is written out and likelier than the last one found is among those found.
    programs = {program for _, program in found}
    likelier = [one for one in written if -grammar.log_probability(one) < found[-1][0] - 1e-9]
    assert len(likelier) > 100
    assert programs.issuperset(likelier)


def test_with_equal_probabilities_smaller_programs_come_first() -> None:
    """1, 7, 50, 364 programs of one to four operations: 7 that go on, and one of two parts from three operations on."""
    masses = [program.mass for _, program in islice(Grammar.uniform().programs(), 423)]
    assert [masses.count(mass) for mass in range(1, 6)] == [1, 7, 50, 364, 1]
    assert masses == sorted(masses)


def test_a_grammar_of_few_programs_ends() -> None:
    assert [str(one) for _, one in Grammar({**dict.fromkeys(ARITIES, -math.inf), "identity": 0.0}).programs()] == [
        "identity"
    ]


def test_expected_uses_are_the_slope_of_the_likelihood() -> None:
    """Inside and outside: the derivative of the logarithm of the sum of probabilities by each weight."""
    texts = ("push add connect identity", "func move identity move identity", "pop pop identity")
    programs = [Program.of(text) for text in texts]
    for grammar in (Grammar.uniform(), skewed(3)):

        def likelihood(weights: dict[str, float]) -> float:
            own = Grammar(weights)
            return math.log(sum(math.exp(own.log_probability(program)) for program in programs))

        for name, uses in expected_uses(programs, grammar).items():
            up, down = ({**grammar.weights, name: grammar.weights[name] + step} for step in (1e-5, -1e-5))
            assert uses == pytest.approx((likelihood(up) - likelihood(down)) / 2e-5, abs=1e-6)


def test_weights_are_worked_out_by_hand() -> None:
    """One program of four operations: shares of .25, and of NEVER / 4 for the others, drawn together."""
    found = reweighted([Program.of("push add connect identity")], contrast=100.0)
    used, unused = math.log((1 + NEVER) / (4 + NEVER)), math.log(NEVER / (4 + NEVER))
    scale = math.log(4 * math.exp(used) + 6 * math.exp(unused))
    assert found.weights["add"] == pytest.approx(used - scale)
    assert found.weights["func"] == pytest.approx(unused - scale)
    near = reweighted([Program.of("push add connect identity")], contrast=0.5)
    assert math.exp(near.weights["push"]) == pytest.approx(math.exp(0.5) / (4 * math.exp(0.5) + 6))
    for grammar in (
        found,
        near,
        reweighted([]),
        reweighted([Program.of("fn_0 identity", arities_with([JOIN]))], [JOIN]),
    ):
        assert sum(math.exp(weight) for weight in grammar.weights.values()) == pytest.approx(1.0)
    assert reweighted([]) == Grammar.uniform()
    assert max(near.weights, key=near.weights.__getitem__) in ("push", "add", "connect", "identity")


def test_small_programs_count_most() -> None:
    small, large = Program.of("move identity"), Program.of("push push push identity")
    uses = expected_uses([small, large], Grammar.uniform())
    assert uses["move"] == pytest.approx(100 / 101)
    assert uses["push"] == pytest.approx(3 / 101)


def test_an_abstraction_is_what_it_stands_for() -> None:
    library = (JOIN, TWICE)
    program = Program.of("fn_1 fn_0 identity move identity", arities_with(library))
    whole = expanded(program, library)
    assert str(whole) == "func push add connect identity func push add connect identity move identity"
    assert expanded_mass(program, library) == whole.mass == 12
    deep = Program("identity")
    for _ in range(60):
        deep = Program("fn_1", (deep, Program("identity")))
    assert expanded_mass(deep, library) > 2**60  # counted without being made


def test_expanded_mass_is_that_of_what_is_expanded() -> None:
    library = (JOIN, TWICE, Abstraction("fn_2", Program("fn_1", (Program("fn_0", (HOLE,)), HOLE))))
    for _, program in islice(Grammar.uniform(library).programs(), 400):
        assert expanded_mass(program, library) == expanded(program, library).mass


def test_what_is_common_is_worked_out_by_hand() -> None:
    one, other = Program.of("func move identity func move identity push identity"), Program.of(
        "func pop identity func pop identity push add identity"
    )  # fmt: skip
    assert str(common(one, other)) == "func #0 func #0 push #1"  # the same difference twice, then another one
    assert str(common(one, one)) == str(one)
    name = Abstraction("fn_0", common(one, other))
    assert str(rewritten(one, name)) == "fn_0 move identity identity"
    assert str(rewritten(other, name)) == "fn_0 pop identity add identity"
    unlike = Program.of("func move identity func pop identity push identity")
    assert rewritten(unlike, name) == unlike  # its two first parts are not the same


CORPUS = [
    Program.of(text)
    for text in (
        "push add connect identity",
        "push add connect next_port push add connect identity",
        "push add connect next_port push add connect next_port push add connect identity",
        "func push add connect move identity push add connect identity",
    )
]


@pytest.mark.parametrize("times", [1, 3])
def test_compressed_programs_are_the_same_and_shorter(times: int) -> None:
    written, library = compressed(CORPUS, times=times)
    assert 1 <= len(library) <= times
    assert [expanded(program, library) for program in written] == CORPUS
    whole = sum(program.mass for program in written) + sum(one.body.mass for one in library)
    assert whole < sum(program.mass for program in CORPUS)
    assert all(one.arity <= 2 and one.body.mass > 1 for one in library)
    again, more = compressed(written, library, times=1)
    assert more[: len(library)] == library
    assert [expanded(program, more) for program in again] == CORPUS


def test_the_most_valuable_abstraction_is_that_of_all_that_could_be() -> None:
    """Against every abstraction of one part with holes for any two of what is in it."""

    def cuts(program: Program) -> list[Program]:
        """All programs with a hole in any of the places of this one, or with two."""

        def holed(one: Program, left: int) -> list[tuple[Program, int]]:
            found = [(Program(f"#{2 - left}"), left - 1)] if left else []
            variants: list[tuple[tuple[Program, ...], int]] = [((), left)]
            for part in one.parts:
                variants = [((*done, new), rest) for done, have in variants for new, rest in holed(part, have)]
            return found + [(Program(one.operation, parts), rest) for parts, rest in variants]

        return [body for body, _ in holed(program, 2)]

    def saved(body: Program) -> int:
        name = Abstraction("fn", body)
        return sum(one.mass - rewritten(one, name).mass for one in CORPUS) - body.mass

    bodies = {body for program in CORPUS for part in program.walk() for body in cuts(part) if body.mass > 1}
    assert len(bodies) > 50
    _, (best,) = compressed(CORPUS, times=1)
    assert saved(best.body) == max(map(saved, bodies)) > 0


def test_where_nothing_is_common_nothing_is_named() -> None:
    programs = [Program.of("push identity"), Program.of("move pop identity")]
    assert compressed(programs) == (programs, ())
    assert compressed([]) == ([], ())


def test_a_search_finds_each_graph_once_by_the_smallest_program() -> None:
    grammar = reweighted(*compressed(CORPUS[1:3]), contrast=1.5)
    found = search(grammar, new=3, tries=5000, elements=12)
    assert len(found) == 3
    for one in found:
        whole = expanded(one.program, grammar.library)
        assert built(whole) == one.graph
        assert whole.mass == one.mass
        assert one.graph.valid
    assert not any(isomorphic(a.graph, b.graph) for a in found for b in found if a is not b)
    assert found == search(grammar, new=3, tries=5000, elements=12)
    (other,) = search(grammar, new=1, tries=5000, elements=12, known=[one.graph for one in found[:2]])
    assert other == found[2]
    assert search(grammar, new=3, tries=500, elements=2) == []
    (pair,) = search(Grammar.uniform(), new=1, tries=500, elements=3)
    assert isomorphic(pair.graph, graph_of([(0, 1)]))
