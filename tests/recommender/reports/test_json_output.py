"""The JSON output keeps to its schema, and the schema in docs is the one of the records."""

import json
import re
from types import SimpleNamespace

import jsonschema
import numpy as np
import pytest
from descriptions import EXPORTS, FIT
from paths import ROOT

from recommender.comparison.compare import compare
from recommender.json_records import Check, Fit, Record
from recommender.reports.json_schema import Finding, schema

VALIDATOR = jsonschema.Draft202012Validator(schema())


def objects(part):
    """All schemas of objects in a schema."""
    if isinstance(part, dict):
        if "properties" in part:
            yield part
        for inner in part.values():
            yield from objects(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from objects(inner)


def test_the_schema_in_docs_is_up_to_date():
    written = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text(encoding="utf-8"))
    assert written == schema(), "run: python -m recommender.reports.json_schema > docs/recommendation.schema.json"


def test_the_schema_is_valid_and_admits_no_other_keys():
    VALIDATOR.check_schema(schema())
    found = list(objects(schema()))
    assert len(found) > 30
    assert all(part["additionalProperties"] is False for part in found)


def test_a_recommendation_keeps_to_the_schema(tiny_found):
    document = tiny_found.to_dict()
    VALIDATOR.validate(document)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["schema_version"] == 6
    assert document["probes"] == {}
    assert [Finding.of(finding).to_dict() for finding in tiny_found.findings] == document["findings"]


def test_training_and_exports_may_be_added(tiny_found):
    VALIDATOR.validate({**tiny_found.to_dict(), "fit": FIT, "exports": EXPORTS})


@pytest.mark.parametrize("key", ["dataset", "seed", "probes"])
def test_a_document_without_a_key_breaks_the_schema(key, tiny_found):
    document = tiny_found.to_dict()
    del document[key]
    assert not VALIDATOR.is_valid(document)


def test_a_real_training_keeps_to_the_schema(tiny_found):
    document = {**tiny_found.to_dict(), "fit": tiny_found.fit(steps=2).to_dict()}
    VALIDATOR.validate(json.loads(json.dumps(document, allow_nan=False)))


@pytest.mark.slow
def test_a_real_comparison_keeps_to_the_schema(tiny_found):
    document = {**tiny_found.to_dict(), "comparison": compare(tiny_found, budget=5).to_dict()}
    VALIDATOR.validate(json.loads(json.dumps(document, allow_nan=False)))


class Everything(Record):
    text: str
    numbers: list[float]
    by_name: dict[str, int]
    maybe: float | None


def test_a_record_becomes_plain_data():
    source = SimpleNamespace(text="gr\udcfcn", numbers=np.array([1.0, np.nan]), by_name={"\udcff": np.int64(3)}, more=1)
    found = Everything.of(source, maybe=np.float32("nan")).to_dict()
    assert found == {"text": "gr\\xfcn", "numbers": [1.0, None], "by_name": {"\\xff": 3}, "maybe": None}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_record_needs_every_field():
    with pytest.raises(AttributeError, match="held_out_loss"):
        Check.of(SimpleNamespace(step=1, accuracy=1.0))


def test_the_keys_of_a_training_are_the_fields_of_its_record():
    assert set(FIT) == set(Fit.__struct_fields__)
    assert not any(re.search("[A-Z]", key) for key in FIT)
