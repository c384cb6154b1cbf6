"""How fast is the simulation of a circuit and its gradient, beside PennyLane's default simulator?

8 qubits (two inputs with four each), three layers, 64 examples: forward and backward by torch, of Z of the first qubit.
PennyLane has the 64 examples as one batch of `default.qubit` with the torch interface and backpropagation. Both in turn
within one run, one thread, seconds that the process computed; values and gradients are compared first.

pip install pennylane
OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/circuits.py
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import pennylane as qml
import torch
from torch import Tensor

from dnal.models.quantum.circuit import Circuit
from paired import machine, medians
from result_file import write_rows

CIRCUIT, BATCH = Circuit(inputs=2, per_input=4, layers=3), 64


def in_pennylane(circuit: Circuit) -> Callable[[Tensor, Tensor], Tensor]:
    """Z of the first qubit of the same circuit."""

    @qml.qnode(qml.device("default.qubit", wires=circuit.qubits), interface="torch", diff_method="backprop")
    def node(parameters: Tensor, x: Tensor) -> object:
        for qubit in range(circuit.qubits):
            power = circuit.base ** (qubit % circuit.per_input)
            qml.RX(power * x[:, qubit // circuit.per_input], wires=qubit)
        for layer in parameters.reshape(circuit.layers, circuit.qubits, 3):
            for qubit in range(circuit.qubits):
                for gate, angle in zip((qml.RX, qml.RY, qml.RZ), layer[qubit], strict=True):
                    gate(angle, wires=qubit)
            for qubit in range(circuit.qubits):
                qml.CNOT(wires=[qubit, (qubit + 1) % circuit.qubits])
        return qml.expval(qml.PauliZ(0))

    return node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    theirs = in_pennylane(CIRCUIT)
    parameters = CIRCUIT.initial(seed=0).requires_grad_()
    x = math.pi * torch.rand(BATCH, CIRCUIT.inputs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def gradient(values: Tensor) -> Tensor:
        return torch.autograd.grad(values.sum(), parameters)[0]

    ways = {
        "dnal": lambda: gradient(CIRCUIT(parameters, x)[..., 0]),
        "pennylane": lambda: gradient(theirs(parameters, x)),
    }
    apart = float((ways["dnal"]() - ways["pennylane"]()).abs().max())
    seconds = medians(ways, arguments.turns, clock=time.process_time)
    row = {
        "qubits": CIRCUIT.qubits, "layers": CIRCUIT.layers, "batch": BATCH, "turns": arguments.turns,
        "dnal_ms": f"{1e3 * seconds['dnal']:.2f}", "pennylane_ms": f"{1e3 * seconds['pennylane']:.1f}",
        "times_as_fast": f"{seconds['pennylane'] / seconds['dnal']:.1f}", "gradients_apart": f"{apart:.1e}",
        "pennylane": qml.__version__, "machine": machine(),
    }  # fmt: skip
    print(" ".join(f"{name}={value}" for name, value in row.items()))
    write_rows(arguments.out, [row])


if __name__ == "__main__":
    main()
