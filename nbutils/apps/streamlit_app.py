"""The demo as a Streamlit page.

streamlit run nbutils/apps/streamlit_app.py [-- --model MODEL]
"""

import argparse

import streamlit as st

from nbutils.apps import report
from nbutils.apps.session import Entry, Session, Unreadable, explain
from nbutils.data.files import SUFFIXES
from nbutils.inference.explain import Explainer
from nbutils.inference.predictor import DEFAULT_MODEL, Predictor, load_predictor
from nbutils.runs import UserError


@st.cache_resource
def load(model: str) -> tuple[Predictor, Explainer]:
    """Return a model's predictor and its activation maps, once for all visitors."""
    return load_predictor(model), Explainer(model)


@st.cache_data(max_entries=200)
def predict(model: str, name: str, data: bytes) -> Entry | Unreadable:
    """Classify and explain a file."""
    session = Session(*load(model))
    entry = session.predict(name, data)
    explain([entry], session.explainer)
    return entry


def page(model: str) -> None:
    """Draw the page."""
    st.set_page_config(page_title="Steel surface defects", layout="wide")
    st.title("Steel surface defects")
    try:
        predictor, _ = load(model)
    except UserError as error:
        st.error(str(error))
        return
    known = len(predictor.classes)
    top = st.sidebar.slider("Classes", 1, known, min(report.TOP, known))
    overlaid = st.sidebar.checkbox("Show activation maps", value=True)
    strength = st.sidebar.slider("Strength", 0.0, 1.0, report.STRENGTH)
    files = st.file_uploader("Images", SUFFIXES, accept_multiple_files=True)
    st.html(report.render("style.html"))
    for file in files or []:
        entry = predict(model, file.name, file.getvalue())
        st.html(report.card(entry, top, overlaid, strength))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=DEFAULT_MODEL, help="such as reference/mobilenet_v2")
    page(parser.parse_args().model)
