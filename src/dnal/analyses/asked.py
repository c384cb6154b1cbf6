"""What an analysis is asked for beside the runs."""

from __future__ import annotations

from dataclasses import dataclass

from dnal.base.options import Options, option


@dataclass(frozen=True)
class Asked(Options):
    """The options of an analysis."""

    corruptions: tuple[str, ...] = option(
        ("all",),
        "Under which corruptions images are seen: all, none, noise, blur, weather, digital, or a name such as fog; "
        "default: all where corrupt-tta is installed (the extra corruptions)",
    )
    severities: tuple[int, ...] = option((1, 3, 5), "Of the corruptions; default: 1,3,5.", least=1, most=5)
    images: int | None = option(
        None, "Test images that are corrupted; default: 1000, and fewer of more than 64x64 pixels.", least=1, most=2**24
    )
    measures: int | None = option(
        None,
        "Training examples on which generalisation measures are taken; default: 1000, and fewer of large networks; 0: "
        "none are.",
        least=0,
        most=2**24,
    )
    labels_of_people: str | None = option(
        None, "FILE.npz or FILE.npz:NAME: how many people gave each class to each test example, as in CIFAR-10H."
    )
