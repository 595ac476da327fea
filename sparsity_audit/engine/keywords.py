"""The ``-k`` expression: names joined by ``and``, ``or``, ``not`` and parentheses, as pytest has it."""

from __future__ import annotations

import re
from collections.abc import Callable

from sparsity_audit.errors import UsageError
from sparsity_audit.schema.rule import Rule

Matcher = Callable[[str], bool]


def keyword_filter(expression: str) -> Callable[[Rule, str | None], bool]:
    """Return a filter of items: a word holds where it stands in the rule's id, its name or the layer key.

    Upper and lower case are the same.

    Raises:
        UsageError: not an expression.
    """
    matches = _Parser(expression).parse()
    return lambda rule, layer: matches(f"{rule.id} {rule.name} {layer or ''}".lower())


class _Parser:
    """Recursive descent over ``or`` < ``and`` < ``not`` < word or parentheses."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = re.findall(r"[()]|[^\s()]+", expression)

    def parse(self) -> Matcher:
        matcher = self._alternatives()
        if self.tokens:
            self._fail(f"{self.tokens[0]!r} was not expected")
        return matcher

    def _alternatives(self) -> Matcher:
        options = [self._conjunction()]
        while self._take("or"):
            options.append(self._conjunction())
        return lambda text: any(option(text) for option in options)

    def _conjunction(self) -> Matcher:
        parts = [self._negation()]
        while self._take("and"):
            parts.append(self._negation())
        return lambda text: all(part(text) for part in parts)

    def _negation(self) -> Matcher:
        if self._take("not"):
            inner = self._negation()
            return lambda text: not inner(text)
        if self._take("("):
            inner = self._alternatives()
            if not self._take(")"):
                self._fail("a parenthesis is not closed")
            return inner
        if not self.tokens or self.tokens[0] in (")", "and", "or"):
            self._fail("a name is missing")
        word = self.tokens.pop(0).lower()
        return lambda text: word in text

    def _take(self, token: str) -> bool:
        if self.tokens and self.tokens[0] == token:
            self.tokens.pop(0)
            return True
        return False

    def _fail(self, why: str) -> None:
        raise UsageError(f"-k {self.expression!r}: {why}; write names joined by and, or, not, ( )")
