"""Steel surface defect classification: the helpers of the notebooks, and a predictor to import."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbutils.inference.prediction import Prediction
    from nbutils.inference.predictor import load_predictor

    __version__: str

__all__ = ["Prediction", "__version__", "load_predictor"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import nbutils` stays light."""
    if name == "__version__":
        from importlib.metadata import version

        return version("nbutils")
    if name in __all__:
        from nbutils.inference import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
