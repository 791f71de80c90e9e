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
from lean_gradio import gr
shown = gr.Textbox().get_config()["name"]
print(json.dumps([len(parsed), inspect.getfile is getfile, inspect.getfile(gr.Textbox), shown]))
"""


def test_the_page_imports_gradio_without_making_stubs():
    command = [sys.executable, "-c", PROGRAM]
    printed = subprocess.run(command, cwd=SPACE, check=True, capture_output=True).stdout
    parsed, restored, file, shown = json.loads(printed)
    assert parsed < 10  # far over 50 without `lean_gradio`
    assert restored
    assert Path(file).name == "textbox.py"
    assert shown == "textbox"
