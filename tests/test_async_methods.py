import asyncio
import threading

from florence_rag.async_methods import in_thread


class Adder:
    def add(self, left, *, right=0):
        """Add."""
        return left + right, threading.current_thread()

    async_add = in_thread(add)


class Doubler(Adder):
    def add(self, left, *, right=0):
        return 2 * (left + right), None


def test_the_method_runs_in_another_thread_with_its_arguments():
    total, thread = asyncio.run(Adder().async_add(1, right=2))
    assert total == 3 and thread is not threading.current_thread()
    assert Adder.async_add.__doc__ == "Add."


def test_a_subclass_overrides_both():
    assert asyncio.run(Doubler().async_add(1)) == (2, None)
