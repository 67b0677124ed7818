"""The library's two calls: `recommend` and `ready_model`."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.candidates import candidates, is_auto
from probes.data.sampling import draw_splits
from probes.data.sources.open import open_source
from probes.images.inspect_all import inspect_everything
from recommender.atomic_files import check_report, write_together
from recommender.errors import RecommendError
from recommender.explanation.reasons import explain
from recommender.limits import check_arguments
from recommender.pipeline.decision import Decision
from recommender.progress import Clock, Progress, reported

if TYPE_CHECKING:
    from builders.training.schedule import Schedule
    from builders.training.state import Check
    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult, TrainingPlan

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, repr=False)
class Recommendation(Decision):
    """A decision with methods to explain it, build and fit its model, and convert it to plain data."""

    def __str__(self) -> str:
        """The answer as plain text: what is built, how sure that is, what it gives and costs, and what comes next."""
        from recommender.reports.summary import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """The same as a card in a notebook."""
        from recommender.reports.html_card import html_card

        return html_card(self)

    @cached_property
    def training(self) -> "TrainingPlan":
        """The plan of `fit`; augmentation and time are measured only when it starts."""
        from recommender.fit.plan import planned

        return planned(self)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the model's outputs."""
        return tuple(self.measurements.size.class_names)

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """The reasons in sentences, with their numbers and thresholds."""
        return explain(self)

    def fit(
        self,
        model: Any = None,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        augmentation: Sequence[str] | None = None,
        cache: bool = True,
        precision: str | None = None,
        callbacks: Sequence[Any] = (),
        logs: str | os.PathLike[str] | None = None,
        resume: bool = False,
        keep_state: bool = False,
        force: bool = False,
        seed: int | None = None,
        ray: str | None = None,
        embeddings: str | None = None,
        progress: Progress | None = None,
        announce: "Callable[[TrainingPlan], None] | None" = None,
        on_check: "Callable[[Check, Schedule], None] | None" = None,
    ) -> "FitResult":
        """Train the model, and evaluate it on images that it was not trained on.

        With a frozen backbone the linear probe on all images is the whole training, unless it is too close to call
        between that and fine-tuning, and there are 100 images or more. Fine-tuning starts from the linear probe in up
        to three trials, each with other images held out, until more are not worth their time, and ends at an average
        of the start and the end in weights. If the fine-tuned network is probably better than the frozen model, the
        same training runs on all images. If not, the frozen model comes back: what `build` returns if every image was
        measured. Inside the scope of a `tf.distribute` strategy, training runs under it.

        Args:
            model: what `build` returned, possibly changed, to train in place; by default it is built. Its prediction
                layer is fitted again from scratch, and what comes back is not averaged with the start.
            epochs: passes over the training images in fine-tuning; by default chosen by their number.
            steps: batches, in place of `epochs`.
            batch_size: images a batch; 32 by default.
            learning_rate: the peak.
            augmentation: some of "mirror", "shift" (by up to 8 % of the side, zoomed by up to 10 %) and "brightness";
                by default all, "mirror" only if mirrored images are measured to keep their labels.
            cache: whether outputs of the frozen part, or prepared images, are kept, not computed in every epoch.
            precision: "float32", "mixed_float16" or "mixed_bfloat16"; by default whichever is faster here.
            callbacks: Keras callbacks, which see the whole model in every trial and in the training on all images; an
                epoch is a round of steps between two validation checks.
            logs: folder for TensorBoard.
            resume: whether to resume the same training, if it was interrupted.
            keep_state: whether to keep the state at the end, too, until `FitResult.forget` is called.
            force: whether to return the fine-tuned model even if held-out images don't show that it is better.
            seed: of order and augmentation; by default that of the recommendation.
            ray: address of a Ray cluster, as of `recommend`, on which a frozen model is fitted on all images: they are
                read by its workers, and what the closed form needs is added up.
            embeddings: with `ray`, a folder or address that all workers can write, for the embeddings; an interrupted
                run is resumed from it. By default they are in a temporary folder of this machine.
            progress: called with the phase (augmentation, images, training or refitting), steps done and steps wanted.
            announce: called with the plan before training starts.
            on_check: called with each validation check, and the schedule.

        Raises:
            RecommendError: an argument is out of range, or the model does not fit the data.
            BuildError: the model can't be trained.
            ProbeError: images have changed since they were measured.
        """
        seed = self.seed if seed is None else seed
        options = {
            name: value for name, value in locals().items() if name not in ("self", "model", "ray", "embeddings")
        }
        from recommender.fit.fit import fit
        from recommender.fit.plan import FitOptions

        if ray is None:
            if embeddings is not None:
                raise RecommendError("Expected `embeddings` with `ray`. Received: it alone. Leave it out.")
            return fit(self, model, FitOptions(**options))
        if model is not None:
            raise RecommendError("Expected `fit` to build the model with `ray`. Received: a model. Leave it out.")
        from recommender.cluster.fit import fit_on_cluster
        from recommender.cluster.session import connect

        return fit_on_cluster(connect(ray), self, FitOptions(**options), embeddings)

    def save_report(
        self,
        path: str | os.PathLike[str],
        *,
        fit: "FitResult | None" = None,
        comparison: "Comparison | None" = None,
        thumbnails: bool = True,
        command: str | None = None,
    ) -> None:
        """Write a report as one HTML file that needs no other file and no network.

        Args:
            path: of the file; it ends in .html.
            fit: what `fit` returned, to be reported as well.
            comparison: what `recommender.compare` returned, to be reported as well.
            thumbnails: whether small copies of some images are in it.
            command: a command line that repeats the recommendation, to be shown.

        Raises:
            RecommendError: the file can't be written.
        """
        target = Path(path)
        check_report(target)
        from recommender.reports.html.report import report

        text = report(self, fit=fit, comparison=comparison, thumbnails=thumbnails, command=command)
        write_together({target: lambda file: file.write_text(text, encoding="utf-8")})

    def plot_depth(self) -> Any:
        """Draw drift and accuracy by the depth of the cut points, as a matplotlib figure; matplotlib is needed."""
        from recommender.reports.plots import plot_depth

        return plot_depth(self)

    def plot_map(self) -> Any:
        """Draw where the images lie among the four scenarios, as a matplotlib figure.

        Raises:
            RecommendError: there is no matplotlib, or no similarity was measured.
        """
        from recommender.reports.plots import plot_map

        return plot_map(self)

    def to_dict(self) -> dict[str, Any]:
        """The recommendation as plain data, as described by `docs/recommendation.schema.json`."""
        from recommender.reports.json_output import as_dict

        return as_dict(self)


