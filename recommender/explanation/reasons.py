"""The reasons of a recommendation, in plain sentences with their numbers."""

from probes.quality.findings import count
from recommender.explanation.text import interval_text, percent
from recommender.explanation.verdict import (
    MAKE_REFERENCE,
    TOO_FEW_NORMS,
    condition_of_runner_up,
    gain_interval,
    kind_of_accuracy,
    rounded,
    score_interval,
    small_class_words,
    source_of,
    trial_words,
)
from recommender.pipeline.decision import Decision
from recommender.rules import thresholds
from recommender.rules.backbone_rule import BackboneChoice, BackboneEvidence
from recommender.rules.class_balance import small_class
from recommender.rules.scenario import Scenario, Similarity
from recommender.rules.scenario_rule import similarity_verdict


def explain(found: Decision) -> tuple[str, ...]:
    """Why this scenario and this strategy."""
    parts = (_override, _backbone, _trial, _amount, _similarity, _resolution, _cut, _freeze, _accuracy, _runner_up)
    return tuple(reason for part in parts if (reason := part(found)))


def _override(found: Decision) -> str:
    ruled, chosen = found.verdict.overridden, found.scenario
    if ruled is None:
        return ""
    return f"You asked for scenario {chosen.id} ({chosen.name}); the rules would choose {ruled.id} ({ruled.name})."


def _trial(found: Decision) -> str:
    words = trial_words(found)
    said = f"A trial was run on your images: {words}. It counts together with what is known of other data sets."
    return said if words else ""


def _backbone(found: Decision) -> str:
    choice: BackboneChoice | None = found.measurements.extra.get("backbone")
    if choice is None:
        return ""
    chosen, others = choice.tried[0], choice.tried[1:]
    among = f"{choice.name} was chosen among {len(choice.tried)} networks"
    if choice.leader is None:
        best = "the first that was named; the accuracy of none on ImageNet is known"
        if chosen.imagenet_accuracy is not None:
            best = f"the one with the best accuracy on ImageNet, {chosen.imagenet_accuracy:.1f} %"
        return f"{among} without a comparison, since no images can be held out: it is {best}."
    leader = next(each for each in choice.tried if each.name == choice.leader)
    lead = f"a linear classifier on it is right on {percent(leader.accuracy or 0)}"
    if leader.imagenet_accuracy is not None:
        lead += (
            f" (its accuracy on ImageNet, {leader.imagenet_accuracy:.1f} %, counts as "
            f"{thresholds.BACKBONE_PRIOR_IMAGES} more images)"
        )
    on = f"{among} on {count(chosen.n_images, 'image')}"
    if leader is not chosen:
        counted = "with the accuracy on ImageNet counted, " if leader.imagenet_accuracy is not None else ""
        return (
            f"{on}: {leader.name} leads, {lead}; {counted}{chosen.name} ({_points(chosen)} points on the images) "
            f"is within {thresholds.BACKBONE_TIED:g} standard error of it and takes "
            f"{percent(chosen.multiply_adds / leader.multiply_adds, 0)} of the computation."
        )
    tied = [each for each in others if not each.dropped]
    next_one = f"The next, {tied[0].name}, gains {_points(tied[0])} points." if tied else "The others are surely worse."
    return f"{on}: {lead}. {next_one}"


def _points(evidence: BackboneEvidence) -> str:
    """Gain over the leader, with its 90 % interval."""
    gain = evidence.gain or 0.0
    return f"{100 * gain:+.1f} (90 % interval {gain_interval(gain, evidence.gain_error)})"


def _amount(found: Decision) -> str:
    size, verdict = found.measurements.size, found.verdict
    outcomes, tuned, small = verdict.outcomes, verdict.best_tuned, small_class(size.class_counts)
    kind = "" if found.class_weight is None else f"a {kind_of_accuracy(found)} of "
    return (
        f"There are {count(size.n_images, 'image')} in {size.n_classes:,} classes, {small:,} in "
        f"{small_class_words(size.n_classes)}. Fine-tuning (scenario {tuned.id}) is expected to reach "
        f"{kind}{percent(outcomes.expected(tuned))} (90 % interval {interval_text(outcomes.interval(tuned))}); on "
        f"such a task it is expected to be as good as freezing with about {rounded(verdict.images_needed)} images, and "
        "better with more."
    )


def _similarity(found: Decision) -> str:
    similarity, title = found.measurements.similarity, found.backbone.title
    if similarity is None:
        return _similarity_by_cuts(found)
    like = "like" if similarity_verdict(similarity.score) is Similarity.SIMILAR else "unlike"
    interval = score_interval(similarity)
    spread = "" if interval is None else " (90 % interval {:.2f} to {:.2f})".format(*interval)
    baseline = {
        "reference": f"images of {similarity.source or 'its reference'}",
        "standard_photos": "photographs",
        "out_of_distribution": "the images that a network was trained on",
    }[similarity.basis]
    like_what = similarity.source or "what it was trained on"
    return (
        f"To {title} the images are {like} {like_what}: similarity {similarity.score:.2f}{spread}, of 1 at most; "
        f"from {thresholds.SIMILAR_SCORE:.2f} on they count as like. Early and middle layers drift by "
        f"{similarity.excess:.3f} more than for {baseline}; the threshold is {thresholds.DRIFT_THRESHOLD:.3f}."
    )


