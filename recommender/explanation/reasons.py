"""The reasons of a recommendation, in plain sentences with their numbers."""

from typing import TYPE_CHECKING

from probes.quality.findings import count
from recommender.rules import thresholds
from recommender.rules.class_balance import small_class
from recommender.rules.cut_rule import CutChoice, caution
from recommender.rules.scenario import Amount, Scenario, Similarity
from recommender.rules.scenario_rule import amount, similarity_verdict

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision


def explain(found: "Decision") -> tuple[str, ...]:
    """Why this scenario and this strategy."""
    reasons = [_override(found), _amount(found), _similarity_reason(found), _resolution(found)]
    reasons += [_cut(found), _freeze(found), _accuracy(found), _runner_up(found)]
    return tuple(reason for reason in reasons if reason)


def cautions(found: "Decision") -> tuple[str, ...]:
    """What the user should know of the data and the network before trusting the answer."""
    size, evidence = found.measurements.size, found.measurements.separability
    notes = [finding.message for finding in found.findings]
    if size.unsampled_classes:
        notes.append(
            f"{count(len(size.unsampled_classes), 'class', 'classes')} had no room in the sample and start without "
            f"knowledge in the model. Raise --max-images to {2 * size.n_classes:,} or more."
        )
    if evidence.note:
        notes.append(f"{evidence.note[0].upper()}{evidence.note[1:]}.")
    return (*notes, *_network_cautions(found))


def _network_cautions(found: "Decision") -> list[str]:
    """What is less sure for the network that was chosen."""
    notes = []
    native, size = found.backbone.native_size, found.strategy.input_size
    similarity, scaling = found.measurements.similarity, found.scaling
    if similarity is not None and not thresholds.SMALLEST_INPUT <= size <= native:
        notes.append(
            f"What drift is compared with was measured at {thresholds.SMALLEST_INPUT} to {native} px; at {size} px the "
            "nearest of them stands in, and the similarity is less sure."
        )
    if scaling is not None:
        notes.append(
            f"How {found.backbone.title} wants its pixels scaled was measured by its BatchNorm statistics: "
            f"{scaling.name}, under which early layers drift by {scaling.drift:.2f}, then {scaling.runner_up} with "
            f"{scaling.runner_up_drift:.2f}. Name another with --pixels if you know better."
        )
    if similarity is not None and similarity.basis == "yardstick":
        notes.append(
            f"No pictures of what {found.backbone.title} was trained on are at hand: two photographs stand in. A "
            "reference makes it surer: `recommend --make-reference IMAGES`."
        )
    if similarity is not None and similarity.basis == "foreign":
        notes.append(
            f"Photographs are foreign to {found.backbone.title}: it was trained on something else, and its drift could "
            "not be put on a scale. Make a reference with pictures of that: `recommend --make-reference IMAGES`."
        )
    if found.strategy.freeze is not None and found.backbone.has_composite_layers:
        notes.append(
            "Keras does not keep in a file that layers inside a layer, as attention has them, are frozen. Before you "
            "train a loaded model, set the flag of each frozen layer to True and back to False, and compile it anew."
        )
    if len(found.plan.cuts) == 1:
        why = next((layer.whole for layer in found.backbone.network.layers if getattr(layer, "whole", None)), None)
        notes.append(f"{found.backbone.title} can't be cut inside and is used whole. {why or ''}".rstrip())
    return notes


def _override(found: "Decision") -> str:
    ruled, chosen = found.verdict.overridden, found.scenario
    if ruled is None:
        return ""
    return f"You asked for scenario {chosen.id} ({chosen.name}); the rules would choose {ruled.id} ({ruled.name})."


