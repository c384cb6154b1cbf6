"""Simulated circuits: against Kronecker products written out in numpy, PennyLane, and the mathematics of the tower."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from dnal.base.errors import UserError
from dnal.models.quantum import simulator
from dnal.models.quantum.chebyshev import first_kind, fourier, polynomial, second_kind
from dnal.models.quantum.circuit import Circuit
from dnal.models.quantum.fisher import fisher, rank
from dnal.models.quantum.parameter_shift import parameter_shift
from dnal.models.quantum.tower import encode, frequencies, highest_frequency

Matrix = NDArray[np.complex128]
PAULI: dict[str, Matrix] = {
    "I": np.eye(2, dtype=complex), "X": np.array([[0, 1], [1, 0]], dtype=complex),
    "Y": np.array([[0, -1j], [1j, 0]]), "Z": np.diag([1, -1]).astype(complex),
}  # fmt: skip


def kron(matrices: list[Matrix]) -> Matrix:
    return reduce(np.kron, matrices)


def turn(letter: str, angle: float) -> Matrix:
    """exp(-i angle P / 2)."""
    return np.asarray(math.cos(angle / 2) * PAULI["I"] - 1j * math.sin(angle / 2) * PAULI[letter])


def on_one(matrix: Matrix, qubit: int, qubits: int) -> Matrix:
    return kron([matrix if one == qubit else PAULI["I"] for one in range(qubits)])


def controlled(matrix: Matrix, control: int, target: int, qubits: int) -> Matrix:
    """As a sum over the control's two values."""
    zero, one = np.diag([1, 0]).astype(complex), np.diag([0, 1]).astype(complex)
    on = on_one(one, control, qubits) @ on_one(matrix, target, qubits)
    return np.asarray(on_one(zero, control, qubits) + on)


def random_state(qubits: int, batch: int = 3) -> Tensor:
    draw = torch.Generator().manual_seed(qubits)
    state = torch.randn(batch, 2**qubits, dtype=torch.complex128, generator=draw)
    return state / state.norm(dim=-1, keepdim=True)


