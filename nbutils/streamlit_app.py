"""The demo's predictor as a Streamlit page.

streamlit run nbutils/streamlit_app.py [-- --model RUN]
"""

import argparse

import numpy as np
import streamlit as st

from nbutils import cards
from nbutils.evidence import Evidence
from nbutils.images import SUFFIXES
from nbutils.predict import DEFAULT_MODEL, fastest, load_predictor
from nbutils.session import Entry, Session


@st.cache_resource
def loaded(name: str) -> tuple:
    """Return a model's predictor and its activation maps, once for all sessions."""
    return load_predictor(name, fastest(name)), Evidence(name)


@st.cache_data(max_entries=200)
def answer(model: str, name: str, data: bytes) -> tuple[Entry, str, np.ndarray | None]:
    """Classify a file: its entry, how it was prepared, and its activation map."""
    predictor, evidence = loaded(model)
    session = Session(predictor)
    entry = session.judge(name, data)
    if entry.error:
        return entry, "", None
    [heat] = evidence.heats([entry.gray], [entry.prediction.label])
    return entry, session.prepared(entry), heat


def page(model: str) -> None:
    """Draw the page."""
    st.set_page_config(page_title="Steel surface defects", layout="wide")
    st.title("Steel surface defects")
    top = st.sidebar.slider("Classes shown", 1, len(loaded(model)[0].classes), 3)
    evidence = st.sidebar.checkbox("Show the evidence", value=True)
    strength = st.sidebar.slider("Strength of the overlay", 0.0, 1.0, 0.7)
    types = [suffix.removeprefix(".") for suffix in SUFFIXES]
    files = st.file_uploader("Images", types, accept_multiple_files=True)
    st.markdown(cards.STYLE, unsafe_allow_html=True)
    for file in files or []:
        entry, prepared, heat = answer(model, file.name, file.getvalue())
        shown = cards.card(entry, prepared, top, heat if evidence else None, strength)
        st.markdown(shown, unsafe_allow_html=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=DEFAULT_MODEL, help="run or reference model")
    page(parser.parse_args().model)
