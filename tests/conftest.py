import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("project")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Workers of pytest share the cores already; torch and BLAS spin against each other when both take all."""
    from oracle.workers import one_thread

    one_thread()


@pytest.fixture(scope="session")
def browser():
    """A Chromium to show pages in (tests/browser.py)."""
    from browser import start

    found = start()
    yield found
    found.quit()