def angles(*shape: int, seed: int = 0) -> Tensor:
    return 2 * math.pi * torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_numpy(circuit: Circuit, parameters: Tensor, x: Tensor) -> Matrix:
    """The states of a circuit, gate after gate as whole matrices; parameters (D,), x (B, N)."""
    n, found = circuit.qubits, []
    for example in x.tolist():
        state = np.zeros(2**n, dtype=complex)
        state[0] = 1
        for qubit in range(n):
            angle = circuit.base ** (qubit % circuit.per_input) * example[qubit // circuit.per_input]
            state = on_one(turn("X", angle), qubit, n) @ state
        for layer in parameters.view(circuit.layers, n, 3).tolist():
            for qubit in range(n):
                for letter, angle in zip("XYZ", layer[qubit], strict=True):
                    state = on_one(turn(letter, angle), qubit, n) @ state
            for qubit in range(n if n > 1 else 0):
                state = controlled(PAULI["X"], qubit, (qubit + 1) % n, n) @ state
        found.append(state)
    return np.array(found)


@pytest.mark.parametrize("qubits", [1, 2, 3, 5])
def test_every_gate_is_its_matrix(qubits: int) -> None:
    state = random_state(qubits)
    for letter, gate in {"X": simulator.rx, "Y": simulator.ry, "Z": simulator.rz}.items():
        for qubit in range(qubits):
            found = simulator.apply(state, gate(torch.tensor(0.7, dtype=torch.float64)), qubit)
            expected = state.numpy() @ on_one(turn(letter, 0.7), qubit, qubits).T
            assert found.numpy() == pytest.approx(expected, abs=1e-12)
    for control in range(qubits):
        for target in set(range(qubits)) - {control}:
            for letter, function in {"X": simulator.cnot, "Z": simulator.cz}.items():
                expected = state.numpy() @ controlled(PAULI[letter], control, target, qubits).T
                assert function(state, control, target).numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("qubits", [1, 2, 3, 5, 10])
def test_gates_on_all_qubits_at_once_are_those_one_by_one(qubits: int) -> None:
    state, turns = random_state(qubits), angles(3, qubits, 3)
    gates = simulator.rz_ry_rx(turns)
    expected = state
    for qubit in range(qubits):
        for place, gate in enumerate((simulator.rx, simulator.ry, simulator.rz)):
            expected = simulator.apply(expected, gate(turns[:, qubit, place]), qubit)
    assert torch.allclose(simulator.apply_each(state, gates), expected, atol=1e-12)


@pytest.mark.parametrize("paulis", ["X", "ZI", "YX", "IIZ", "YZY", "XYZI"])
def test_expectations_are_those_of_the_matrices(paulis: str) -> None:
    state = random_state(len(paulis))
    matrix = kron([PAULI[letter] for letter in paulis])
    expected = np.einsum("bi,ij,bj->b", state.numpy().conj(), matrix, state.numpy())
    assert simulator.expectation(state, paulis).numpy() == pytest.approx(expected.real, abs=1e-12)
    each = [simulator.expectation(state, "I" * one + "Z" + "I" * (len(paulis) - 1 - one)) for one in range(len(paulis))]
    assert torch.allclose(simulator.expectations_z(state), torch.stack(each, -1))


@pytest.mark.parametrize(("inputs", "per_input", "base"), [(1, 1, 3), (2, 1, 3), (1, 3, 3), (2, 2, 5)])
def test_a_circuit_is_its_gates_in_numpy_value_and_gradient(inputs: int, per_input: int, base: int) -> None:
    circuit = Circuit(inputs, per_input, layers=2, base=base)
    parameters, x = circuit.initial(1), angles(4, inputs) / 2
    assert circuit.states(parameters, x).numpy() == pytest.approx(by_numpy(circuit, parameters, x), abs=1e-12)
    assert torch.autograd.gradcheck(circuit, (parameters.requires_grad_(), x.requires_grad_()))


def test_single_precision_and_batches_of_parameters_and_inputs_agree() -> None:
    circuit = Circuit(2, 2, layers=2)
    many, x = angles(5, circuit.parameters), angles(5, 2, seed=1) / 2
    whole = circuit(many, x)
    assert whole.shape == (5, 4)
    for one in range(5):
        assert torch.allclose(whole[one], circuit(many[one], x)[one], atol=1e-12)
    assert circuit(many.float(), x.float()).dtype == torch.float32
    assert torch.allclose(circuit(many.float(), x.float()).double(), whole, atol=1e-5)
    assert circuit(many[:, None], x).shape == (5, 5, 4)


def test_a_circuit_is_that_of_pennylane() -> None:
    """Values and gradients, in the parameters and the inputs."""
    qml = pytest.importorskip("pennylane")
    circuit = Circuit(2, 2, layers=3)
    parameters, x = circuit.initial(2).requires_grad_(), (angles(6, 2) / 2).requires_grad_()

    @qml.qnode(qml.device("default.qubit", wires=4), interface="torch", diff_method="backprop")
    def node(parameters: Tensor, x: Tensor) -> object:
        for qubit in range(4):
            qml.RX(3 ** (qubit % 2) * x[:, qubit // 2], wires=qubit)
        for layer in parameters.reshape(3, 4, 3):
            for qubit in range(4):
                for gate, angle in zip((qml.RX, qml.RY, qml.RZ), layer[qubit], strict=True):
                    gate(angle, wires=qubit)
            for qubit in range(4):
                qml.CNOT(wires=[qubit, (qubit + 1) % 4])
        return [qml.expval(qml.PauliZ(qubit)) for qubit in range(4)]

    ours, theirs = circuit(parameters, x), torch.stack(node(parameters, x), -1)
    assert torch.allclose(ours, theirs, atol=1e-6)
    weights = angles(6, 4, seed=3)
    slopes = [torch.autograd.grad((found * weights).sum(), (parameters, x)) for found in (ours, theirs)]
    for own, other in zip(*slopes, strict=True):
        assert torch.allclose(own, other, atol=1e-6)


@pytest.mark.parametrize(("per_input", "base"), [(1, 3), (2, 3), (3, 3), (4, 3), (3, 5), (3, 2), (4, 1)])
def test_the_tower_has_its_frequencies_and_no_others(per_input: int, base: int) -> None:
    """Of the chance to measure 0, by an FFT that would see twice the highest frequency."""
    circuit = Circuit(1, per_input, layers=3, base=base)
    highest = circuit.highest
    found = fourier(lambda x: (1 + circuit(circuit.initial(0), x[:, None])[:, 0]) / 2, 2 * highest)
    there = [place - 2 * highest for place, one in enumerate(found.abs().tolist()) if one > 1e-10]
    expected = frequencies(per_input, base)
    assert there == expected
    assert len(expected) == (3**per_input if base >= 3 else 2 * highest + 1)
    if base == 3:
        assert expected == list(range(-(3**per_input - 1) // 2, (3**per_input - 1) // 2 + 1))
    assert highest_frequency(per_input, base) == max(expected)


def test_the_tower_is_rotations_of_zeros() -> None:
    x = angles(4, 2)
    state = simulator.zero_state(6).expand(4, -1)
    for qubit in range(6):
        state = simulator.apply(state, simulator.rx(5 ** (qubit % 3) * x[:, qubit // 3]), qubit)
    assert torch.allclose(encode(x, 3, base=5), state, atol=1e-10)


def test_chebyshev_polynomials_are_those_of_scipy_and_cosines_and_sines() -> None:
    x = torch.linspace(0.1, 3.0, 7, dtype=torch.float64)
    u = torch.cos(x)
    first, second = first_kind(9, u), second_kind(9, u)
    for degree in range(10):
        assert first[:, degree].numpy() == pytest.approx(special.eval_chebyt(degree, u.numpy()), abs=1e-10)
        assert second[:, degree].numpy() == pytest.approx(special.eval_chebyu(degree, u.numpy()), abs=1e-10)
        assert first[:, degree].numpy() == pytest.approx(np.cos(degree * x.numpy()), abs=1e-10)
        assert (torch.sin(x) * second[:, degree]).numpy() == pytest.approx(np.sin((degree + 1) * x.numpy()), abs=1e-10)
    assert first_kind(0, u).shape == second_kind(0, u).shape == (7, 1)


def test_what_clients_share_of_a_number_are_polynomials_of_its_cosine() -> None:
    """Each derivative of a circuit's output, of degree (3^d - 1) / 2."""
    circuit = Circuit(1, 3, layers=2)
    parameters, x = circuit.initial(4), angles(11)[:, None]

    def shared(numbers: Tensor) -> Tensor:
        return parameter_shift(lambda many: circuit(many[:, None], numbers[:, None])[..., 0], parameters)

    coefficients, values = fourier(shared, circuit.highest), shared(x[:, 0])
    assert circuit.highest == 13
    for one in range(circuit.parameters):
        assert torch.allclose(polynomial(coefficients[:, one], x[:, 0]), values[:, one], atol=1e-10)
    assert float(coefficients[-1].abs().max()) > 1e-4, "of the highest degree"


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 3, 2), (2, 2, 3)])
def test_parameter_shift_is_autograd(sizes: tuple[int, int, int]) -> None:
    circuit = Circuit(*sizes)
    parameters, x = circuit.initial(3), angles(4, sizes[0])
    expected = torch.autograd.functional.jacobian(lambda own: circuit(own, x), parameters)
    found = parameter_shift(lambda many: circuit(many[:, None], x), parameters)
    assert found.shape == (4, circuit.qubits, circuit.parameters)
    assert torch.allclose(found, expected, atol=1e-10)


def test_the_fisher_matrix_is_that_of_differences_of_states() -> None:
    """1 - |<s(t) | s(t + e)>|^2 is e F e / 4 for small e."""
    circuit = Circuit(1, 2, layers=2)
    parameters, x = circuit.initial(5), torch.tensor([[0.8]], dtype=torch.float64)
    matrix = fisher(circuit, parameters, x)
    assert torch.allclose(matrix, matrix.T)
    for seed in range(4):
        step = 1e-4 * (angles(circuit.parameters, seed=seed) - math.pi)
        near = circuit.states(torch.stack([parameters - step, parameters + step]), x)
        apart = 1 - (near[0].conj() * near[1]).sum().abs().square()
        assert float(apart) == pytest.approx(float(step @ matrix @ step), rel=1e-4)


@pytest.mark.parametrize("qubits", [1, 2, 3])
def test_the_rank_grows_with_layers_to_what_there_is_and_no_further(qubits: int) -> None:
    one, many = angles(1, 1) / 2, angles(40, 1, seed=1) / 2
    ranks = []
    for layers in (1, 2, 4, 8):
        circuit = Circuit(1, qubits, layers)
        ranks.append([rank(fisher(circuit, circuit.initial(0), x)) for x in (one, many)])
        assert ranks[-1][1] <= circuit.parameters
    assert ranks == sorted(ranks)
    assert ranks[-1] == [2 ** (qubits + 1) - 2, 4**qubits - 1]
    assert ranks[0] != ranks[-1] or qubits == 1


def test_what_cannot_be_is_a_sentence() -> None:
    circuit = Circuit()
    for wrong in (
        lambda: Circuit(3, 4), lambda: Circuit(layers=0), lambda: encode(torch.rand(1), 2, base=0),
        lambda: circuit(torch.rand(3), torch.rand(1)), lambda: circuit(circuit.initial(0), torch.rand(4, 2)),
        lambda: simulator.apply(torch.rand(3), torch.eye(2), 0), lambda: simulator.cnot(random_state(2), 1, 1),
        lambda: simulator.apply(random_state(2), simulator.rx(torch.tensor(0.1)), 2),
        lambda: simulator.expectation(random_state(2), "ZA"), lambda: simulator.zero_state(11),
        lambda: simulator.apply_each(random_state(2), simulator.rx(torch.rand(3))),
        lambda: first_kind(-1, torch.rand(1)), lambda: fourier(torch.cos, -1),
        lambda: polynomial(torch.rand(4), torch.rand(1)), lambda: frequencies(0),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"^[a-z].*\.$"):
            wrong()
