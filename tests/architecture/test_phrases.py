# ruff: noqa: RUF001 - Chinese is written with its own punctuation
"""What the platform says has a translation in every language: each error, reason, state, event and act."""

import ast
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from jinja2 import nodes

from backend.core import wire
from backend.events.types import EVENT_TYPES, PATTERNS
from backend.lineage.schemas import Kind
from backend.registry.states import APPROVAL_TRANSITIONS
from backend.tables import METADATA
from docs.generators import states
from frontend.forms import MESSAGES
from frontend.i18n import LANGUAGES
from frontend.phrases import phrasebook, read_phrases, sentence
from tests.architecture.spoken import Room, error_classes, spoken
from tests.architecture.test_code import ROOT, sources
from tests.architecture.test_strings import BY_NAME, outputs

pytestmark = pytest.mark.unit
OTHERS = [language for language in LANGUAGES if language != "en"]
PARAMETER = re.compile(r"%\((\w+)\)s")
SAID_FIELDS = {
    "action",
    "complaint",
    "disabled_reason",
    "error",
    "event_type",
    "failure_class",
    "hint",
    "message",
    "reason",
    "refusal",
    "status_reason",
}
AS_IT_IS: dict[str, set[str]] = {
    "admin/audit.html": {"action"},  # the code on hover, and what was searched for
    "components/dialog.html": {"action"},  # an address
    "costs/parts.html": {"action"},  # an address
    "models/version.html": {"reason"},  # a reviewer's own words
    "webhooks/delivery.html": {"message"},  # an id
    "webhooks/parts.html": {"event_type"},  # the code on hover
}
ACT = re.compile(r"[a-z_]+\.[a-z_]+")


def acts() -> set[str]:
    """Every action that is recorded in the audit."""
    found = {f"model_version.{status}" for status in APPROVAL_TRANSITIONS}
    found |= {
        f"upload.{status}"
        for machine in states.machines()
        if machine.title == "Upload"
        for status in machine.transitions
    }
    for _, tree in sources("backend"):
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            values = [one.value for one in node.keywords if one.arg == "action"]
            if name == "_record" or name.startswith(("_replay", "_send")):
                values += node.args
            found |= {
                each.value
                for one in values
                for each in ast.walk(one)
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and ACT.fullmatch(each.value)
            }
    return found


def words() -> set[str]:
    """Words that stand in sentences or for themselves."""
    found = {status for machine in states.machines() for status in machine.transitions}
    found |= set(get_args(wire.FailureClass)) | set(EVENT_TYPES) | (set(PATTERNS) - {"*"})
    found |= {kind.replace("_", " ") for kind in get_args(Kind)}
    found |= {
        f"{table.name.replace('_', ' ')}: %(number)s"
        for table in METADATA.sorted_tables
        for key in table.foreign_key_constraints
        if key.referred_table.name == "projects"
    }
    return found


def of_forms() -> set[str]:
    """What a form says by itself."""
    found = {re.sub(r"\{(\w+)\}", r"%(\1)s", message) for message in MESSAGES.values()}
    for path, tree in sources("frontend"):
        if path == "frontend/forms.py":
            room = Room(("frontend",))
            found |= {
                text
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FieldError"
                for text in room.strings(node.args[1], tree)
            }
    return found - {""}


def known(language: str) -> set[str]:
    book, phrases = phrasebook(language), read_phrases(language)
    return set(phrases) | {text for text in everything() if not PARAMETER.search(text) and book.say(text) != text}


def everything() -> set[str]:
    return set(spoken()) | words() | acts() | of_forms()


def test_the_code_says_what_is_looked_for() -> None:
    """The reader of the code finds one of each way to say something."""
    found = spoken()
    assert len(error_classes()) > 80
    assert len(found) > 600
    assert {
        "there is no job %(job_id)s",  # the detail of an error
        "raise the budget or lift the hold",  # its hint
        "waiting for placement",  # a keyword
        "its instance was silent for %(silence)s s",  # a variable that is returned in a tuple
        "the agent never took it up",
        "placed on instance %(id)s",
        "lost: its agent was silent for %(silence)s s",  # what a function returns
        "The process ended with exit code %(code)s.",
        "it goes on from its newest checkpoint on another instance",  # a key of a dictionary
        "the file is encrypted",  # a finding in a file
        "at most %(MAX_TAGS)s tags",  # a validator of a request
    } <= set(found)
    assert {"job.stop", "api_key.revoke", "session.create", "upload.completed", "quota.set"} <= acts()


