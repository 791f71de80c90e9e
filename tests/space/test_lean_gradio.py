import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import SPACE

pytestmark = pytest.mark.slow

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


def test_the_page_imports_gradio_without_making_stubs():
    parsed, restored, file, shown = run("from lean_gradio import gr")
    assert restored
    assert Path(file).name == "textbox.py"
    assert shown == "textbox"
    usual, *same = run("import gradio as gr")
    assert parsed < 10 < 50 < usual  # should Gradio make no stubs any more, lean_gradio can go
    assert same == [restored, file, shown]
