"""Reading the HTML report with the standard library's parser, and reports whose charts can be counted by hand."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import report_builders as build
from report_parts import layer, lost

from sparsity_audit.schema.report import AuditReport, LayerReport, ModelReport, StudyReport
from sparsity_audit.schema.study_report import ClaimResult, MissingRun, StudyRowFacts

VOID = {"meta", "link", "input", "br"}


@dataclass
class Node:
    """An element; ``parts`` holds texts and elements in order."""

    tag: str
    attrs: dict[str, str | None]
    parts: list[Node | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def walk(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            if isinstance(part, Node):
                yield from part.walk()

    def all(self, tag: str, **wanted: str) -> list[Node]:
        """Return the elements below that have a tag; ``klass`` has to be among the classes."""
        klass = wanted.pop("klass", None)
        return [
            node
            for node in self.walk()
            if node.tag == tag
            and (klass is None or klass in (node.attrs.get("class") or "").split())
            and all(node.attrs.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str, **wanted: str) -> Node:
        found = self.all(tag, **wanted)
        assert len(found) == 1, (tag, wanted, len(found))
        return found[0]

    def rows(self) -> list[list[str]]:
        """Return the cells of a table's body."""
        return [
            [cell.text for cell in row.parts if isinstance(cell, Node)]
            for body in self.all("tbody")
            for row in body.all("tr")
        ]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}: {attrs}"
        node = Node(tag, dict(attrs))
        self.open[-1].parts.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].parts.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes {self.open[-1].tag}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read(html: str) -> Node:
    """Parse a page, and fail where an element is not closed, or closed by another's tag."""
    parser = _Parser()
    parser.feed(html.replace("\u00a0", " "))  # that keep a number and its unit on one line
    parser.close()
    assert parser.open == [parser.root], [node.tag for node in parser.open]
    return parser.root


def measured_layer(key: str, filters: int, seed: int, **changes: Any) -> LayerReport:
    """Return a layer with γ, β and universality drawn at random, its index lists found by hand."""
    rng = random.Random(seed)  # noqa: S311
    gamma = [rng.choice([1e-40, -5e-4, rng.uniform(0.05, 1.5), -rng.uniform(0.05, 1.0)]) for _ in range(filters)]
    scale = [i for i, value in enumerate(gamma) if abs(value) < 1e-3]
    activation = sorted({*scale[::2], *range(0, filters, 7)})
    constant = [i for i in scale if i not in activation][:2]
    values: dict[str, Any] = {
        "filters": filters,
        "scale": scale,
        "activation": activation,
        "constant": constant,
        "constant_candidates": constant,
        "gamma": gamma,
        "beta": [rng.uniform(-0.5, 0.5) for _ in range(filters)],
        "universality": [0.0 if i in activation else rng.randrange(1001) / 1000 for i in range(filters)],
        "params": 100 * filters + seed,
        "macs": 7000 * filters,
        "selectivity": rng.random(),
        "lost": {
            name: lost(len(scale), 10 * len(scale), 700 * len(scale), seed)
            for name in ("scale", "activation", "constant", "union")
        },
    }
    return layer(key, **(values | changes))


def measured_model(layers: int = 12, filters: int = 40) -> ModelReport:
    """Return a model of many kinds of layers: of other sizes, without data, without a normalisation."""
    made = [measured_layer(f"block{i}.conv", filters + 3 * i, i) for i in range(layers)]
    made.append(
        measured_layer("Unseen.Conv", 9, 99, activation=None, constant=None, universality=None, selectivity=None)
    )
    made.append(measured_layer("bare.conv", 5, 98, scale=None, gamma=None, beta=None, constant_candidates=None))
    outcomes = ["passed", "skipped", "inconclusive"]
    results = [build.undecided(outcomes[i % 3], "why", "SA301", item.key) for i, item in enumerate(made)]
    results += [build.failed("SA101", "block1.conv"), build.failed("SA102", "block2.conv", "warning")]
    results += [build.failed("SA101", "block4.conv", standing="known", standing_reason="0.3 in the baseline")]
    return build.model(made, results)


def study() -> StudyReport:
    """Return a comparison in which something failed, something is missing, and claims were held against runs."""
    rows = [
        StudyRowFacts(
            id=f"row-{i}", settings="", seeds=[0, 1], means={"by_scale": 0.25 * i}, deviations={"by_scale": 0.01}
        )
        for i in (1, 2)
    ]
    claim = ClaimResult(
        id="l2-kills",
        claim="L2 kills more",
        source="Table 1",
        outcome="reproduced",
        value=0.31,
        interval=(0.2, 0.4),
        n=3,
        reason=None,
        message="31 points more",
    )
    result = build.failed("SA301", None, "error", scope="study", evidence={"runs": ["adam-l2", "adam-wd"]})
    return StudyReport(
        name="digits",
        title=f"Digits {build.NASTY}",
        source="Table 1",
        runs=[],
        missing=[MissingRun(name="row-3", seed=7, digest="0", reason="not run")],
        rows=rows,
        results=[result],
        claims=[claim],
        notes=[f"note {build.NASTY}"],
    )


def with_study() -> AuditReport:
    return build.report([], exit_code=1, studies=[study()])
