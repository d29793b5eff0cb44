"""What the tests of the mesh share."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest


@pytest.fixture
def refused() -> Callable[[str], AbstractContextManager[object]]:
    """Expect a ``ValueError`` with exactly this message: ``with refused("unknown policy …"):``."""
    return lambda message: pytest.raises(ValueError, match=f"^{re.escape(message)}$")
