"""Random programs of groups, scopes, shields and kills, against a model; see ``make fuzz``."""

import pytest
import structured_fuzzer


@pytest.mark.parametrize("first", range(0, 800, 100))
def test_programs_do_what_the_model_says(first):
    for seed in range(first, first + 100):
        structured_fuzzer.run(seed)