def _amount(found: "Decision") -> str:
    size = found.measurements.size
    small = small_class(size.class_counts)
    which = _small_class(size.n_classes)
    needs = f"{thresholds.PLENTIFUL_IMAGES:,} images and {thresholds.PLENTIFUL_IMAGES_PER_CLASS} in {which}"
    have = f"{count(size.n_images, 'image')} in {size.n_classes:,} classes, {small:,} in {which}"
    if amount(size.n_images, small) is Amount.PLENTIFUL:
        return f"The data are plentiful: {have}; fine-tuning pays from {needs}."
    return f"The data are limited: {have}; fine-tuning pays only from {needs}."


def _small_class(n_classes: int) -> str:
    left = int(thresholds.NEGLIGIBLE_CLASSES * (n_classes - 1))
    return f"the smallest but {left}" if left else "the smallest class"


def _similarity_reason(found: "Decision") -> str:
    similarity, title = found.measurements.similarity, found.backbone.title
    if similarity is None:
        return _similarity_reason_by_cuts(found)
    source = source_of(found)
    alike = "like" if similarity_verdict(similarity.score) is Similarity.SIMILAR else "unlike"
    spread = "" if similarity.standard_error is None else f" ± {similarity.standard_error:.2f}"
    small = " as small" if similarity.enlargement >= thresholds.NOTABLE_ENLARGEMENT else ""
    beside = {
        "reference": (f"{source}'s own pictures" if similarity.source else "the pictures of its reference") + small,
        "yardstick": f"photographs{small}",
        "foreign": "what a network has for pictures of its own",
    }[similarity.basis]
    known = similarity.source or "what it was trained on"
    return (
        f"To {title} they look {alike} {known}: similarity {similarity.score:.2f}{spread}, threshold "
        f"{thresholds.SIMILAR_SCORE:.2f}. Early and middle layers drift by {similarity.excess:.3f} more than for "
        f"{beside}; the threshold is {thresholds.DRIFT_THRESHOLD:.3f}."
    )


def source_of(found: "Decision") -> str:
    """The name of what the network was trained on, or a phrase where that is not known."""
    similarity = found.measurements.similarity
    named = similarity.source if similarity is not None else found.backbone.source
    return named or f"what {found.backbone.title} was trained on"


def _similarity_reason_by_cuts(found: "Decision") -> str:
    alike = found.verdict.similarity is Similarity.SIMILAR
    which = "no earlier cut is clearly better than the last one" if alike else "an earlier cut is clearly better"
    return (
        f"How like {source_of(found)} they look could not be measured: {found.backbone.title} has no BatchNorm, and "
        f"there is no reference for it. By the classifiers alone they count as {'like' if alike else 'unlike'} it, "
        f"since {which}; that agrees with the measure in {thresholds.CUTS_AGREEMENT:.0%} of our data sets, and the "
        "confidence is so much lower. Make a reference with `recommend --make-reference IMAGES`, from pictures of what "
        "it was trained on."
    )


def _resolution(found: "Decision") -> str:
    similarity, size = found.measurements.similarity, found.measurements.size
    if similarity is None or similarity.enlargement < thresholds.NOTABLE_ENLARGEMENT:
        return ""
    how = (
        f"the median picture is {size.median_size_px[0]} × {size.median_size_px[1]} px and is enlarged "
        f"{similarity.enlargement:.1f} times; beside sharp pictures the similarity would be "
        f"{similarity.sharp_score:.2f}"
    )
    if similarity_verdict(similarity.score) is Similarity.DISSIMILAR:
        return f"Low resolution does not explain it: {how}, and beside ones as small as these it is still low."
    if similarity_verdict(similarity.sharp_score) is Similarity.DISSIMILAR:
        return f"They are compared with pictures as small as these: {how}. Larger ones would give a better model."
    return ""


