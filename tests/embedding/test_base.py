import numpy as np

from florence_rag.embedding.base import unit_rows


def test_unit_rows_have_length_one_and_keep_their_direction():
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, -2.0]]))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-6)


def test_a_row_of_zeros_stays_zero_instead_of_becoming_nan():
    assert not unit_rows(np.zeros((1, 3))).any()