def recommend(
    data: Any,
    *,
    columns: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    backbone: Any = "efficientnet_lite0",
    weights: str | os.PathLike[str] | None = None,
    pixels: str | None = None,
    trust: bool = False,
    input_size: int | str | None = None,
    engine: str = "auto",
    max_images: int = 1000,
    scenario: int | None = None,
    trial: bool = False,
    check: str | None = None,
    seed: int = 0,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Recommendation:
    """Measure labelled images and choose one of the four ways of transfer learning.

    Args:
        data: a folder with one sub-folder for each class, or with such a folder for each of train, val and test; a
            manifest, an archive; TFRecord, WebDataset or Parquet shards with images; the address of one of these
            ("gs://…"). Or (images, labels), (paths, labels), a `tf.data.Dataset`, an object of TensorFlow Datasets or
            Hugging Face's datasets, or a dict of such by split: "train", "validation", "test".
        columns: names of a manifest's columns if they are not path, label, split, group and weight; of the columns
            image and label of Parquet files with images.
        class_names: names of the labels 0, 1, … if these are numbers.
        backbone: a name of the registry (`recommend backbones`), "kerashub:PRESET", a .keras or .h5 file, a folder with
            a SavedModel, a TensorFlow Hub handle, or a `keras.Model`. Of a list of them the one that fits the images is
            chosen; "auto", alone or in a list, stands for the named networks whose weights are on this machine.
        weights: a file with the weights of a `keras.applications` network; by default Keras downloads ImageNet's.
        pixels: scaling of the network's pixels, "-1..1" for example; measured if the network does not say it.
        trust: whether code and any operation in the backbone's file may run.
        input_size: height and width of the network's input in px; by default chosen by the size of the images. "auto"
            tries two or three sizes on up to 300 images, too.
        engine: what runs the network: "litert" or "tensorflow"; by default LiteRT, for which a backbone is converted at
            its first use, and TensorFlow where that is not possible.
        max_images: how many images to measure at most; the sample is stratified.
        scenario: 1 to 4 overrides the choice.
        trial: whether to train a fine-tuned network on a part of the images before choosing, and to compare it with the
            frozen one on the others, as in the trials of `fit`; it tells more of what is too close to call. One that no
            image can judge, or that diverges, decides nothing, with a warning. Not with `ray`.
        check: "sample" also looks for leaks into the test split; "full" inspects every image of the data (of a stream,
            the sample that it keeps), and resumes where it was interrupted. By default the measured images are checked.
        seed: of the sample, the folds and the resamples. The same seed gives the same answer.
        ray: address of a Ray cluster on which images are read and the network runs: "auto", "host:port", or "local",
            which starts Ray on this machine. The answer is the same as without it. Needs `netgraft[ray]`.
        progress: called with the phase ("connecting", "checking", "loading", before TensorFlow is imported,
            "converting", "backbones", "sizes", "network", "classifiers", or with a trial those of `fit`), steps done
            and steps wanted. By default a bar on standard error shows it, if that is a terminal.

    Raises:
        RecommendError: an argument is out of range.
        ProbeError: the data can't be measured.
        BuildError: a backbone is unknown, can't be read or is no image network, or its weights are missing.
    """
    check_arguments(input_size, max_images, scenario, seed, check, engine, trial=trial, ray=ray)
    tried = candidates(backbone, weights)
    if len(tried) == 1 and is_auto(backbone):
        _LOG.warning("There is nothing to choose: %s is the only network whose weights are here.", tried[0].name)
    clock = Clock()
    with reported(progress) as report:
        inspector, spread = None, None
        if ray is not None:
            from recommender.cluster.check import readers_on

            report("connecting", 0, 1)
            inspector, spread = readers_on(ray)
        index = open_source(
            data,
            columns=columns or {},
            class_names=class_names,
            max_images=max_images,
            seed=seed,
            importing=lambda: report("loading", 0, 1),
        )
        sample = draw_splits(index, max_images, seed)
        clock.lap("index")
        everything = None
        if check == "full":
            everything = inspect_everything(index, partial(report, "checking"), inspector)
            clock.lap("check")
        from recommender.pipeline.choosing import load
        from recommender.pipeline.loading import Loader
        from recommender.pipeline.pipeline import Pipeline

        pipeline = Pipeline(
            index=index,
            sample=sample,
            scenario=scenario,
            check=check,
            seed=seed,
            progress=report,
            clock=clock,
            spread=spread,
        )
        loader = partial(Loader, index=index, sample=sample, trust=trust, engine=engine, seed=seed, progress=report)
        own = pixels if len(tried) == 1 else None  # among several, networks of the registry have their own scaling
        loaders = [
            loader(backbone=each.given, weights=each.weights, pixels=own if each.spec else pixels) for each in tried
        ]
        loaded = load(list(zip(tried, loaders, strict=True)), input_size)
        clock.lap("load")
        decision = pipeline.measure_and_decide(loaded, everything)
        found = Recommendation(**{part.name: getattr(decision, part.name) for part in fields(decision)})
        if not trial:
            return found
        report("loading", 0, 1)
        from recommender.fit.trial import with_trial

        return with_trial(found, report)


def ready_model(data: Any, **arguments: Any) -> Any:
    """Measure labelled images and build the model that fits: `recommend(data, ...).build()`, with its arguments."""
    return recommend(data, **arguments).build()
