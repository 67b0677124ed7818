"""Classes that can be recognised without the content of their pictures."""

from collections.abc import Iterator

from probes.data.image_index import TRAIN
from probes.quality.checked_data import InspectedData
from probes.quality.findings import Finding, finding
from probes.quality.shortcuts import shortcuts

_EXAMPLES = 5  # of a class


def check(data: InspectedData) -> Iterator[Finding]:
    """Classes that format, size, colour mode or brightness of the training images give away."""
    seen, names = data.seen, data.index.class_names
    training = seen.in_split(seen.read, TRAIN)
    rows = seen.read[training]
    labels = seen.labels[rows["place"]]
    for found in shortcuts(rows, labels, names, data.repeats.together[training]):
        places = rows["place"][labels == found.label]
        yield finding(
            f"shortcut_{found.kind}",
            [seen.names[place] for place in places[:_EXAMPLES]],
            f"{names[found.label]!r} can be recognised by {found.kind} alone, with a balanced accuracy of "
            f"{found.accuracy:.0%}: {found.words}.",
            "Measured all the same: the network may have learned that instead of the content of the pictures.",
            "Take or save the pictures of all classes in the same way before you trust any accuracy.",
            n_files=len(places),
        )
