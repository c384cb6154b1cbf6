"""The examples in the help of the commands."""

EXAMPLES = {
    "learn": (
        'dnal learn --model cifar/resnet56 --data cifar10 --budget "macs<=30%"',
        'dnal learn --budget "macs<=50%" --budget "macs<=25%" --out curve',
        "dnal learn --like curve/macs25pct --seed 1",
        "dnal learn --against uniform,scratch,magnitude,obs --out compared",
        "dnal learn --method tas:tau_start=4 --with ema:decay=0.99 --with clipping",
    ),
    "sparsify": (
        "dnal sparsify --model cifar/resnet20 --data cifar10 --keep 10% --rounds 5 --reset early",
        "dnal sparsify --method random --keep 5% --out control",
        "dnal sparsify --weights trained.safetensors --keep 20% --rounds 1",
    ),
    "grow": (
        'dnal grow --model mlp/small --data wine --budget "params<=400%"',
        'dnal grow --model cifar/resnet20 --data cifar10 --budget "macs<=200M" --rounds 5',
        "dnal grow --method random-neurons --out control",
    ),
    "search": (
        "dnal search",
        'dnal search --data cifar10 --sampler aco --space layered-graph --budget "macs<=5M,latency<=2ms" --jobs 2',
    ),
    "resume": ("dnal resume runs/vgg_small-digits-macs30pct-s0",),
    "sweep": ("dnal sweep sweep.yaml --out study --trials-at-once 2",),
    "bench": ("dnal bench --suite smoke", "dnal bench --suite cpu --data cifar10=cifar10.npz --jobs 2"),
    "study": (
        "dnal study",
        "dnal study random-search --size tiny",
        "dnal study random-search:candidates=20 --jobs 2 --out twenty",
    ),
    "space": (
        "dnal space --model torchvision/resnet18",
        "dnal space --model timm/mobilenetv3_small_100 --explain conv_head.weight",
    ),
    "profile": ("dnal profile --model torchvision/mobilenet_v2 --backend onnxruntime-cpu --batch 8",),
    "report": (
        "dnal report runs/vgg_small-digits-macs30pct-s0",
        "dnal report curve",
        "dnal report runs/* --out all.html",
    ),
    "analyse": (
        "dnal analyse runs/vgg_small-digits-macs30pct-s0",
        "dnal analyse compared --corruptions noise --corruptions fog --severities 1,3",
    ),
    "predict": (
        "dnal predict fit nasbench201.npz --target latency:pixel3 --labels 100 --out pixel3",
        "dnal predict fit nasbench201.npz --model nar-former:epochs=100 --labels 781",
        "dnal predict fit study --target accuracy --model gaussian-process --out of_runs",
        "dnal predict rank pixel3 nasbench201.npz --top 20",
        "dnal predict zoo --data digits --networks 300 --out zoo",
        "dnal predict fit zoo --model neural-graph --out of_weights",
    ),
    "eval": ("dnal eval runs/vgg_small-digits-macs30pct-s0",),
    "export": (
        "dnal export runs/vgg_small-digits-macs30pct-s0 --to onnx",
        "dnal export runs/vgg_small-digits-macs30pct-s0 --to onnx --quantize int8",
    ),
    "models": ("dnal models --filter resnet",),
    "methods": ("dnal methods", "dnal methods tas"),
    "techniques": ("dnal techniques", "dnal techniques ema"),
    "data": ("dnal data", "dnal data wine", "dnal data digits --scores el2n --epochs 3"),
    "doctor": ("dnal doctor",),
}
PROGRAM = ("dnal learn", 'dnal learn --model cifar/resnet20 --data cifar10 --budget "macs<=30%"', "dnal learn --help")


def epilogue(examples: tuple[str, ...]) -> str:
    """Below the options, a line each."""
    return "\n\n".join((f"Example{'s' if len(examples) > 1 else ''}:", *examples))
