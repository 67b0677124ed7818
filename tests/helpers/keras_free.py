"""The command in a process of its own that must not import TensorFlow or Keras."""

_CODE = """
import sys
from recommender.cli.recommend import main
try:
    main(sys.argv[1:], prog_name="recommend")
finally:
    print("imported", sorted({"tensorflow", "keras"} & set(sys.modules)))
"""


def run_without_keras(run_python, *arguments):
    """What the command prints; `run_python` is the fixture."""
    done = run_python(_CODE, *arguments)
    assert done.returncode == 0, done.stderr
    assert "imported []" in done.stdout
    return done.stdout
