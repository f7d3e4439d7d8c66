"""Mutated image files: `decode` gives an array or an ImageError, and never half a picture."""

import numpy as np
import pytest
from fuzz_images import main, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils.data.images import ImageError, decode

FILES = seeds()
CUT = [name for name in FILES if "TIFF" not in name]
FEW = settings(max_examples=100, deadline=None, database=None)
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=6)), min_size=1, max_size=4
)


@FEW
@given(name=st.sampled_from(sorted(FILES)), changes=edits)
def test_a_mutated_file_gives_an_array_or_an_image_error(name, changes):
    data = FILES[name]
    for where, removed, inserted in changes:
        place = int(where * len(data))
        data = data[:place] + inserted + data[place + removed :]
    try:
        gray = decode(data, name)
    except ImageError as error:
        assert str(error).startswith(name)
    else:
        assert gray.dtype == np.uint8 and gray.ndim == 2


@FEW
@given(data=st.binary(max_size=200), name=st.sampled_from(sorted(FILES)))
def test_a_header_with_anything_after_it_is_no_image(data, name):
    with pytest.raises(ImageError):
        decode(FILES[name][:24] + data, name)


@FEW
@given(name=st.sampled_from(CUT), share=st.floats(0, 1, exclude_max=True))
def test_no_file_is_read_of_which_the_end_is_missing(name, share):
    data = FILES[name]
    kept = min(int(share * len(data)), len(data) - 3)
    with pytest.raises(ImageError):
        decode(data[:kept], name)


def test_the_long_run_counts_what_escapes(capsys, monkeypatch):
    assert not main(count=50, seed=1)
    assert "escaped" not in capsys.readouterr().out

    def fail(*args):
        raise TypeError("within Pillow")

    monkeypatch.setattr("fuzz_images.decode", fail)
    assert main(count=2, seed=1)
    assert "escaped" in capsys.readouterr().out
