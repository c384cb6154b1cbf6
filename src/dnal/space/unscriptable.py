"""What reads a network's code, and would not see what dnal has put in its place: a sentence that says what does."""

from __future__ import annotations

from typing import Any, NoReturn

from torch import fx, nn

from dnal.base.errors import UserError

REMEDY = (
    "torch.export.export(network.eval(), (example,)).module() gives a graph of torch.fx with the right sizes, and "
    "torch.jit.trace(network.eval(), example) one of TorchScript"
)


def refuse_scripting(module: nn.Module) -> NoReturn:
    """``__prepare_scriptable__``, which torch.jit.script asks a module for.

    Raises:
        UserError: always.
    """
    raise UserError(
        f"torch.jit.script reads code, in which what dnal has changed in this network (here in a "
        f"{type(module).__name__}) does not stand; {REMEDY}."
    )


def refuse_symbols(module: nn.Module, given: tuple[Any, ...]) -> None:
    """Refuses to be run on the symbols of torch.fx, which show nothing of the sizes.

    Raises:
        UserError: if one of the arguments is such a symbol.
    """
    if any(isinstance(one, fx.Proxy) for one in given):
        raise UserError(
            f"torch.fx.symbolic_trace runs code without sizes, and those that dnal corrects in this network (here in a "
            f"{type(module).__name__}) depend on them; {REMEDY}."
        )
