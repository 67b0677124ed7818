"""Where the network looks: the parts of a picture that speak for the wrong class, found by covering them."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError
from probes.images.decode import quiet_decoders
from recommender.fit.result import FitResult, Predictions
from recommender.pipeline.decision import Decision
from recommender.pipeline.reread_images import read_prepared
from recommender.reports.html.thumbnails import data_uri

CELLS = 7  # along each side: as many as the last feature map of a network at 224 px has
MOST = 4  # mistakes
_SECONDS = 10.0  # after which no further one begins: a large network takes seconds for each
_LEAST = 1e-7  # probability
_FAINT = 0.25  # nats: a change of the odds by less than a quarter is shown as none


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OcclusionMap:
    """A mistake, the picture as the network sees it, and how much each of its cells speaks for the wrong class."""

    row: int  # of the predictions
    picture: str  # data URI
    cells: list[list[float]]  # of shape (CELLS, CELLS), 0 to 1: the share of the strongest cell's effect
    odds: float  # factor by which covering the strongest cell lowers the odds of the wrong class; 1.0 if none does


def occlusion_maps(
    found: Decision, fit: FitResult | None, mistakes: list[int], *, thumbnails: bool
) -> tuple[list[OcclusionMap], str]:
    """Maps of the first mistakes, and why there are none or fewer."""
    if fit is None or fit.predictions is None:
        return [], "Maps of the parts of an image that decide are drawn after training."
    if not thumbnails or fit.model is None:
        return [], "Maps of the parts of an image that decide are left out, as the images are."
    size, channels = found.strategy.input_size, found.backbone.channels
    maps: list[OcclusionMap] = []
    start = time.monotonic()
    with quiet_decoders():
        for row in mistakes[:MOST]:
            if maps and time.monotonic() - start > _SECONDS:
                return maps, "For the others there was no time: this network takes long for an image."
            try:
                _, pixels = read_prepared(found.index, fit.predictions.files[row], size, channels)
            except ProbeError:
                continue
            maps.append(_map(fit.model, fit.predictions, row, pixels))
    why_none = "Maps of the parts of an image that decide can't be drawn: the images can't be read now."
    return maps, "" if maps else why_none


def _map(model: Any, said: Predictions, row: int, pixels: npt.NDArray[np.float32]) -> OcclusionMap:
    drops = evidence(model, pixels, int(said.predicted[row]), int(said.labels[row]))
    strongest = float(drops.max())
    shown = np.clip(drops / strongest, 0, 1) if strongest >= _FAINT else np.zeros_like(drops)
    colours = pixels if pixels.shape[2] >= 3 else np.repeat(pixels, 3, axis=2)
    picture = data_uri(np.clip(np.rint(colours[..., :3]), 0, 255).astype(np.uint8))
    odds = float(np.exp(strongest)) if strongest >= _FAINT else 1.0
    return OcclusionMap(row=row, picture=picture, cells=shown.round(2).tolist(), odds=odds)


def evidence(model: Any, pixels: npt.NDArray[np.float32], wrong: int, right: int) -> npt.NDArray[np.float64]:
    """How much each cell speaks for one class against another, in nats, of shape (CELLS, CELLS).

    With p of the whole picture and q of the one whose cell has the picture's mean colour, the evidence of that cell is
    log(p_wrong / p_right) - log(q_wrong / q_right). Zeiler and Fergus, Visualizing and understanding convolutional
    networks, 2014, but for the odds: the model may have learned from the picture since, and be right by now.
    """
    pictures = np.repeat(pixels[None], CELLS**2 + 1, axis=0)
    edges = np.linspace(0, len(pixels), CELLS + 1).round().astype(int)
    colour = pixels.mean((0, 1))
    for cell in range(CELLS**2):
        y, x = divmod(cell, CELLS)
        pictures[cell, edges[y] : edges[y + 1], edges[x] : edges[x + 1]] = colour
    probabilities = np.maximum(np.asarray(model.predict_on_batch(pictures), np.float64), _LEAST)
    odds = np.log(probabilities[:, wrong] / probabilities[:, right])
    return np.asarray((odds[-1] - odds[:-1]).reshape(CELLS, CELLS))
