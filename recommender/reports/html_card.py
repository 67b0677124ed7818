"""The answer as a card for notebooks: HTML that needs nothing else, light and dark."""

from html import escape

from recommender.pipeline.decision import Decision
from recommender.reports.summary import answer, lines, next_calls

# The colours follow the notebook's own, which light and dark themes set.
_STYLE = """
.netgraft-card{max-width:46em;border:1px solid rgba(128,128,128,.45);border-radius:6px;padding:.8em 1em;
font:14px/1.45 system-ui,sans-serif;color:inherit}
.netgraft-card b.scenario{display:inline-block;background:#0b5cad;color:#fff;border-radius:4px;padding:.1em .5em}
.netgraft-card p{margin:.5em 0;font-weight:600}
.netgraft-card dl{display:grid;grid-template-columns:max-content 1fr;gap:.25em 1em;margin:0}
.netgraft-card dt{font-weight:600}
.netgraft-card dd{margin:0}
"""


def html_card(found: Decision) -> str:
    """A card with the answer, how sure it is, what it gives and costs, and what comes next."""
    calls = "<br>".join(f"<code>{escape(call)}</code>" for call in next_calls(found))
    rows = [(name, escape(content)) for name, content in lines(found) if content]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{content}</dd>" for name, content in [*rows, ("Next", calls)])
    scenario = f"Scenario {found.scenario.id} {found.scenario.name}"
    return (
        f'<style>{_STYLE}</style><div class="netgraft-card"><b class="scenario">{scenario}</b>'
        f"<p>{escape(answer(found))}</p><dl>{listed}</dl></div>"
    )
