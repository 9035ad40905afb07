import pytest

from florence_rag.errors import InputError
from florence_rag.finetuning.settings import Settings


@pytest.mark.parametrize("name", ["epochs", "steps", "batch", "learning_rate", "checks", "patience"])
def test_settings_must_be_above_zero(name):
    with pytest.raises(InputError, match=f"{name} is 0"):
        Settings(**{name: 0})
