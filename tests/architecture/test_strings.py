"""Every string that people read can be translated: found by parsing templates as Jinja and as HTML."""

import ast
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from frontend.i18n import LANGUAGES, read_catalogue
from tests.architecture.test_code import ROOT, sources

pytestmark = pytest.mark.unit
TEMPLATES = sorted((ROOT / "frontend" / "templates").rglob("*.html"))
BY_NAME = [pytest.param(path, id=str(path.relative_to(ROOT / "frontend" / "templates"))) for path in TEMPLATES]
SPOKEN = {"alt", "aria-label", "aria-description", "content", "label", "placeholder", "title"}
NAMES = {"Modelyard", "GPU", "CPU", "PNG", "CSV"}
"""Names, the same in every language."""
SILENT = {"script", "style", "svg"}


class Bare(HTMLParser):
    """Text and spoken attributes that stand in the template itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._silent += tag in SILENT
        if tag != "meta":
            self.found += [value for name, value in attrs if name in SPOKEN and value and spoken(value)]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in SILENT

    def handle_data(self, data: str) -> None:
        if not self._silent and spoken(data):
            self.found.append(data.strip())


def spoken(text: str) -> bool:
    words = "".join(letter if letter.isalpha() else " " for letter in text).split()
    return any(len(word) > 1 and word not in NAMES for word in words)


def outputs(path: Path) -> list[nodes.Node]:
    environment = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    tree = environment.parse(path.read_text())
    return [each for output in tree.find_all(nodes.Output) for each in output.nodes]


def translated(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and "gettext" in node.node.name


@pytest.mark.parametrize("path", BY_NAME)
def test_no_text_stands_bare_in_a_template(path: Path) -> None:
    bare = Bare()
    # An expression becomes a digit, so that what surrounds it stays one attribute or one text.
    bare.feed("".join(each.data if isinstance(each, nodes.TemplateData) else "0" for each in outputs(path)))
    bare.close()
    assert bare.found == []


def literals(node: nodes.Node) -> Iterator[str]:
    """Texts in an expression that no gettext wraps."""
    if translated(node) or isinstance(node, nodes.Call | nodes.Filter | nodes.Getitem | nodes.Compare):
        return
    if isinstance(node, nodes.Const) and isinstance(node.value, str):
        yield node.value
    for child in node.iter_child_nodes():
        yield from literals(child)


@pytest.mark.parametrize("path", BY_NAME)
def test_no_expression_prints_a_sentence_of_its_own(path: Path) -> None:
    printed = [text for each in outputs(path) if not isinstance(each, nodes.TemplateData) for text in literals(each)]
    assert [text for text in printed if spoken(text) and (" " in text.strip() or text[:1].isupper())] == []


def messages_of_python() -> set[str]:
    """Sentences that the dashboard's code hands to a page."""
    found = set()
    for _, tree in sources("frontend"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in {"_answer", "text", "say", "RouteNotFound"}:
                    found |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in {"error", "detail"}:
                found |= {str(one.value) for one in [node.value] if isinstance(one, ast.Constant)}
    return {text for text in found if " " in text}


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_sentences_of_the_code_are_translated(language: str) -> None:
    catalogue = read_catalogue(language)
    sentences = messages_of_python()
    assert len(sentences) >= 5
    assert sorted(text for text in sentences if text not in catalogue or not catalogue[text].string) == []
    assert [message.id for message in catalogue if message.id and message.fuzzy] == []
