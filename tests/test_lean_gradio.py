import inspect
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from space.lean_gradio import _files_unknown
from tests.serving import SPACE, ask_page, serve_page

# Gradio parses the source of every class that it makes a stub for.
PROGRAM = """
import ast, inspect, json
parse, getfile, parsed = ast.parse, inspect.getfile, []
ast.parse = lambda *args, **options: parsed.append(args) or parse(*args, **options)
{}
shown = gr.Textbox().get_config()["name"]
print(json.dumps([len(parsed), inspect.getfile is getfile, inspect.getfile(gr.Textbox), shown]))
"""


def run(how: str) -> list:
    command = [sys.executable, "-c", PROGRAM.format(how)]
    return json.loads(subprocess.run(command, cwd=SPACE, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("where", ["lean_gradio", "app"])
def test_gradio_is_imported_without_making_stubs(where):
    parsed, restored, file, shown = run(f"from {where} import gr")
    assert restored
    assert Path(file).name == "textbox.py"
    assert shown == "textbox"
    usual, *same = run("import gradio as gr")
    assert parsed < 10 < 50 < usual  # should Gradio make no stubs any more, lean_gradio can go
    assert same == [restored, file, shown]


def test_only_files_of_the_package_are_unknown():
    with _files_unknown("json"):
        with pytest.raises(OSError, match="not available"):
            inspect.getfile(json.JSONDecoder)
        with pytest.raises(TypeError):  # as ever: built in, and of no module
            inspect.getfile([].append)
        assert inspect.getfile(test_only_files_of_the_package_are_unknown) == __file__
    assert Path(inspect.getfile(json.JSONDecoder)).name == "decoder.py"


def test_the_page_answers_without_importing_matplotlib(tmp_path):
    assert find_spec("matplotlib")
    log = tmp_path / "log.txt"
    with serve_page(Path(sys.executable), log, PYTHONPROFILEIMPORTTIME="1") as client:
        assert ask_page(client, SPACE / "examples" / "portrait.jpg")["faces"]
    imported = log.read_text()
    assert "gradio.routes" in imported
    assert "matplotlib.rcsetup" not in imported  # the attempt is logged as well