@pytest.mark.parametrize("language", OTHERS)
def test_everything_that_is_said_is_translated(language: str) -> None:
    assert sorted(everything() - known(language)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_translations_keep_the_parameters(language: str) -> None:
    wrong = {
        message: translation
        for message, translation in read_phrases(language).items()
        if sorted(PARAMETER.findall(message)) != sorted(PARAMETER.findall(translation))
    }
    assert wrong == {}


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_recognized_with_its_values(language: str) -> None:
    """The stored sentence comes back as its own translation, not as that of a template that happens to fit."""
    book, phrases = phrasebook(language), read_phrases(language)
    wrong = []
    for message in sorted(everything() & set(phrases)):
        values = {name: "7" if name == "number" else f"x{at}y" for at, name in enumerate(PARAMETER.findall(message))}
        if book.say(message % values) != phrases[message] % values:
            wrong.append((message, book.say(message % values)))
    assert wrong == []


def unsaid(node: nodes.Node) -> Iterator[str]:
    """Fields of the platform's words in an expression that no filter translates."""
    if isinstance(node, nodes.Filter) and node.name in {"said", "sentence", "map"}:
        return
    if isinstance(node, nodes.Call):
        for one in node.kwargs:
            yield from unsaid(one.value)
        return
    if isinstance(node, nodes.CondExpr):
        yield from unsaid(node.expr1)
        if node.expr2:
            yield from unsaid(node.expr2)
        return
    name = getattr(node, "attr", getattr(node, "name", ""))
    if isinstance(node, nodes.Getattr | nodes.Name):
        if name in SAID_FIELDS:
            yield name
        return
    for child in node.iter_child_nodes():
        yield from unsaid(child)


@pytest.mark.parametrize("path", BY_NAME)
def test_what_the_platform_says_is_shown_translated(path: Path) -> None:
    name = str(path.relative_to(ROOT / "frontend" / "templates"))
    shown = {each for one in outputs(path) if not isinstance(one, nodes.TemplateData) for each in unsaid(one)}
    assert shown - AS_IT_IS.get(name, set()) == set()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "attempt 1 was lost: its instance was silent for 30 s; resumes from step 40",
            "第 1 次尝试已失联：其实例已 30 秒没有信号；从第 40 步恢复",
        ),
        (
            "1 of 2 replicas in service; its local.cpu instance is provisioning: waiting for the provider",
            "1 / 2 个副本正在服务；其 local.cpu 实例正在准备：正在等待提供方",
        ),
        (
            (
                "New spending is on hold: charges of this project this month are 12.5, and the budget is 10. Raise the "
                "budget or lift the hold."
            ),
            "新的支出已暂停：此项目本月费用为 12.5，预算为 10。请提高预算或解除暂停。",
        ),
        (
            (
                "Project 'a' still holds datasets: 3, jobs: 2. Delete what is in it first; what was billed stays, and "
                "keeps its project."
            ),
            "项目“a”中仍有：数据集：3、作业：2。请先删除其中的内容；已计费的记录会保留，并仍属于该项目。",
        ),
        ("a.csv, line 3, column age: the target has no value", "a.csv 第 3 行 列 age：目标没有值"),
        (
            "The training diverged in epoch 3: its loss is no number. (attempt 1 of 3)",
            "训练在第 3 轮发散：损失不是有效数字（第 1 次尝试，共 3 次）",
        ),
        ("the agent ended it (failed): OSError: no; starts over", "代理程序结束了它（失败）：OSError: no；从头开始"),
        ("my own words", "my own words"),
        ("", ""),
        (None, ""),
    ],
)
def test_sentences_of_several_parts_are_translated_part_by_part(said: str | None, shown: str) -> None:
    assert phrasebook("zh_Hans_CN").say(said) == shown
    assert phrasebook("en").say(said) == (said or "")


def test_a_fact_becomes_a_sentence() -> None:
    assert sentence(phrasebook("en"), "there is no job 7") == "There is no job 7."
    assert sentence(phrasebook("en"), "Log in to go on.") == "Log in to go on."
    assert sentence(phrasebook("zh_Hans_CN"), "there is no job 7") == "没有作业 7。"
    assert sentence(phrasebook("zh_Hans_CN"), "Log in to go on.").endswith("。")
    assert sentence(phrasebook("en"), None) == ""


def test_long_and_strange_texts_are_shown_as_they_are_at_once() -> None:
    book = phrasebook("zh_Hans_CN")
    started = time.perf_counter()
    for text in ("a; " * 600, ". ".join("ab" * 300), ": " * 900, "x" * 10_000, "lost: " * 300, "lost: a; b. " * 160):
        assert book.say(text) is not None
    assert time.perf_counter() - started < 2
    assert book.say("%(reason)s %s %%") == "%(reason)s %s %%"
