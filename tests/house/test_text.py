"""Things that must not slip into any file."""

from __future__ import annotations

import re

# A bracket inside each pattern keeps this file from matching itself.
REGISTRIES = (
    r"py[p]i\.org|python[h]osted\.org|maven\.[o]rg|maven\.[a]pache|ana[c]onda\.org|npm[j]s\.org|g[h]cr\.io"
)
MACHINE_PATHS = r"(?<![\w.~:/}>-])/(wor[k]|roo[t]|tm[p]|hom[e]|op[t]|User[s])/"


def _assert_absent(texts: dict[str, str], pattern: str, suffixes: tuple[str, ...] = ("",)) -> None:
    """Fail with `path:line` of every match in the files whose name ends like one of `suffixes`."""
    wanted = re.compile(pattern)
    offenders = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in texts.items()
        if path.endswith(suffixes)
        for number, line in enumerate(text.splitlines(), 1)
        if wanted.search(line)
    ]
    assert not offenders, "\n".join(offenders)


def test_every_to_do_names_an_issue(texts: dict[str, str]) -> None:
    _assert_absent(texts, r"\b(TOD[O]|FIXM[E]|XX[X])\b(?!.*#\d)", (".py", ".md", ".toml", "Makefile"))


def test_every_type_ignore_names_its_code(texts: dict[str, str]) -> None:
    _assert_absent(texts, r"type: ignor[e](?!\[)", (".py",))


def test_every_noqa_names_its_rule(texts: dict[str, str]) -> None:
    _assert_absent(texts, r"# noq[a](?!: [A-Z]+\d)", (".py",))


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    _assert_absent(texts, REGISTRIES)


def test_no_file_names_a_path_of_one_machine(texts: dict[str, str]) -> None:
    _assert_absent(texts, MACHINE_PATHS)
