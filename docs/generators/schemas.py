"""JSON Schema as people read it: a type in words, a table of fields, an example body."""

from collections.abc import Iterator, Sequence
from typing import Any

Schema = dict[str, Any]
EXAMPLE_ID = "01980000-0000-7000-8000-000000000001"
_DEEPEST = 3
_EXAMPLES = {"uuid": EXAMPLE_ID, "date-time": "2026-01-31T12:00:00Z", "email": "ada@example.org", "decimal": "10.50"}
_BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters", "maxLength": "at most {} characters",
    "minItems": "at least {} items", "maxItems": "at most {} items",
    "pattern": "matches `{}`",
}  # fmt: skip


class Schemas:
    """The schemas of one OpenAPI document."""

    def __init__(self, document: Schema) -> None:
        self._all: dict[str, Schema] = document["components"]["schemas"]

    def resolve(self, schema: Schema) -> Schema:
        """The schema itself, where this is a reference to one."""
        return self._all[schema["$ref"].rsplit("/", 1)[-1]] if "$ref" in schema else schema

    def type_of(self, schema: Schema) -> str:
        """`text`, `integer`, `id`, `list of text`, `"a" or "b"`, …"""
        schema = self._plain(schema)
        options = schema.get("anyOf") or schema.get("oneOf")
        if options:
            return " or ".join(dict.fromkeys(self.type_of(option) for option in options))
        if "const" in schema:
            return f"`{schema['const']}`"
        if "enum" in schema:
            return " or ".join(f"`{value}`" for value in schema["enum"])
        if schema.get("type") == "array":
            return f"list of {self.type_of(schema.get('items', {}))}"
        named = schema.get("format") or schema.get("type") or "any JSON"
        words = {"uuid": "id", "date-time": "time", "string": "text", "number": "number", "binary": "bytes"}
        return words.get(named, str(named))

    def rows(self, schema: Schema, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, str, str, str]]:
        """(field, type, default or how it is needed, what it is) of an object, nested objects dotted below it."""
        schema = self._plain(schema)
        if schema.get("type") == "array":
            yield from self.rows(schema.get("items", {}), f"{prefix}[].", depth)
            return
        for name, field in schema.get("properties", {}).items():
            required = name in schema.get("required", ())
            yield f"{prefix}{name}", self.type_of(field), _need(field, required=required), self._meaning(field)
            inner = self._plain(field)
            below = self._plain(inner.get("items", {})) if inner.get("type") == "array" else inner
            if depth < _DEEPEST and below.get("properties"):
                mark = "[]." if inner.get("type") == "array" else "."
                yield from self.rows(below, f"{prefix}{name}{mark}", depth + 1)

    def example(self, schema: Schema, name: str = "") -> Any:  # noqa: ANN401 - any JSON
        """A small value of this schema: its own example, else required fields only."""
        schema = self._plain(schema)
        options = [each for each in schema.get("anyOf") or schema.get("oneOf") or () if each.get("type") != "null"]
        if options:
            return self.example(options[0], name)
        chosen = schema.get("examples") or ([schema["const"]] if "const" in schema else schema.get("enum"))
        if chosen:
            return chosen[0]
        if schema.get("type") == "object" or "properties" in schema:
            return self._example_object(schema)
        if schema.get("type") == "array":
            return [self.example(schema.get("items", {}), name)]
        simple = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}
        if schema.get("type") in simple:
            return schema.get("default") or simple[schema["type"]]
        return _EXAMPLES.get(schema.get("format", ""), _text(schema, name))

    def _example_object(self, schema: Schema) -> Any:  # noqa: ANN401 - any JSON
        fields = schema.get("properties", {})
        required = schema.get("required") or list(fields)[:1]
        if fields:
            return {key: self.example(fields[key], key) for key in required}
        values = schema.get("additionalProperties")
        key = next(iter(schema.get("propertyNames", {}).get("enum", ())), "name")
        return {key: self.example(values)} if isinstance(values, dict) and values else {}

    def _plain(self, schema: Schema) -> Schema:
        """References followed; `X or null` as X that may be null."""
        schema = self.resolve(schema)
        options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
        if len(options) == 1 and len(schema["anyOf"]) > 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            return {**self.resolve(options[0]), **rest}
        return schema

    def _meaning(self, field: Schema) -> str:
        plain = self._plain(field)
        words = field.get("description") or (plain.get("description") if plain.get("type") != "object" else None) or ""
        # Where words say what is allowed, the pattern would say it again, and worse.
        bounds = [
            text.format(_number(plain[key]))
            for key, text in _BOUNDS.items()
            if key in plain and not (key == "pattern" and words)
        ]
        if any(option.get("type") == "null" for option in field.get("anyOf", ())):
            bounds.append("may be null")
        sentence = " ".join(words.split())
        return "; ".join(filter(None, [sentence.rstrip("."), *bounds]))


def _number(value: object) -> object:
    """1.0 as 1: pydantic writes bounds as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _need(field: Schema, *, required: bool) -> str:
    if required:
        return "required"
    default = field.get("default")
    return "" if default is None or isinstance(default, dict | list) else f"`{default}`"


def _text(schema: Schema, name: str) -> str:
    named = {
        "name": "digits", "model_name": "digits", "email": "ada@example.org", "password": "a long pass phrase",
        "sha256": "0" * 64, "month": "2026-01", "amount": "10.50", "limit_amount": "10.50",
    }  # fmt: skip
    text = str(named.get(name, "text"))
    return text.ljust(schema.get("minLength", 0), "x")


def cell(text: str) -> str:
    """Text inside a Markdown table: on one line, bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table, or nothing where there are no rows."""
    if not rows:
        return ""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines) + "\n\n"