def _similarity_by_cuts(found: Decision) -> str:
    similar, title = found.verdict.similarity is Similarity.SIMILAR, found.backbone.title
    which = "no earlier cut is clearly better than the last one" if similar else "an earlier cut is clearly better"
    return (
        f"The similarity to {source_of(found)} could not be measured: {title} has {TOO_FEW_NORMS}, and there is no "
        f"reference for it. The classifiers alone say {'like' if similar else 'unlike'}, since {which}. "
        f"That agrees with the measurement in {percent(thresholds.CUTS_AGREEMENT, 0)} of our data sets, and the "
        f"confidence takes account of it. Make a reference from images of what it was trained on: {MAKE_REFERENCE}."
    )


def _resolution(found: Decision) -> str:
    similarity, (width, height) = found.measurements.similarity, found.measurements.size.median_size_px
    if similarity is None or similarity.enlargement < thresholds.NOTABLE_ENLARGEMENT:
        return ""
    return (
        f"They are compared with images of as low a resolution: the median image is {width} × {height} px and is "
        f"enlarged {similarity.enlargement:.1f} times; compared with sharp images the similarity would be "
        f"{similarity.sharp_score:.2f}."
    )


def _cut(found: Decision) -> str:
    strategy, choice = found.strategy, found.plan.cut_choice
    kept = f"Keep all up to {strategy.cut} ({percent(strategy.cut_depth, 0)} of the depth)"
    if choice is None:
        uncut = ", since its graph can't be cut" if found.scenario is Scenario.SHALLOW_FEATURES else ""
        return f"{kept}: the whole backbone{uncut}.{_earlier_cut(found)}"
    if choice.gain is None:
        return f"{kept}, where the rule starts; nothing could be cross-validated."
    if choice.index == choice.prior:
        return (
            f"{kept}, where the rule starts: a linear classifier is not clearly better at any other cut point "
            f"(clearly: by {thresholds.EARLIER_CUT_CAUTION:g} standard errors for an earlier one, by "
            f"{thresholds.LATER_CUT_CAUTION:g} for a later one)."
        )
    return (
        f"{kept}: a linear classifier there is {100 * choice.gain:.1f} points more accurate than at "
        f"{percent(found.plan.cuts[choice.prior].depth, 0)}, where the rule starts (90 % interval "
        f"{gain_interval(choice.gain, choice.gain_error)}; neighbouring cut points are averaged)."
    )


def _earlier_cut(found: Decision) -> str:
    """What cutting earlier would change, where the whole backbone is frozen."""
    task = found.verdict.task
    if found.strategy.freeze != found.strategy.cut or task.cut_gain is None or task.accuracy is None:
        return ""
    return (
        " A classifier that reads the layers up to the best earlier cut alone changes the accuracy on these images by "
        f"{100 * task.cut_gain:+.1f} points (90 % interval {gain_interval(task.cut_gain, task.cut_gain_error)})."
    )


def _freeze(found: Decision) -> str:
    strategy = found.strategy
    frozen, trainable = found.parameters
    if strategy.freeze is None:
        return (
            f"Freeze only BatchNorm, since small batches would distort its statistics: {trainable:,} parameters train. "
            "`fit` keeps these statistics, and trains BatchNorm's scales and offsets, too."
        )
    if strategy.freeze == strategy.cut:
        return f"Freeze all that is kept ({frozen:,} parameters); the prediction layer trains ({trainable:,})."
    return (
        f"Freeze the first {percent(strategy.freeze_depth, 0)}, up to {strategy.freeze} ({frozen:,} parameters frozen, "
        f"{trainable:,} trainable); with more images more layers train."
    )


def _accuracy(found: Decision) -> str:
    judged, n_held_out = found.judged, found.measurements.n_held_out
    if judged is None:
        return "No class has two images that can be split, so the accuracy can't be measured."
    how = f"on {n_held_out:,} images of your validation split" if n_held_out else "by cross-validation"
    right = f"right on {percent(judged.accuracy)} of new images (90 % interval {interval_text(judged.interval)})"
    start = f"{how}: its prediction layer starts from a linear classifier"
    if found.class_weight is None:
        return f"Before any training the model is {right}, {start}."
    return (
        f"Before any training the model's balanced accuracy, the mean over classes, is "
        f"{percent(judged.balanced_accuracy)} (90 % interval {interval_text(judged.balanced_interval)}), {start}. The "
        f"classes are unbalanced, and the prediction layer weights them equally. It is {right}."
    )


def _runner_up(found: Decision) -> str:
    verdict = found.verdict
    close = "This is too close to call. " if verdict.close and verdict.overridden is None else ""
    return (
        f"{close}The runner-up is {verdict.runner_up.id} ({verdict.runner_up.name}): {condition_of_runner_up(found)}."
    )
