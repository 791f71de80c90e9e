from space.detector import BUNDLED
from training.measure.footprint import _peak_memory


def test_memory_is_that_of_the_program_and_not_of_what_started_it():
    held = bytearray(700_000_000)
    assert 50e6 < _peak_memory(BUNDLED) < len(held)
