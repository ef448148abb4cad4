"""The house itself: arrows point down, the README draws it as it stands, files and functions stay small."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

FLOORS = (
    ("base",),
    ("nn",),
    ("readers",),
    ("data", "links", "saliency"),
    ("models", "features", "evaluation"),
    ("training",),
    ("weights", "figures"),
    ("systems",),
    ("runs",),
    ("studies",),
    ("reports",),
    ("prediction",),
    ("commands",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted((ROOT / "btjax").rglob("*.py"))


def imported_modules(path: pathlib.Path) -> list[tuple[int, str]]:
    """Line and dotted name of everything of the project that a file imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] in ("btjax", "experiments", "tests")]


def upward_arrows(room: str, path: pathlib.Path) -> list[str]:
    faults = []
    for line, name in imported_modules(path):
        parts = name.split(".")
        target = parts[1] if parts[0] == "btjax" and len(parts) > 1 else None
        if target == room:
            continue
        if target not in FLOOR_OF or FLOOR_OF[target] >= FLOOR_OF[room]:
            faults.append(f"{path.relative_to(ROOT)}:{line}: imports {name}")
    return faults


def test_every_room_stands_on_a_floor():
    rooms = {path.name for path in (ROOT / "btjax").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == FLOOR_OF.keys()


def test_no_arrow_points_up():
    faults = []
    for path in FILES:
        room = path.relative_to(ROOT / "btjax").parts[0]
        if room != "__init__.py":
            faults += upward_arrows(room, path)
    assert not faults, "\n".join(faults)


def test_an_arrow_that_points_up_or_sideways_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "x.py"
    path.write_text("from btjax.training import loop\nimport btjax.base.errors\ndef f():\n    import experiments.cnn\n")
    assert [fault.split(": ")[1] for fault in upward_arrows("data", path)] == [
        "imports btjax.training.loop",
        "imports experiments.cnn",
    ]
    assert upward_arrows("saliency", path) and not upward_arrows("studies", path)[1:]


def test_nothing_lies_loose_at_the_top_of_the_library():
    assert {path.name for path in (ROOT / "btjax").iterdir() if path.is_file()} <= {"__init__.py", "py.typed"}


def test_the_library_reads_no_flags_and_does_not_print():
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert not [node.lineno for node in calls if node.func.id == "print"], path
        modules = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        modules += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in modules if name.split(".")[0] == "absl"], path


def test_the_readme_draws_the_house_as_it_stands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    drawn = re.search(r"^btjax/\n((?:  .*\n)+)", text, re.MULTILINE)
    rooms = re.findall(r"^  (\w+)/", drawn[1], re.MULTILINE)
    assert set(rooms) == FLOOR_OF.keys() and len(rooms) == len(FLOOR_OF)
    floors = [FLOOR_OF[room] for room in rooms]
    assert floors == sorted(floors), "each room stands below those that it imports from"
    scripts = re.search(r"^scripts/ +(.*)$", text, re.MULTILINE)[1].split(", ")
    assert set(scripts) == {path.name for path in (ROOT / "scripts").iterdir()} - {"environment"}
    assert len(text.splitlines()) <= 150


def test_every_preset_and_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"experiments/flags/(\w+)\.flags", text):
        assert (ROOT / "experiments" / "flags" / f"{name}.flags").exists(), name
    for name in re.findall(r"python -m experiments\.(\w+)", text):
        assert (ROOT / "experiments" / f"{name}.py").exists(), name
    for name in re.findall(r"\]\(([\w/.]+)\)", text):
        assert (ROOT / name).exists(), name


def code_lines(node: ast.AST) -> int:
    """Lines of a function from its first statement to its last, without its docstring and signature."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return 0 if not body else body[-1].end_lineno - body[0].lineno + 1


@pytest.mark.parametrize("folder", ["btjax", "experiments"])
def test_files_and_functions_stay_small(folder):
    long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 400:
            long.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and code_lines(node) > 40:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {code_lines(node)} lines")
    assert not long, "\n".join(long)


def test_no_function_takes_more_than_five_positional_arguments():
    many = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
                names = [name for name in names if name not in ("self", "cls")]
                if len(names) > 5:
                    many.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}({', '.join(names)})")
    allowed = {"conv_general_dilated"}  # jax.lax's own signature, which flax calls
    assert not [one for one in many if one.split(": ")[1].split("(")[0] not in allowed], "\n".join(many)


def calls(path: pathlib.Path) -> set[str]:
    """The dotted names of everything that a file calls."""
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ("Image.open", "readers/pictures.py"),
        ("h5py.File", "base/hdf5.py"),
        ("zipfile.ZipFile", None),
    ],
)
def test_pictures_hdf5_files_and_zips_are_opened_in_one_place_each(call, place):
    found = [path.relative_to(ROOT / "btjax").as_posix() for path in FILES if call in calls(path)]
    assert found == ([place] if place else [])
