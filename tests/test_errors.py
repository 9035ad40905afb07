from florence_rag.errors import InputError, unknown_chunk_error


def test_an_unknown_id_is_an_input_error_that_names_it():
    error = unknown_chunk_error("abc")
    assert isinstance(error, InputError)
    assert str(error) == "no chunk has the id 'abc'; searches return the ids that exist"
