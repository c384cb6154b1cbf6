"""How many channels may vary, derived by hand. Channels that are tied without need (over-coupling) show nowhere else:
a network that can lose too little is still exact.

One channel is one variable wherever it appears; a stream that sums tie counts once.
"""

import pytest
import timm
import torch
import torchvision

import dnal
from dnal.space.space import Norms


def variables(name: str, pixels: int = 64, norms: Norms = "fixed") -> int:
    """The channel variables by the labels alone: what the numeric probe would freeze counts too."""
    source, model = name.split("/")
    if source == "timm":
        network = timm.create_model(model)
    else:
        options = {"init_weights": False} if model == "googlenet" else {}
        network = torchvision.models.get_model(model, weights=None, **options)
    return dnal.Space.of(network.eval(), torch.zeros(1, 3, pixels, pixels), probe=False, norms=norms).num_variables


def test_resnet18() -> None:
    # A stage of width w has two blocks. Their sums tie the stage's stream, w channels (the stem's 64 are the first
    # stage's stream; the others begin with a strided 1 x 1 projection, tied to the sum as well); inside each block the
    # first convolution has w channels of its own.
    assert variables("torchvision/resnet18") == sum(w + 2 * w for w in (64, 128, 256, 512)) == 2880


def test_mobilenet_v2() -> None:
    # Inverted residuals (expansion t, width c, n blocks): a block expands its input of width w to t w channels, which
    # its depthwise convolution keeps; its projection makes c. Blocks after the first of a stage add theirs to the
    # stream: c channels per stage. With t = 1 nothing is expanded: the depthwise convolution keeps the stem's 32.
    stages = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]
    width = count = 32
    for expansion, channels, blocks in stages:
        for _ in range(blocks):
            count += expansion * width if expansion > 1 else 0
            width = channels
        count += channels
    assert variables("torchvision/mobilenet_v2") == count + 1280 == 9128


@pytest.mark.slow
def test_densenet121() -> None:
    # Growth 32, bottlenecks of 4 x 32. A dense layer appends 32 channels of its own to what it reads, and has 128
    # inside. Each transition makes half of what it reads: 64 + 6 x 32 = 256 -> 128, 512 -> 256, 1024 -> 512.
    growth, width, count = 32, 64, 64
    for stage, layers in enumerate((6, 12, 24, 16)):
        count += layers * (growth + 4 * growth)
        width += layers * growth
        if stage < 3:
            width //= 2
            count += width
    assert variables("torchvision/densenet121") == count == 10240


def test_squeezenet() -> None:
    # A fire module squeezes to s channels and expands to e + e, which it concatenates: all of them its own. The stem
    # has 96. The classifier's convolution makes the 1000 classes, the network's output.
    fires = [(16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)]
    assert variables("torchvision/squeezenet1_0") == 96 + sum(s + 2 * e for s, e in fires) == 2976


def test_resnext50() -> None:
    # The stem has 64 channels. A stage of width w has one stream of 4 w channels. Inside each of the 16 blocks the
    # second convolution has 32 groups: it computes each group of its outputs from one group of the first
    # convolution's, so that all channels of a group leave as one.
    assert variables("torchvision/resnext50_32x4d") == 64 + 4 * (64 + 128 + 256 + 512) + 16 * 32 == 4416


def test_shufflenet() -> None:
    # The second branch of a unit has w / 2 channels inside, for w = 116, 232, 464 (4, 8 and 4 units); the stem has 24,
    # the last convolution 1024.
    #
    # The streams. A shuffle interleaves the two halves: channel i of one leaves with channel i of the other, a pair.
    # The next unit cuts the stream in two equal halves: pair k leaves with pair k + w / 4. Then unit after unit: what
    # was kept apart by k modulo w / 4 is halved, and goes on by k modulo w / 8, ..., until the modulus is odd; there a
    # cut goes through a pair and chains all pairs to one: nothing may leave. 116 / 4 = 29 is odd at once, 232 / 4 = 58
    # after one more; both stages have units to come. 464 / 4 = 116, 58, 29 after the three cuts of the third stage.
    inside = sum(units * w // 2 for w, units in ((116, 4), (232, 8), (464, 4)))
    assert variables("torchvision/shufflenet_v2_x1_0") == 24 + inside + 29 + 1024 == 3165


def test_vit_tiny() -> None:
    # The residual stream goes through layer norms and stays. Each of 12 blocks has 3 heads and a hidden layer of
    # 4 x 192. A head leaves as a whole: the scale of its products is that of its width.
    assert variables("timm/vit_tiny_patch16_224", 224) == 12 * (3 + 4 * 192) == 9252


@pytest.mark.slow
def test_vit_b_16_with_open_norms() -> None:
    # One stream of 768 channels: what the patches' projection, the class token and the positions make, and what each of
    # 12 blocks with 12 heads and a hidden layer of 4 x 768 reads and writes.
    count = 768 + 12 * (12 + 4 * 768)
    assert variables("torchvision/vit_b_16", 224, "open") == count == 37776


@pytest.mark.slow
def test_swin_t() -> None:
    # As vit: heads of 32 channels and hidden layers of four times the width; 2, 2, 6 and 2 blocks of 96, 192, 384, 768.
    blocks = ((96, 2), (192, 2), (384, 6), (768, 2))
    inside = sum(n * (w // 32 + 4 * w) for w, n in blocks)
    assert variables("torchvision/swin_t", 224) == inside
    # With open norms each stage has its stream, which the merging layer behind it reads four times.
    assert variables("torchvision/swin_t", 224, "open") == inside + 96 + 192 + 384 + 768


def test_mixer() -> None:
    # The stream of 512 channels goes through layer norms. Each of 8 blocks has two hidden layers: half the width over
    # the positions, four times the width over the channels.
    assert variables("timm/mixer_s32_224", 224) == 8 * (512 // 2 + 4 * 512) == 18432


@pytest.mark.slow
def test_convnext_tiny() -> None:
    # The streams go through layer norms. Each block has a hidden layer of four times its width.
    blocks = ((96, 3), (192, 3), (384, 9), (768, 3))
    assert variables("torchvision/convnext_tiny") == sum(n * 4 * w for w, n in blocks) == 26496
    # With open norms the streams of the stages too; a depthwise convolution has the channels of its stream.
    assert variables("torchvision/convnext_tiny", norms="open") == 26496 + 96 + 192 + 384 + 768 == 27936


@pytest.mark.slow
def test_bert_base_with_open_norms() -> None:
    # 12 layers of 12 heads and 3072 hidden channels. Word, position and type embeddings, the layers and the head write
    # and read one stream of 768, since the table of words is the output's weight too.
    transformers = pytest.importorskip("transformers", reason="needs the extra: pip install 'dnal[hf]'")
    network = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=99)).eval()
    inputs = {"input_ids": torch.randint(3, 99, (1, 8))}
    count = 768 + 12 * (12 + 3072)
    assert dnal.Space.of(network, inputs, probe=False, norms="open").num_variables == count == 37776


def test_llama_with_open_norms() -> None:
    # Two layers: each of 2 heads of keys and values, which leave with their 2 heads of queries, and 48 gated channels.
    transformers = pytest.importorskip("transformers", reason="needs the extra: pip install 'dnal[hf]'")
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=32, pad_token_id=0,
    )  # fmt: skip
    network = transformers.LlamaForCausalLM(config).eval()
    inputs = {"input_ids": torch.randint(3, 60, (2, 16)), "use_cache": False}
    assert dnal.Space.of(network, inputs, norms="open").num_variables == 32 + 2 * (2 + 48)
