"""A package that few need, imported when it is used."""

from types import ModuleType


def faiss() -> ModuleType:
    """The package of approximate searches.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import faiss as library
    except ImportError as error:
        raise ImportError(
            "backends 'faiss', 'ivf' and 'hnsw' need faiss: pip install faiss-cpu, or use 'torch'"
        ) from error
    return library
