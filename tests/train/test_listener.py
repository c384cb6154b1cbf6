from dnal.train.listener import Listener, Listeners


class Counter(Listener):
    def __init__(self) -> None:
        self.steps = 0

    def step(self, loss: float) -> None:
        self.steps += 1


def test_in_choruses_of_choruses_everybody_hears_everything_once() -> None:
    shared, first, second = Counter(), Counter(), Counter()
    one, other = Listeners([first, shared]), Listeners([second, shared])
    Listeners([one, other]).step(1.0)
    one.step(1.0)
    assert (first.steps, second.steps, shared.steps) == (2, 1, 2)


def test_a_chorus_passes_on_every_hook() -> None:
    hooks = {name for name in vars(Listener) if not name.startswith("_")}
    assert hooks <= set(vars(Listeners))
