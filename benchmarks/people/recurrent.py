"""Recurrent networks: classifiers and taggers of text, signals and images of text."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from people.case import Case, Network, images, rows, tokens


class TextClassifier(nn.Module):
    """An embedding, a recurrent network, and a linear layer on the last state or the mean."""

    def __init__(self, kind: str, bidirectional: bool = False, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(120, 24)
        self.rnn = getattr(nn, kind)(24, 32, num_layers=layers, bidirectional=bidirectional, batch_first=True)
        self.head = nn.Linear(64 if bidirectional else 32, 4)
        self.bidirectional = bidirectional

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.rnn(self.embedding(x))
        if self.bidirectional:
            return self.head(states.mean(1))
        return self.head((last[0] if isinstance(last, tuple) else last)[-1])


class PackedTagger(nn.Module):
    """A bidirectional LSTM over packed texts, two tokens shorter than their tensor, with a label per token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(120, 24), nn.LSTM(24, 24, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 9)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((x.size(0),), x.size(1) - 2)
        packed = pack_padded_sequence(self.embedding(x), lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x.size(1))
        return self.head(states)


class Crnn(nn.Module):
    """CRNN (arXiv 1507.05717): a CNN whose columns are read by an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1),
            nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveMaxPool2d((1, None)),
        )  # fmt: skip
        self.rnn, self.letters = nn.LSTM(24, 24, bidirectional=True), nn.Linear(48, 37)

    def forward(self, x: Tensor) -> Tensor:
        columns = self.cnn(x).squeeze(2).permute(2, 0, 1)
        return self.letters(self.rnn(columns)[0]).log_softmax(2)


class CellLoop(nn.Module):
    """A loop over time with an LSTMCell."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.cell, self.head = nn.Linear(6, 16), nn.LSTMCell(16, 24), nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(0), 24)
        for step in self.inner(x).relu().unbind(1):
            h, c = self.cell(step, (h, c))
        return self.head(h)


NETWORKS: dict[str, Network] = {
    "recurrent/lstm_classifier": lambda: Case(TextClassifier("LSTM"), tokens(), (10, 16)),
    "recurrent/gru_classifier": lambda: Case(TextClassifier("GRU", layers=2), tokens(), (10, 16)),
    "recurrent/bilstm_classifier": lambda: Case(TextClassifier("LSTM", True, 2), tokens(), (10, 16)),
    "recurrent/packed_tagger": lambda: Case(PackedTagger(), tokens(), (10, 16)),
    "recurrent/crnn": lambda: Case(Crnn(), images(1), (16, 32)),
    "recurrent/cell_loop": lambda: Case(CellLoop(), rows(6), (8, 12)),
}
