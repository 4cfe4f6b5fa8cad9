"""What is written is what the boards say, and nothing else lies beside it."""

from __future__ import annotations

from pathlib import Path

from scripts.generate_dashboards import Folder, stale, write


def test_a_file_that_differs_lacks_or_is_left_over_is_named(tmp_path: Path) -> None:
    (tmp_path / "grafana").mkdir()
    for name, text in (("same", "1"), ("old", "1"), ("gone", "1")):
        (tmp_path / "grafana" / f"{name}.json").write_text(text)
    (tmp_path / "grafana" / "README.md").write_text("by hand")
    wanted = Folder("grafana", ".json", {"same.json": "1", "old.json": "2", "new.json": "3"})
    found = stale(tmp_path, [wanted])
    assert {path.name: text for path, text in found.items()} == {
        "gone.json": None,
        "old.json": "2",
        "new.json": "3",
    }
    for path, wanted_text in found.items():
        write(path, wanted_text)
    assert stale(tmp_path, [wanted]) == {}
    assert sorted(path.name for path in (tmp_path / "grafana").iterdir()) == [
        "README.md",
        "new.json",
        "old.json",
        "same.json",
    ]
