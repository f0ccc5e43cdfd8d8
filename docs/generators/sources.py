"""What code says about itself beside its types: the string below a class's attribute."""

import ast
import inspect
import textwrap


def attribute_docs(of: type) -> dict[str, str]:
    """Attribute → the string literal that stands right below it, on one line."""
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    if not isinstance(found, ast.ClassDef):
        return {}
    words: dict[str, str] = {}
    for before, after in zip(found.body, found.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            words[before.target.id] = " ".join(after.value.value.split())
    return words
