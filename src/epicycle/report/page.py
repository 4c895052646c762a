"""A report: sections rendered into one self-contained HTML file, with a JSON file of every number beside it.

Titles, ledes and caveats are escaped by the template. A section's body is markup built by report.sections from
escaped parts. The page has a content security policy that forbids every network request.
"""

import json
from collections.abc import Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

from epicycle._files import atomic, to_json


class Section(NamedTuple):
    """One section: `body` is markup whose parts are escaped already."""

    anchor: str
    title: str
    lede: str
    body: str
    caveats: tuple[str, ...] = ()


class Tile(NamedTuple):
    """One figure of the first screen, with what it is to be compared with."""

    name: str
    value: str
    note: str


class Page(NamedTuple):
    """Everything a report shows."""

    title: str
    heading: str
    finding: tuple[str, ...]
    tiles: tuple[Tile, ...]
    doubts: tuple[str, ...]
    sections: tuple[Section, ...]
    numbers: dict[str, Any]

    def save(self, path: Path | str) -> Path:
        """Write `path` and the JSON of its numbers beside it (same name, .json); returns `path`."""
        target = Path(path)
        with atomic(target) as scratch:
            scratch.write_text(render(self, target.with_suffix(".json").name), encoding="utf-8")
        with atomic(target.with_suffix(".json")) as scratch:
            scratch.write_text(to_json(self.numbers, indent=1) + "\n", encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        from html import escape

        return f'<iframe style="width:100%;height:40rem;border:0" srcdoc="{escape(render(self), quote=True)}"></iframe>'


def render(page: Page, numbers_file: str = "report.json") -> str:
    """The HTML of a page, whose numbers lie in a file beside it."""
    import jinja2
    from markupsafe import Markup

    folder = resources.files("epicycle.report").joinpath("templates")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    sections = [section._asdict() | {"body": Markup(section.body)} for section in page.sections]
    return template.render(
        **page._asdict() | {"sections": sections},
        css=Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),
        script=Markup(folder.joinpath("page.js").read_text(encoding="utf-8")),
        numbers_file=numbers_file,
        version=metadata.version("epicycle"),
    )


PROSE = 24
"""Characters above which a cell makes its column one of words, set from the left."""
SHORT = 12
"""Characters up to which a column of figures is not broken into lines."""


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """An escaped HTML table; numbers to four digits."""
    from markupsafe import escape

    def cell(value: Any) -> str:
        return str(escape(number(value) if isinstance(value, float | int) and not isinstance(value, bool) else value))

    is_prose = [any(isinstance(row[i], str) and len(row[i]) > PROSE for row in rows) for i in range(len(header))]
    is_short = [all(len(cell(row[i])) <= SHORT for row in rows) for i in range(len(header))]
    kind = lambda i: " class='prose'" if is_prose[i] else (" class='short'" if is_short[i] else "")  # noqa: E731
    head = "".join(f"<th scope='col'{kind(i)}>{escape(name)}</th>" for i, name in enumerate(header))
    body = "".join(
        "<tr>" + "".join(f"<td{kind(i)}>{cell(value)}</td>" for i, value in enumerate(row)) + "</tr>" for row in rows
    )
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}</figure>"


def number(value: float | int | None) -> str:
    """A number as people read it: 4 significant digits, thousands separated, powers of ten for the very small."""
    if value is None or value != value:
        return "not defined"
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e6:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 9999.5 else f"{value:,.4g}"


def drawing(svg: str, caption: str = "") -> str:
    """An SVG as a figure with an escaped caption."""
    from markupsafe import escape

    return f"<figure>{svg}{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"


def embedded_json(value: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(json.loads(to_json(value)), separators=(",", ":")).replace("<", "\\u003c")
