"""What ``autotune verify`` tells a CI service: JUnit's XML, and a summary in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from autotune.report.verify import lines
from autotune.units import format_bytes, format_duration, format_ratio

if TYPE_CHECKING:
    from autotune.search.verify import Verified

#: What XML 1.0 cannot hold, not even escaped.
_NO_XML = {one: "\N{REPLACEMENT CHARACTER}" for one in range(32) if one not in (9, 10, 13)}
_NO_XML |= dict.fromkeys((0xFFFE, 0xFFFF), "\N{REPLACEMENT CHARACTER}")
#: What would be Markdown in a cell of a table.
_MARKDOWN = str.maketrans({one: f"\\{one}" for one in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "})


def junit(verified: Verified, name: str) -> str:
    """One test case: it fails where the recipe does not hold, with all that was measured."""
    said = "\n".join(lines(verified, name)).translate(_NO_XML)
    good, seconds = verified.holding.good, f"{verified.seconds:.3f}"
    named = quoteattr(name.translate(_NO_XML))
    what = quoteattr(verified.holding.sentence)
    failure = "" if good else f"    <failure message={what}>{escape(said)}</failure>\n"
    output = f"    <system-out>{escape(said)}</system-out>\n" if good else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuite name="autotune verify" tests="1" failures="{int(not good)}" errors="0" '
        f'skipped="0" time="{seconds}">\n'
        f'  <testcase classname="autotune.verify" name={named} time="{seconds}">\n'
        f"{failure}{output}"
        "  </testcase>\n"
        "</testsuite>\n"
    )


def markdown(verified: Verified, name: str) -> str:
    """A table of what was recorded and what was measured, under the verdict."""
    recipe, winner, aim = verified.recipe, verified.winner, verified.recipe.aim
    recorded = recipe.evidence.winner
    here = ("–", "–")
    if winner is not None:
        here = (format_duration(winner.seconds(aim)), format_bytes(winner.peak_bytes))
    ratio = f", {format_ratio(verified.ratio)} the time" if verified.ratio is not None else ""
    mark = "✅" if verified.holding.good else "❌"
    said = [
        f"### {mark} {name.translate(_MARKDOWN)}: {verified.holding.sentence}{ratio}",
        "",
        f"| | {aim.unit} | peak |",
        "|---|---|---|",
        f"| recorded | {format_duration(recorded.seconds(aim))} "
        f"| {format_bytes(recorded.peak_bytes)} |",
        f"| here | {here[0]} | {here[1]} |",
        f"| allowed | {format_duration(verified.high_s * (1 + verified.within))} "
        f"| {format_bytes(recipe.budget.bytes)} |",
        "",
    ]
    if verified.failed is not None:
        outcome = verified.failed.outcome
        said += [(outcome.message or outcome.status.sentence).translate(_MARKDOWN), ""]
    said += [
        f"- {one.field.translate(_MARKDOWN)} was {str(one.recorded).translate(_MARKDOWN)}, "
        f"here it is {str(one.here).translate(_MARKDOWN)} ({one.severity})"
        for one in verified.check.differences
    ]
    return "\n".join(said) + "\n"
