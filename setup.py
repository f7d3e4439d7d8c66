"""Packages and their files: the notebooks and the models that ship lie in folders of their own."""

from setuptools import find_packages, setup

MODELS = ("custom_cnn", "mobilenet_v2")
FILES = (
    "model.keras", "model.tflite", "model.json", "review.json", "novelty.npz", "drift.npz",
    "SHA256SUMS", "metrics.json",
)  # fmt: skip

setup(
    packages=[*find_packages(include=["nbutils*"]), "nbutils._notebooks", "nbutils._reference"],
    package_dir={"nbutils._notebooks": "notebooks", "nbutils._reference": "outputs/reference"},
    package_data={
        "nbutils": ["py.typed"],
        "nbutils.apps": ["templates/*", "*.js"],
        "nbutils._notebooks": ["[0-9]*.ipynb"],
        "nbutils._reference": [f"{model}/{file}" for model in MODELS for file in FILES],
    },
    include_package_data=False,
)
