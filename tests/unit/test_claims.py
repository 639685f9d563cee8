"""Each statement and threat of docs/security.md is shown by a test."""

from tests.claims import PAGE, claims, page, register


def test_each_statement_and_threat_is_shown() -> None:
    shown, stopping = register(), claims()

    assert shown.keys() <= stopping.keys()
    assert [it for it, by in stopping.items() if not (shown[it] or by)] == []
    assert [it for it in stopping if it.startswith("S") and not shown[it]] == []
    assert [*stopping] == [*(f"T{n}" for n in range(1, 22)), *(f"S{n}" for n in range(1, 37))]


def test_page_is_written_from_the_register() -> None:
    assert page() == PAGE.read_text("utf-8"), "run .venv/bin/python -m tests.claims"