def _cut(found: "Decision") -> str:
    strategy, choice = found.strategy, found.plan.cut_choice
    where = f"{strategy.cut} ({strategy.cut_depth:.0%} of the depth)"
    if choice is None and found.scenario is Scenario.SHALLOW_FEATURES:
        return f"Keep the whole of {found.backbone.title}, since its graph can't be cut; nothing nearer can be built."
    if choice is None:
        return f"Keep the whole backbone, up to {where}."
    kept = f"Keep all up to {where}"
    if choice.gain is None:
        return f"{kept}, where the rule starts; nothing could be cross-validated."
    errors = _errors(caution(choice.index, choice.prior))
    if choice.index == choice.prior:
        earlier, later = _errors(thresholds.EARLIER_CUT_CAUTION), _errors(thresholds.LATER_CUT_CAUTION)
        return f"{kept}, where the rule starts: no earlier cut lets a linear classifier gain more than {earlier}" + (
            "." if choice.prior == len(found.plan.cuts) - 1 else f", and no later one more than {later}."
        )
    return f"{kept}: {_gain(choice)}, more than {errors}."


def _errors(number: float) -> str:
    return "its standard error" if number == 1 else f"{number:g} standard errors"


def _gain(choice: CutChoice) -> str:
    return (
        f"a linear classifier there is {100 * (choice.gain or 0):.1f} ± {100 * (choice.gain_error or 0):.1f} points "
        "more accurate than where the rule starts"
    )


def _freeze(found: "Decision") -> str:
    strategy = found.strategy
    frozen, trainable = found.parameters
    if strategy.freeze is None:
        return (
            f"Freeze nothing but BatchNorm, whose statistics small batches would spoil: {trainable:,} parameters train."
        )
    if strategy.freeze == strategy.cut:
        return f"Freeze all that is kept ({frozen:,} parameters); the prediction layer trains ({trainable:,})."
    return (
        f"Freeze the first {strategy.freeze_depth:.0%}, up to {strategy.freeze} ({frozen:,} parameters frozen, "
        f"{trainable:,} trainable): the more images, the more trains."
    )


def _accuracy(found: "Decision") -> str:
    judged, n_held_out = found.probe.judged, found.measurements.n_held_out
    if judged is None:
        return "No class has two images that can be split, so the accuracy can't be measured."
    how = f"on {n_held_out:,} images of your validation split" if n_held_out else "by cross-validation"
    told = (
        f"Before any training the model is right on {judged.accuracy:.1%} ± {judged.standard_error:.1%} of new images, "
        f"{how}: its prediction layer starts from a logistic regression."
    )
    if found.class_weight is None:
        return told
    return (
        f"{told} Balanced accuracy, the mean over classes, is {judged.balanced_accuracy:.1%} ± "
        f"{judged.balanced_error:.1%}: the classes are unbalanced, and each counts alike in the prediction layer."
    )


def _runner_up(found: "Decision") -> str:
    close = "This is a close call; try both. " if found.verdict.close else ""
    return close + _other_way(found)


def _other_way(found: "Decision") -> str:
    verdict, size, similarity = found.verdict, found.measurements.size, found.measurements.similarity
    name = f"{verdict.runner_up.id} ({verdict.runner_up.name})"
    if verdict.overridden is not None:
        return f"The runner-up is the rules' own choice, {name}."
    if verdict.nearer is Amount.PLENTIFUL:
        more = thresholds.PLENTIFUL_IMAGES - size.n_images
        lack = (
            f"{count(more, 'more image')}"
            if more > 0
            else f"{thresholds.PLENTIFUL_IMAGES_PER_CLASS} images in {_small_class(size.n_classes)}"
        )
        return f"The runner-up is {name}: it would take {lack}."
    if verdict.nearer is Amount.LIMITED:
        return f"The runner-up is {name}: it would be right below {thresholds.PLENTIFUL_IMAGES:,} images."
    if similarity is None:
        unlike = "unlike" if verdict.similarity is Similarity.SIMILAR else "like"
        return f"The runner-up is {name}, if the images are {unlike} it."
    side = "above" if verdict.nearer is Similarity.DISSIMILAR else "below"
    return (
        f"The runner-up is {name}: drift would have to be {side} {thresholds.DRIFT_THRESHOLD:.3f}, and is "
        f"{similarity.excess:.3f}."
    )
