"""How the package reads: what a reader has to take in. Information, not limits.

Lines can be saved by packing them; what a reader pays is tokens and branches.
`make lint` prints these figures at its end, and the functions to read first.
"""

import ast
import io
import tokenize
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "experiment_pipeline"
BRANCHES = (
    ast.If,
    ast.For,
    ast.While,
    ast.IfExp,
    ast.ExceptHandler,
    ast.Assert,
    ast.match_case,
)
# Comments, docstrings and line ends are free.
_FREE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
_MOST_BRANCHES, _MOST_PARAMETERS, _SHOWN = 10, 8, 5


def complexity(function: ast.AST) -> int:
    """Count branches as McCabe (1976), also those of comprehensions and `and`, `or`."""
    total = 1
    for node in ast.walk(function):
        total += isinstance(node, BRANCHES)
        if isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        if isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
    return total


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the named parameters of a function."""
    arguments = function.args
    return len([*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs])


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the numbers of the lines of docstrings."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return lines


def main() -> None:
    """Print the figures of the package."""
    tokens, code_lines, functions = 0, 0, []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        documented, lines = docstring_lines(tree), set[int]()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in _FREE and token.start[0] not in documented:
                tokens += 1
                lines |= set(range(token.start[0], token.end[0] + 1))
        code_lines += len(lines)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
                functions.append((complexity(node), parameters(node), place))
    branching = sum(branches > _MOST_BRANCHES for branches, *_ in functions)
    wide = sum(count > _MOST_PARAMETERS for _, count, _ in functions)
    print(f"{tokens:,} tokens of code, {tokens / code_lines:.2f} a line")
    print(f"{len(functions):,} functions, {branching} with complexity over 10")
    print(f"{wide} with more than {_MOST_PARAMETERS} parameters; to read first:")
    for branches, _, place in sorted(functions, reverse=True)[:_SHOWN]:
        print(f"  {branches:3} {place}")


if __name__ == "__main__":
    main()
